"""What falls due is planned beforehand, and depends on nothing that is answered."""

from __future__ import annotations

from itertools import pairwise
from math import sqrt

from hypothesis import given
from hypothesis import strategies as st

from loadtests.mix.schedule import (
    FIRST_SEND_S,
    MIX,
    SEND_EVERY_S,
    Kind,
    Stage,
    arrivals,
    expected,
    pieces,
    seconds_of,
    stage_at,
)

STAGES = st.lists(
    st.builds(Stage, st.just("any"), st.floats(0.5, 40), st.floats(0, 3)), min_size=1, max_size=5
)  # fmt: skip


@given(STAGES, st.sampled_from(list(Kind)), st.floats(1, 50))
def test_a_plan_covers_the_whole_run_once(stages: list[Stage], kind: Kind, rate: float) -> None:
    planned = list(pieces(stages, MIX[kind], rate))
    assert planned[0][0] == 0.0
    assert planned[-1][1] == seconds_of(stages)
    assert all(before[1] == after[0] for before, after in pairwise(planned))
    assert all(from_s < until_s for from_s, until_s, _ in planned)


@given(STAGES, st.integers(0, 9), st.floats(5, 30))
def test_as_much_falls_due_as_was_planned(stages: list[Stage], seed: int, rate: float) -> None:
    """A Poisson count is within six times its own spread, but once in a thousand million."""
    due = list(arrivals(stages, rate, tuple(Kind), seed))
    assert due == sorted(due)
    for kind in Kind:
        mean = sum(expected(stages, rate, kind))
        assert abs(sum(each.kind is kind for each in due) - mean) <= 6 * sqrt(mean) + 6


@given(STAGES, st.floats(0, 20))
def test_the_warm_up_is_not_expected_of_anybody(stages: list[Stage], after_s: float) -> None:
    whole, rest = (sum(expected(stages, 10, Kind.DECIDE, since)) for since in (0.0, after_s))
    before = sum(
        (min(until_s, after_s) - from_s) * rate
        for from_s, until_s, rate in pieces(stages, MIX[Kind.DECIDE], 10)
        if from_s < after_s
    )
    assert abs(whole - before - rest) < 1e-6 * (1 + whole)


def test_a_send_brings_a_burst_of_decisions_and_then_a_storm_of_webhooks() -> None:
    stages = (Stage("one", 60.0, 1.0),)

    def rate_at(kind: Kind, at_s: float) -> float:
        return next(rate for from_s, until_s, rate in pieces(stages, MIX[kind], 100) if from_s <= at_s < until_s)

    for send in (FIRST_SEND_S, FIRST_SEND_S + SEND_EVERY_S, FIRST_SEND_S + 2 * SEND_EVERY_S):
        assert rate_at(Kind.DECIDE, send + 0.5) == 4 * rate_at(Kind.DECIDE, send - 0.5) == 400
        assert rate_at(Kind.WEBHOOKS, send + 0.5) == rate_at(Kind.WEBHOOKS, 0.5)
        assert rate_at(Kind.WEBHOOKS, send + 3.5) == 10 * rate_at(Kind.WEBHOOKS, 0.5)


def test_the_same_seed_makes_the_same_plan_and_kinds_do_not_change_each_others() -> None:
    stages = (Stage("one", 20.0, 1.0),)
    both = list(arrivals(stages, 50, (Kind.DECIDE, Kind.EVENTS), 7))
    assert both == list(arrivals(stages, 50, (Kind.DECIDE, Kind.EVENTS), 7))
    assert [each for each in both if each.kind is Kind.DECIDE] == list(arrivals(stages, 50, (Kind.DECIDE,), 7))


def test_an_instant_belongs_to_one_stage() -> None:
    stages = (Stage("first", 2.0, 1.0), Stage("second", 3.0, 1.0))
    assert [stage_at(stages, at_s) for at_s in (0.0, 1.9, 2.0, 4.9, 5.0, 99.0)] == [0, 0, 1, 1, 1, 1]
