"""Which rules are quick, at the very edges: found by making small mistakes on purpose (`make mutate`)."""

from __future__ import annotations

import pytest

from policy.expressions import compiled
from policy.quick import quick_number, quick_rule, quick_rules
from tests.support.contract import contract_bundle
from tests.unit.policy.test_quick_rules import is_quick, with_rules


@pytest.mark.parametrize(
    "rule",
    [
        "100 <= customer.history",
        "customer.history >= 9007199254740992",  # 2⁵³: the last whole number that is exact
    ],
)
def test_a_decimal_fact_may_be_compared_with_a_whole_number_from_either_side(rule: str) -> None:
    assert is_quick(rule)


@pytest.mark.parametrize(
    "rule",
    [
        "'abc' == customer.recency",
        "customer.recency == 'abc'",
        "customer.recency in [customer.mens]",
        "customer.recency in ['a']",
        "customer.member in [true]",
        "customer.history in [1.0]",
        "customer.member < true",
        "-customer.recency > 3",
        "(!true) == false",
        "customer == 1",
        "[] == []",
        "[1] == [2]",
        "customer.nobody == customer.nothing",
        "has(customer.nobody)",
        "string(customer.member)",
    ],
)
def test_what_is_no_plain_comparison_of_like_with_like_is_left_to_the_library(rule: str) -> None:
    assert not is_quick(rule)


@pytest.mark.parametrize(
    ("rule", "verdict"),
    [
        ("true", True),
        ("false", False),
        ("customer.member == true", True),
        ("customer.member == false", False),
        ("customer.recency > -5", True),
        ("customer.zip_code in ['Rural']", False),
        ("has(customer.history)", False),
        ("customer.member && customer.recency > 0", False),
        ("customer.member || customer.recency > 0", True),
        ("!customer.member", False),
    ],
)
def test_the_quick_form_gives_the_verdict_by_itself(rule: str, verdict: bool) -> None:
    """Not by failing, upon which the library is asked: that would be right, and slow."""
    customer = {"member": True, "recency": 0, "zip_code": "Urban"}
    assert quick_rules(*with_rules(rule)).run(customer, {}) == (verdict,)


@pytest.mark.parametrize(
    ("rule", "alone"),
    [
        ("customer.recency > 1", True),
        ("customer.zip_code in ['Urban']", True),
        ("customer.recency == customer.mens", False),
        ("customer.member", False),
        ("!customer.member", False),
        ("has(customer.recency)", False),
        ("customer.recency > 1 && customer.mens == 1", False),
    ],
)
def test_only_of_a_single_comparison_with_one_fact_a_missing_fact_leaves_no_doubt(rule: str, alone: bool) -> None:
    """Of `a || b` it would: `b` may hold without `a`."""
    found = quick_rule(with_rules(rule)[0], 0)
    assert found is not None
    assert found.compares is alone


@pytest.mark.parametrize(
    ("weight", "value"),
    [
        ("context.gift ? 1.2 : 1.0", 1.2),
        ("context.gift ? 2 : 1", 2.0),
        ("context.gift ? 0x10 : 1", 16.0),
        ("context.note == 'x' ? 1.5 : context.gift ? 1.25 : 1.0", 1.25),
        ("1.5", 1.5),
        ("context.gift ? 1u : 2u", None),
        ("context.gift ? true : false", None),
        ("context.basket * 2.0", None),
        ("context.basket", None),
    ],
)
def test_a_weight_that_chooses_between_numbers_is_quick(weight: str, value: float | None) -> None:
    found = quick_number(contract_bundle(), compiled(weight))
    run = None if found is None else found({}, {"gift": True, "note": "y", "basket": 2.0})
    assert run == (None if value is None else (value,))
    assert run is None or isinstance(run[0], float)
