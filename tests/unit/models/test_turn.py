"""Decisions of one loop turn are scored in one run, and none of them can tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.contract import Input, InputPlan, Matrix
from models.load import load_model
from models.session import Model
from models.turn import ROWS_MAX, TurnScorer
from policy.bundle import ModelRef

MESSAGES = 20
ALL = list(range(MESSAGES))


class Counted:
    """A model's session that counts its runs, and breaks when it is told to."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.rows: list[int] = []
        self.error: Exception | None = None

    def run(self, matrix: Matrix) -> Any:
        self.rows.append(len(matrix))
        if self.error is not None:
            raise self.error
        return self._session.run(matrix)


@pytest.fixture
def standard(standard_ref: ModelRef, standard_registry: Path) -> Model:
    model = load_model(standard_ref, [standard_registry])
    model.session = Counted(model.session)  # type: ignore[assignment]  # what a turn asks of a session
    return model


@pytest.fixture
def plan(standard: Model) -> InputPlan:
    chance = np.random.default_rng(5)
    features = [dict(zip(("m0", "m1", "m2", "m3"), map(float, chance.random(4)), strict=True)) for _ in ALL]
    return InputPlan(standard.manifest.inputs, features)


def turn_scorer() -> TurnScorer[list[float] | str]:
    return TurnScorer(lambda scores: scores, lambda _, error: str(error), lambda _, __: None)


def customer(seed: int) -> dict[str, float]:
    return {f"f{i}": float(x) for i, x in enumerate(np.random.default_rng(seed).random(20))}


def row_of(plan: InputPlan, seed: int) -> Matrix:
    row = plan.row(customer(seed))
    assert row is not None
    return row


async def test_a_rows_bits_do_not_depend_on_the_rows_beside_it(standard: Model, plan: InputPlan) -> None:
    alone = []
    for seed in range(30):
        scorer = turn_scorer()
        alone.append(await scorer.join(standard, plan, row_of(plan, seed), ALL[: 1 + seed % MESSAGES]))
    scorer = turn_scorer()
    together = [scorer.join(standard, plan, row_of(plan, seed), ALL[: 1 + seed % MESSAGES]) for seed in range(30)]
    assert await asyncio.gather(*together) == alone
    assert standard.session.rows[-1] == sum(1 + seed % MESSAGES for seed in range(30))  # type: ignore[attr-defined]  # a stub's


async def test_the_decisions_of_a_turn_share_one_run_and_those_of_the_next_have_their_own(
    standard: Model, plan: InputPlan
) -> None:
    scorer = turn_scorer()
    for _ in range(2):
        await asyncio.gather(*[scorer.join(standard, plan, row_of(plan, seed), ALL) for seed in range(5)])
    assert standard.session.rows == [100, 100]  # type: ignore[attr-defined]  # a stub's


async def test_each_decision_gets_the_scores_of_its_own_candidates(standard: Model, plan: InputPlan) -> None:
    scorer = turn_scorer()
    whole, part = await asyncio.gather(
        scorer.join(standard, plan, row_of(plan, 1), ALL), scorer.join(standard, plan, row_of(plan, 1), [3, 17, 4])
    )
    assert part == [whole[3], whole[17], whole[4]]


async def test_more_rows_than_fit_are_run_one_run_after_the_other(standard: Model, plan: InputPlan) -> None:
    scorer = turn_scorer()
    decisions = ROWS_MAX // MESSAGES + 3
    answers = await asyncio.gather(*[scorer.join(standard, plan, row_of(plan, seed), ALL) for seed in range(decisions)])
    assert standard.session.rows == [ROWS_MAX, 3 * MESSAGES]  # type: ignore[attr-defined]  # a stub's
    assert answers[-1] == await turn_scorer().join(standard, plan, row_of(plan, decisions - 1), ALL)


async def test_a_run_that_breaks_fails_every_decision_of_the_turn_and_then_the_model_is_left_alone(
    standard: Model, plan: InputPlan
) -> None:
    standard.session.error = ValueError("history was 142.4")  # type: ignore[attr-defined]  # a stub's
    scorer = turn_scorer()
    for _ in range(3):
        answers = await asyncio.gather(*[scorer.join(standard, plan, row_of(plan, seed), ALL) for seed in range(4)])
        assert answers == ["`standard/1` raised ValueError"] * 4
    assert await scorer.join(standard, plan, row_of(plan, 1), ALL) == "`standard/1` keeps failing"
    assert len(standard.session.rows) == 3  # type: ignore[attr-defined]  # a stub's


async def test_answers_that_are_no_probabilities_fail_only_the_decision_that_they_belong_to(
    small: Callable[[str], tuple[ModelRef, Path]],
) -> None:
    ref, registry = small("nan_above_half")  # NaN where the first input is above a half
    model = load_model(ref, [registry])
    plan = InputPlan(tuple(Input(column.name) for column in model.manifest.inputs), [{"m": 0.0}, {"m": 1.0}])
    scorer = turn_scorer()
    good, bad, also_good = await asyncio.gather(
        *[
            scorer.join(model, plan, row, [0, 1])
            for a in (0.25, 0.9, 0.1)
            if (row := plan.row({"a": a, "b": 0.0})) is not None
        ]
    )
    assert (good, also_good) == ([0.5, 0.5], pytest.approx([0.6324555] * 2))
    assert "returned NaN" in bad


async def test_a_caller_who_went_away_takes_nobody_with_them(standard: Model, plan: InputPlan) -> None:
    scorer = turn_scorer()
    gone = scorer.join(standard, plan, row_of(plan, 1), ALL)
    stays = scorer.join(standard, plan, row_of(plan, 2), ALL)
    gone.cancel()
    assert len(await stays) == MESSAGES
