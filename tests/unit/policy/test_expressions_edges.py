"""Segments and conditions at the very edges: found by making small mistakes on purpose (`make mutate`)."""

from __future__ import annotations

import re

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
        ("  segment.recent && customer.mens == 1", "(customer.recency <= 3) && customer.mens == 1"),
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


@pytest.mark.parametrize(
    ("rule", "is_one"),
    [
        ("9223372036854775807 > 1", True),
        ("9223372036854775808 > 1", False),
        ("18446744073709551615u > 1u", True),
        ("18446744073709551616u > 1u", False),
        ("18446744073709551615U > 1u", True),
        ("0x10 == 16", True),
        ("!-1 == 1", True),
        ("!-1.5 == 1.5", True),
        ("!-customer.i", False),
        ("-!customer.b", False),
        ("--customer.i > 1", True),
        ("a ? b ? c : d : e", False),
        ("a ? (b ? c : d) : e", True),
        ("a ? b || c : d", True),
        ("[a](", False),
        ("*a)", False),
        ("a == ')", False),
    ],
)
def test_the_edges_of_the_language(rule: str, is_one: bool) -> None:
    try:
        parse(rule)
    except RuleSyntaxError:
        assert not is_one
    else:
        assert is_one


def test_rules_may_stand_beside_each_other_as_often_as_one_likes_and_not_in_each_other() -> None:
    parse(" && ".join(["(a)"] * 300))
    parse("(" * 31 + "a" + ")" * 31)
    with pytest.raises(RuleSyntaxError, match="nested too deeply"):
        parse("(" * 32 + "a" + ")" * 32)
    with pytest.raises(RuleSyntaxError, match="nested too deeply"):
        parse("((a) && " * 32 + "a" + ")" * 32)


def test_brackets_change_nothing_of_what_stands_in_them() -> None:
    assert (parse("('a')").type, parse("(size(x))").type) == (parse("'a'").type, parse("size(x)").type)


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("a == 'b", "a quote is never closed"),
        ("a # b", "`#` has no meaning in a rule"),
        ("(a", "`)` is expected before the end"),
        ("(a b", "`)` is expected before `b`"),
        ("a ==", "the rule ends too early"),
    ],
)
def test_what_is_no_rule_says_why(rule: str, says: str) -> None:
    with pytest.raises(RuleSyntaxError, match="^" + re.escape(says)):
        parse(rule)
