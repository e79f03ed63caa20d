"""Segments and conditions at the very edges: found by making small mistakes on purpose (`make mutate`)."""

from __future__ import annotations

import pytest

from policy.durations import seconds
from policy.expressions import Reference, conditions, program, references, without_segments
from policy.grammar import RuleSyntaxError, parse

SEGMENTS = {
    "recent": "customer.recency <= 3",
    "rich": "customer.history > 500.0",
    "both": "segment.rich&&segment.recent",
}


@pytest.mark.parametrize(
    ("rule", "plain"),
    [
        ("segment.recent && segment.rich", "(customer.recency <= 3) && (customer.history > 500.0)"),
        ("  segment.recent", "(customer.recency <= 3)"),
        ("!segment.recent // who bought of late", "!(customer.recency <= 3)"),
        ("segment.both", "((customer.history > 500.0)&&(customer.recency <= 3))"),
    ],
)
def test_every_segment_of_a_rule_is_replaced_where_it_stands(rule: str, plain: str) -> None:
    assert without_segments(rule, SEGMENTS) == plain


def test_a_rule_that_is_never_true_has_itself_as_its_condition() -> None:
    assert conditions("false") == ("false",)
    assert conditions("true") == ()


def test_what_the_library_refuses_is_said_in_its_own_first_line() -> None:
    """It stays the last word on syntax; where in the rule it does not say, so the beginning is shown."""
    with pytest.raises(RuleSyntaxError) as refused:
        program("1 +")
    assert str(refused.value).startswith("<input>:1:4: Syntax error")
    assert "\n" not in str(refused.value)
    assert refused.value.offset == 0


def test_a_field_that_is_called_like_a_root_is_no_root() -> None:
    assert list(references(parse("context.customer.age"))) == [Reference("context", "customer", 0, 16)]


def test_ten_years_are_the_longest_duration() -> None:
    assert seconds("3660d") == 3660 * 86_400
    with pytest.raises(ValueError, match="ten years"):
        seconds("3661d")
