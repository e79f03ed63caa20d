"""Which rules are quick, at the very edges: found by making small mistakes on purpose (`make mutate`)."""

from __future__ import annotations

import pytest

from policy.quick import quick_rules
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
    ],
)
def test_the_quick_form_gives_the_verdict_by_itself(rule: str, verdict: bool) -> None:
    """Not by failing, upon which the library is asked: that would be right, and slow."""
    customer = {"member": True, "recency": 0, "zip_code": "Urban"}
    assert quick_rules(*with_rules(rule)).run(customer, {}) == (verdict,)
