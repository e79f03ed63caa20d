"""What is served is what was trained: ONNX and plain Python give the same scores, gaps included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from models.contract import InputPlan, Matrix
from models.hillstrom import Experiment
from models.load import SHIPPED, load_model
from models.plain import read_trees, score
from models.session import Model
from policy.bundle import ModelRef

ROWS = 1_000
AGREE = 1e-5
FOLDER = SHIPPED / "response" / "1"
MESSAGES = ({"is_mens": 1.0, "is_womens": 0.0}, {"is_mens": 0.0, "is_womens": 1.0})


@pytest.fixture(scope="module")
def trees() -> list[Any]:
    return read_trees(FOLDER / "trees.json")


@pytest.fixture
def model(response_ref: Callable[..., ModelRef]) -> Model:
    return load_model(response_ref(), [SHIPPED])


def invented_rows() -> Matrix:
    """Customers across the whole range of every input, and beyond it; no gaps."""
    chance = np.random.default_rng(5)
    columns = [
        chance.integers(0, 15, ROWS),
        np.round(chance.gamma(1.0, 260.0, ROWS) + 29.99, 2),
        *(chance.integers(0, 2, ROWS) for _ in range(2)),
        chance.integers(0, 3, ROWS),
        chance.integers(0, 2, ROWS),
        chance.integers(0, 3, ROWS),
    ]
    is_mens = chance.integers(0, 2, ROWS)
    return np.stack([*columns, is_mens, 1 - is_mens], axis=1).astype(np.float32)


def with_gap(which: slice | int | str) -> Matrix:
    rows = invented_rows()
    if which == "some":
        rows[np.random.default_rng(6).random(rows.shape) < 0.3] = np.nan
    elif which != "none":
        rows[:, which] = np.nan  # type: ignore[index]  # a column, or columns
    return rows


def assert_agreement(model: Model, trees: list[Any], rows: Matrix) -> None:
    served = model.propensities(model.session.run(rows), len(rows))
    plain = [score(trees, row) for row in rows.tolist()]
    assert max(abs(a - b) for a, b in zip(served, plain, strict=True)) <= AGREE


@pytest.mark.parametrize(
    "gap",
    ["none", "some", *range(9), slice(0, 7), slice(7, 9), slice(0, 9)],
    ids=lambda gap: {"slice(0, 7, None)": "customer", "slice(7, 9, None)": "message", "slice(0, 9, None)": "all"}.get(
        str(gap), str(gap)
    ),
)
def test_onnx_and_plain_python_agree_whatever_is_missing(
    model: Model, trees: list[Any], gap: slice | int | str
) -> None:
    assert_agreement(model, trees, with_gap(gap))


def test_onnx_and_plain_python_agree_on_real_customers(model: Model, trees: list[Any], experiment: Experiment) -> None:
    plan = InputPlan(model.manifest.inputs, MESSAGES)
    matrices = [plan.matrix(customer, (i % 2,)) for i, customer in enumerate(experiment.customers[:ROWS])]
    assert_agreement(model, trees, np.concatenate([matrix for matrix in matrices if matrix is not None]))


def test_agreement_is_about_scores_that_differ(model: Model) -> None:
    """Were all scores alike, agreement would mean nothing."""
    scores = model.propensities(model.session.run(invented_rows()), ROWS)
    assert max(scores) - min(scores) > 0.15


def test_a_customer_of_whom_nothing_is_known_gets_an_ordinary_score(model: Model) -> None:
    """Close to the visit rates of the two e-mails, 18.4 % and 15.4 %; the men's first."""
    plan = InputPlan(model.manifest.inputs, MESSAGES)
    matrix = plan.matrix({}, (0, 1))
    mens, womens = model.propensities(model.session.run(matrix), 2)
    assert mens == pytest.approx(0.184, abs=0.02)
    assert womens == pytest.approx(0.154, abs=0.02)
