"""The models of a bundle, ready to score its placements. A bundle whose models cannot be used still decides, by rules.

Fails open: every failure of a model becomes a reason to rank by rules.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import numpy as np

from app.core.decision.eligible import Pool
from app.core.decision.score import Scoring
from models.contract import InputPlan, Matrix
from models.load import ModelRefused, load_model
from models.scorer import ModelFailed, ModelTimeout, ModelUnavailable, Scorer
from models.session import Model
from models.turn import INLINE_S_MAX, ROWS_MAX, TurnScorer
from policy.bundle import Bundle, ModelRef, Placement
from policy.codes import Degraded

log = logging.getLogger("nextbest.models")

MISSING = Scoring(degraded=Degraded.MODEL_MISSING)
FAILED = Scoring(degraded=Degraded.MODEL_FAILED)
TIMEOUT = Scoring(degraded=Degraded.MODEL_TIMEOUT)
GAPS = Scoring(degraded=Degraded.FEATURES_MISSING)


class ModelRunner:
    """Scores pools with the bundle's models. One a process."""

    def __init__(
        self,
        bundle: Bundle,
        registries: Sequence[Path],
        on_run: Callable[[str, int], None],
        on_failure: Callable[[str, str], None],
    ) -> None:
        """`on_run(model, rows)` and `on_failure(model, kind)` count."""
        self._scorer = Scorer()
        self._turn = TurnScorer(Scoring, self._failed, lambda model, rows: on_run(model.name, rows))
        self._on_run = on_run
        self._on_failure = on_failure
        self.refused: list[str] = []
        self._models: dict[int, Model] = {}
        for ref in bundle.models:
            try:
                self._models[ref.index] = load_model(ref, registries, bundle.fact_by_name)
            except ModelRefused as refusal:
                self.refused.append(str(refusal))
                log.error("%s", refusal)
        self._plans = {
            placement.index: InputPlan.of(placement, self._models[placement.model.index].manifest)
            for placement in bundle.placements.values()
            if placement.model is not None and placement.model.index in self._models
        }

    def score(
        self, placement: Placement, ref: ModelRef, pool: Pool, time_left_s: float
    ) -> Scoring | Awaitable[Scoring]:
        """Score the pool: with all others of this turn where the model is quick, else in a thread, for at most
        `time_left_s`."""
        model = self._models.get(ref.index)
        if model is None:
            return MISSING
        plan, positions = self._plans[placement.index], pool.positions
        row = plan.row(pool.values)
        if row is None:
            return GAPS
        cost_s = model.cost.seconds(len(positions))
        if cost_s <= INLINE_S_MAX and len(positions) <= ROWS_MAX:
            return self._turn.join(model, plan, row, positions)
        if cost_s > time_left_s:  # not even started: it could not end in time
            self._on_failure(model.name, "timeout")
            return TIMEOUT
        matrix = np.empty((len(positions), len(row)), np.float32)
        plan.fill(row, positions, matrix)
        return self._score_in_thread(model, matrix, time_left_s)

    async def _score_in_thread(self, model: Model, matrix: Matrix, time_left_s: float) -> Scoring:
        try:
            responses = await self._scorer.score_in_thread(model, matrix, time_left_s)
        except ModelTimeout:
            self._on_failure(model.name, "timeout")
            return TIMEOUT
        except (ModelFailed, ModelUnavailable) as error:
            return self._failed(model, error)
        self._on_run(model.name, len(responses))
        return Scoring(responses)

    def _failed(self, model: Model, error: Exception) -> Scoring:
        self._on_failure(model.name, "unavailable" if isinstance(error, ModelUnavailable) else "failed")
        return FAILED

    def close(self) -> None:
        self._scorer.close()
