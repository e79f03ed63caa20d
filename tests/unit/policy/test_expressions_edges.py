"""Segments and conditions at the very edges: found by making small mistakes on purpose (`make mutate`)."""

from __future__ import annotations

import pytest

from policy.expressions import conditions, without_segments

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
