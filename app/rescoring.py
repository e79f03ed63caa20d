"""Runs models for records: many decisions at once, no deadline, the same scores as when they were decided.

One thread everywhere, so a row's bits do not depend on the rows beside it (`models.turn`, where a test holds that).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.core.decision.replay import Wanted
from app.core.decision.score import Scoring
from models.contract import InputPlan, Matrix
from models.load import ModelRefused, load_model
from models.session import Model
from policy.bundle import Bundle, Placement
from policy.codes import Degraded

MISSING = Scoring(degraded=Degraded.MODEL_MISSING)
FAILED = Scoring(degraded=Degraded.MODEL_FAILED)
GAPS = Scoring(degraded=Degraded.FEATURES_MISSING)


class Rescorer:
    """The models of one bundle, loaded when first asked."""

    def __init__(self, bundle: Bundle, registries: Sequence[Path]) -> None:
        self._bundle = bundle
        self._registries = registries
        self._models: dict[int, Model | None] = {}
        self._plans: dict[Placement, InputPlan] = {}
        self.refused: list[str] = []

    def score(self, wanted: Sequence[Wanted]) -> list[Scoring]:
        """The scores of pools, in their order; each model runs once."""
        scorings: list[Scoring] = [MISSING] * len(wanted)
        by_model: dict[int, list[int]] = {}
        for at, each in enumerate(wanted):
            by_model.setdefault(each.ref.index, []).append(at)
        for places in by_model.values():
            model = self._model(wanted[places[0]])
            if model is not None:
                for at, scoring in zip(places, self._run(model, [wanted[at] for at in places]), strict=True):
                    scorings[at] = scoring
        return scorings

    def _model(self, wanted: Wanted) -> Model | None:
        ref = wanted.ref
        if ref.index not in self._models:
            try:
                self._models[ref.index] = load_model(ref, self._registries, self._bundle.fact_by_name)
            except ModelRefused as refusal:
                self._models[ref.index] = None
                self.refused.append(str(refusal))
        return self._models[ref.index]

    def _run(self, model: Model, wanted: Sequence[Wanted]) -> list[Scoring]:
        matrices = [self._plan(model, each.placement).matrix(each.pool.values, each.pool.positions) for each in wanted]
        whole = [matrix for matrix in matrices if matrix is not None]
        try:
            responses = _responses(model, np.concatenate(whole)) if whole else []
        except Exception:  # only the decisions that it belongs to go without
            return [GAPS if matrix is None else _alone(model, matrix) for matrix in matrices]
        scorings, at = [], 0
        for matrix in matrices:
            if matrix is None:
                scorings.append(GAPS)
            else:
                scorings.append(Scoring(responses[at : at + len(matrix)]))
                at += len(matrix)
        return scorings

    def _plan(self, model: Model, placement: Placement) -> InputPlan:
        plan = self._plans.get(placement)
        if plan is None:
            plan = self._plans[placement] = InputPlan.of(placement, model.manifest)
        return plan


def _responses(model: Model, matrix: Matrix) -> list[float]:
    return model.propensities(model.session.run(matrix), len(matrix))


def _alone(model: Model, matrix: Matrix) -> Scoring:
    try:
        return Scoring(_responses(model, matrix))
    except Exception:  # as a decision under way: rules rank instead
        return FAILED
