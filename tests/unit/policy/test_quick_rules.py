"""Quick rules: they exist, they are quick where they may be, and they mean what the CEL library means."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.decision.eligible import Freshness, RuleRun
from app.core.decision.exclusion import Excluded
from app.core.decision.situation import situation
from policy.bundle import Bundle, Placement, Rule
from policy.codes import Exclusion
from policy.expressions import compiled
from policy.quick import quick_rules
from tests.support.contract import contract_bundle
from tests.support.deciding import facts_of
from tests.support.strategies import some_of


def with_rules(*sources: str) -> tuple[Bundle, Placement]:
    """The contract bundle, one placement of which has these rules."""
    base = contract_bundle()
    rules = tuple(Rule(index, text, compiled(text), False) for index, text in enumerate(sources))
    names = {name for rule in rules for name in rule.expression.customer}
    context = {name for rule in rules for name in rule.expression.context}
    placement = dataclasses.replace(
        base.placements["weekly"],
        rules=tuple(range(len(rules))),
        customer_names=tuple(sorted(names)),
        context_names=tuple(sorted(context)),
    )
    return dataclasses.replace(base, rules=rules), placement


def verdicts(
    rules: tuple[str, ...], values: dict[str, Any], context: dict[str, Any]
) -> tuple[dict[int, Excluded], dict[int, Excluded]]:
    """What the product says of the rules, and what the library says of each alone."""
    bundle, placement = with_rules(*rules)
    seen = situation(bundle, facts_of(values, region=None, timezone=None, language=None), context, 0)
    run = RuleRun(placement, seen, Freshness(values, []), personal=True)
    alone = {index: run._run(index) for index in placement.rules}
    return run.run_all(), {index: verdict for index, verdict in alone.items() if verdict is not None}


def is_quick(rule: str) -> bool:
    return quick_rules(*with_rules(rule)).others == ()


@pytest.mark.parametrize(
    "rule",
    [
        "customer.recency <= 12",
        "customer.recency <= 012",
        "customer.recency == 0x1F",
        "customer.recency > -5",
        "12 >= customer.recency",
        "customer.history >= 2.5",
        "customer.history >= 100",
        "customer.zip_code == 'Urban'",
        'customer.zip_code in ["Urban", "Rural"]',
        "customer.recency in [1, 2, 3]",
        "customer.member",
        "!customer.member",
        "customer.member == true",
        "context.gift || customer.recency < 3 && !(customer.mens == 1)",
        "context.region == 'DE'",
        "false",
        "has(customer.recency)",
        "has(context.gift) && context.gift",
    ],
)
def test_comparisons_of_known_facts_with_constants_are_quick(rule: str) -> None:
    assert is_quick(rule)


@pytest.mark.parametrize(
    "rule",
    [
        "customer.recency + 1 > 3",
        "customer.zip_code.startsWith('U')",
        "size(customer.nickname) > 3",
        "customer.history >= 9007199254740993",
        "customer.recency >= 2.5",
        "customer.member ? true : false",
        "customer.recency in [1, 2u]",
        "customer['recency'] > 1",
    ],
)
def test_what_is_not_beyond_doubt_is_left_to_the_library(rule: str) -> None:
    assert not is_quick(rule)


@pytest.mark.parametrize("zero", ["007", "00", "010", "0x10"])
def test_whole_numbers_may_begin_with_zeros(zero: str) -> None:
    """They once stopped every decision of the placement: Python reads no such literal, CEL does."""
    for value in (0, 7, 8, 10, 16):
        quick, library = verdicts((f"customer.recency == {zero}",), {"recency": value}, {})
        assert quick == library


@pytest.mark.parametrize("sign", ["==", "!=", "<", "<=", ">", ">="])
@pytest.mark.parametrize(
    ("fact", "written", "values"),
    [
        ("recency", "10", (9, 10, 11)),
        ("history", "2.5", (2.4, 2.5, 2.6)),
        ("history", "3", (2.9, 3.0, 3.1)),
        ("nickname", "'b'", ("a", "b", "c", "", "é")),
    ],
)
def test_every_comparison_means_the_same_below_at_and_above(
    sign: str, fact: str, written: str, values: tuple[Any, ...]
) -> None:
    """Made-up rules and values seldom meet at the very edge."""
    rules = f"customer.{fact} {sign} {written}", f"{written} {sign} customer.{fact}"
    assert is_quick(rules[0])
    for value in values:
        quick, library = verdicts(rules, {fact: value}, {})
        assert quick == library


# Rules made up, against the library

INTS = ["recency", "mens"]
INTEGERS = st.one_of(
    st.integers(-130, 130).map(str),
    st.sampled_from(["0", "007", "0x1F", "0xff", "9223372036854775807", "-9223372036854775807", "9007199254740993"]),
)
DOUBLES = st.one_of(
    st.floats(-1000, 1000, allow_nan=False).map(lambda number: f"{number:.4f}"),
    st.sampled_from(["0.0", "-0.0", ".5", "1e3", "1.5e-3", "142.4"]),
)
STRINGS = st.sampled_from(["'Urban'", '"Rural"', "''", r"'a\nb'", r"r'a\nb'", "'é'", r"'\u00e9'", "'DE'", "'''x'''"])
COMPARE = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
EQUAL = st.sampled_from(["==", "!="])
INT_FACT = st.sampled_from(["customer.recency", "customer.mens", "context.items"])
DOUBLE_FACT = st.sampled_from(["customer.history", "context.basket", "context.rating"])
STRING_FACT = st.sampled_from(["customer.zip_code", "customer.nickname", "context.note", "context.region"])
BOOL_FACT = st.sampled_from(["customer.member", "context.gift"])


def written(*parts: Any) -> st.SearchStrategy[str]:
    return st.tuples(*[part if isinstance(part, st.SearchStrategy) else st.just(part) for part in parts]).map(" ".join)


def listed(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(items, max_size=3).map(lambda each: f"[{', '.join(each)}]")


ATOMS = st.one_of(
    written(INT_FACT, COMPARE, INTEGERS),
    written(INTEGERS, COMPARE, INT_FACT),
    written(INT_FACT, COMPARE, DOUBLES),
    written(DOUBLE_FACT, COMPARE, DOUBLES),
    written(DOUBLE_FACT, COMPARE, INTEGERS),
    written(INT_FACT, COMPARE, INT_FACT),
    written(DOUBLE_FACT, COMPARE, DOUBLE_FACT),
    written(INT_FACT, COMPARE, DOUBLE_FACT),
    written(STRING_FACT, COMPARE, STRINGS),
    written(STRING_FACT, EQUAL, STRING_FACT),
    written(BOOL_FACT, EQUAL, st.sampled_from(["true", "false"])),
    written(INT_FACT, "in", listed(INTEGERS)),
    written(STRING_FACT, "in", listed(STRINGS)),
    written(INT_FACT, "+ 1 >", INTEGERS),
    written(STRING_FACT, ".startsWith(", STRINGS, ")"),
    written("has(", INT_FACT, ")"),
    BOOL_FACT,
    st.sampled_from(["true", "false"]),
)
RULES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        written("(", inner, "&&", inner, ")"),
        written("(", inner, "||", inner, ")"),
        written("!(", inner, ")"),
        written("(", inner, "?", inner, ":", inner, ")"),
        written(inner, "&&", inner),
        written(inner, "||", inner),
    ),
    max_leaves=6,
)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(rules=st.lists(RULES, min_size=1, max_size=3).map(tuple), data=st.data())
def test_quick_rules_say_what_the_library_says(rules: tuple[str, ...], data: st.DataObject) -> None:
    """Missing facts included: then both name the same one."""
    base = contract_bundle()
    values, context = data.draw(some_of(base.fact_by_name)), data.draw(some_of(base.context))
    quick, library = verdicts(rules, values, context)
    assert quick == library
    assert {why.code for why in quick.values()} <= {Exclusion.NOT_ELIGIBLE}


def test_the_made_up_rules_are_quick_often_enough_to_mean_something() -> None:
    seen = {True: 0, False: 0}

    @settings(max_examples=100, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(rule=RULES)
    def count(rule: str) -> None:
        seen[is_quick(rule)] += 1

    count()
    assert min(seen.values()) > 10, seen
