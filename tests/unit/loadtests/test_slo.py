"""Budgets, and when they count as kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loadtests.mix.both_ends import equal
from loadtests.mix.schedule import Kind
from loadtests.mix.slo import DEFAULT, BadSlo, Budget, Found, judge, read

BUDGET = Budget(p50_ms=10, p99_ms=50, p999_ms=100, error_rate=0.01, least_rate=20)
GOOD = {
    "requests": 1000,
    "due_a_second": 21.0,
    "good_a_second": 20.0,
    "error_rate": 0.01,
    "p50_ms": 10.0,
    "p99_ms": 50.0,
    "p999_ms": 100.0,
}


def verdicts(**changed: Any) -> dict[str, bool | None]:
    found = Found(**{**GOOD, **changed})
    return {goal.what: goal.met for goal in judge({Kind.DECIDE: BUDGET}, {Kind.DECIDE: found})}


def test_a_budget_that_is_just_reached_is_kept() -> None:
    assert set(verdicts().values()) == {True}


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"p50_ms": 10.1}, "decide: p50"),
        ({"p99_ms": 50.1}, "decide: p99"),
        ({"p999_ms": 100.1}, "decide: p99.9"),
        ({"error_rate": 0.011}, "decide: error rate"),
        ({"good_a_second": 19.9}, "decide: good answers a second"),
    ],
)
def test_each_figure_is_judged_alone(changed: dict[str, float], what: str) -> None:
    assert [name for name, met in verdicts(**changed).items() if not met] == [what]


def test_nothing_answered_keeps_nothing() -> None:
    silent = {"requests": 0, "good_a_second": 0.0, "error_rate": 0.0, "p50_ms": None, "p99_ms": None, "p999_ms": None}
    assert set(verdicts(**silent).values()) == {False}


def test_what_nobody_drove_is_not_shown_and_not_met() -> None:
    (goal,) = judge({Kind.WEBHOOKS: BUDGET}, {})
    assert goal.met is None


def test_the_file_that_is_shipped_has_a_budget_for_every_endpoint() -> None:
    assert set(read(DEFAULT)) == set(Kind)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("decide: {p50_ms: 1}", "decide.p99_ms"),
        ("decode: {}", "Endpoints are decide, batch, events, webhooks"),
        ("decide: {p50_ms: 1, p99_ms: 1, p999_ms: 1, error_rate: 1, least_rate: 1, p95_ms: 1}", "p95_ms"),
        ("decide: {p50_ms: 0, p99_ms: 1, p999_ms: 1, error_rate: 2, least_rate: 1}", "error_rate"),
        ("[", "cannot be read"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "slo.yaml").write_text(text)
    with pytest.raises(BadSlo, match=word):
        read(tmp_path / "slo.yaml")


@pytest.mark.parametrize(
    ("told", "found", "more", "met"),
    [
        (100, 100, 0, True),
        (100, 99, 0, False),  # lost
        (100, 101, 0, False),  # twice
        (100, 101, 1, True),  # a request of which nobody knows
        (100, 99, 1, False),
        (0, 0, 0, None),  # nothing was told: nothing is shown
    ],
)
def test_counts_are_equal_on_both_ends_or_something_is_lost(told: int, found: int, more: int, met: bool | None) -> None:
    assert equal("events accepted = folded", told, found, more).met is met
