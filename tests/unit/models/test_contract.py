"""How customers and messages become a model's matrix."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contract import Input, InputPlan, encode

ZIP = Input("customer.zip_code", {"Rural": 0.0, "Urban": 2.0}, 2.0)
INPUTS = (
    Input("message.is_mens", None, 0.0),
    Input("customer.recency", None, 5.0),
    ZIP,
    Input("message.price", None, 9.0),
    Input("customer.newbie", None, 1.0),
)
MESSAGES = ({"is_mens": 1.0, "price": 2.5}, {"is_mens": 0.0, "price": 3.5}, {"is_mens": 1.0})
KNOWN = {"recency": 3, "zip_code": "Urban", "newbie": True, "unused": "x"}


def plan(on_missing: Any = "nan") -> InputPlan:
    return InputPlan(INPUTS, MESSAGES, on_missing)


def test_columns_stand_in_the_models_order_wherever_they_come_from() -> None:
    matrix = plan().matrix(KNOWN, (0, 1))
    assert matrix is not None
    assert matrix.tolist() == [[1.0, 3.0, 2.0, 2.5, 1.0], [0.0, 3.0, 2.0, 3.5, 1.0]]


def test_the_matrix_is_what_the_runtime_takes_without_a_copy() -> None:
    matrix = plan().matrix(KNOWN, [1, 0, 1])
    assert matrix is not None
    assert matrix.dtype == np.float32
    assert matrix.flags.c_contiguous
    assert matrix.shape == (3, len(INPUTS))


def test_rows_follow_the_given_candidates_in_the_given_order() -> None:
    matrix = plan().matrix(KNOWN, (1, 0))
    assert matrix is not None
    assert matrix[:, 0].tolist() == [0.0, 1.0]


def test_one_customers_facts_never_reach_the_next_customer() -> None:
    shared = plan()
    shared.matrix({"recency": 12, "zip_code": "Rural", "newbie": 1}, (0, 1, 2))
    matrix = shared.matrix({}, (0,))
    assert matrix is not None
    assert np.isnan(matrix[0, [1, 2, 4]]).all()


def test_a_message_without_a_feature_has_a_gap_there() -> None:
    matrix = plan().matrix(KNOWN, (2,))
    assert matrix is not None
    assert math.isnan(matrix[0, 3])


@pytest.mark.parametrize(
    "value", [None, "Suburb", 7, ["Urban"], {}], ids=["none", "unknown word", "number", "list", "object"]
)
def test_an_enum_value_outside_the_code_table_is_missing(value: Any) -> None:
    matrix = plan().matrix({**KNOWN, "zip_code": value}, (0,))
    assert matrix is not None
    assert math.isnan(matrix[0, 2])
    assert matrix[0, 1] == 3.0


@pytest.mark.parametrize("value", [None, "3", "", [3], 10**400, 1e39], ids=str)
def test_a_number_of_another_kind_or_beyond_float32_is_missing(value: Any) -> None:
    matrix = plan().matrix({**KNOWN, "recency": value}, (0,))
    assert matrix is not None
    assert math.isnan(matrix[0, 1])


def test_gaps_take_the_manifests_defaults_where_the_bundle_says_so() -> None:
    matrix = plan("default").matrix({"recency": 4}, (0,))
    assert matrix is not None
    assert matrix[0].tolist() == [1.0, 4.0, 2.0, 2.5, 1.0]


def test_gaps_send_a_customer_to_the_rules_rung_where_the_bundle_says_so() -> None:
    assert plan("rules").matrix({"recency": 4, "newbie": 0}, (0,)) is None
    assert plan("rules").matrix(KNOWN, (0,)) is not None


def test_missing_inputs_are_named() -> None:
    assert plan().missing({"recency": "3", "newbie": 0}) == ("customer.recency", "customer.zip_code")


@pytest.mark.parametrize("names", [(), ("customer.a",), ("message.m", "customer.a")], ids=str)
def test_a_model_may_read_one_fact_or_none(names: tuple[str, ...]) -> None:
    small = InputPlan(tuple(Input(name) for name in names), [{"m": 4.0}])
    matrix = small.matrix({"a": 2.0}, (0,))
    assert matrix is not None
    assert matrix.tolist() == [[{"customer.a": 2.0, "message.m": 4.0}[name] for name in names]]


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["Rural", "Urban", "Moon"]),
)


@given(st.dictionaries(st.sampled_from(["recency", "zip_code", "newbie"]), VALUES))
def test_the_quick_way_and_the_careful_way_give_the_same_cells(values: dict[str, Any]) -> None:
    matrix = plan().matrix(values, (1,))
    assert matrix is not None
    customer_inputs = ((i, column) for i, column in enumerate(INPUTS) if column.name.startswith("customer."))
    for i, column in customer_inputs:
        cell = encode(column, values.get(column.name.removeprefix("customer.")))
        expected = np.float32(np.nan if cell is None else cell)
        np.testing.assert_equal(matrix[0, i] + np.float32(0), expected + np.float32(0))
