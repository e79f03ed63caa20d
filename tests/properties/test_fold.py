"""The fold against an oracle that looks at all events at once, in any order, in parts, and across bundles."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.events.event import Event
from app.core.features.codec import encode, state_of
from app.core.features.fold import fold, united
from app.core.features.history import Arrival, folded, vectors
from app.core.features.plan import FoldPlan, State, new_state
from app.core.features.read import read
from tests.support.folding import EVERYTHING, computed, event, plan_of

SETTINGS = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
PLAN = plan_of(EVERYTHING)
MINUTE_MS = 60_000
DAY_MS = 1440 * MINUTE_MS
#: 2026-11-24T07:59Z, a minute before a bucket of eight hours ends.
NOW_MS = 1_795_507_140_000

AGES_MS = st.one_of(
    st.integers(0, 90 * MINUTE_MS),
    st.integers(0, 8 * DAY_MS),
    st.integers(0, 400 * DAY_MS),
    st.integers(-10 * MINUTE_MS, 0),  # a client's clock that is ahead
    st.sampled_from([0, 1, MINUTE_MS, 60 * MINUTE_MS, DAY_MS, 7 * DAY_MS]),  # on the edges, and at one instant
)
PRICES = st.one_of(st.sampled_from([0.0, 1.0, 19.99, -5.0]), st.floats(-1e6, 1e6))
BROWSED = st.fixed_dictionaries(
    {},
    optional={
        "product": st.integers(0, 400).map(lambda number: f"p{number}"),
        "category": st.sampled_from(["mens", "womens", "kids", "Müller", *(f"c{number}" for number in range(40))]),
        "price": PRICES,
    },
)
BOUGHT = st.fixed_dictionaries({}, optional={"revenue": PRICES, "items": st.integers(-3, 10**9)})
ONE = st.one_of(
    st.tuples(st.sampled_from(["viewed", "added"]), AGES_MS, BROWSED), st.tuples(st.just("bought"), AGES_MS, BOUGHT)
)


def events_of(drawn: list[tuple[str, int, dict[str, Any]]]) -> list[Event]:
    return [event(kind, NOW_MS - age, at, **given) for at, (kind, age, given) in enumerate(drawn)]


EVENTS = st.lists(ONE, max_size=60).map(events_of)
READ_AFTER_MS = st.one_of(st.just(0), st.integers(0, 9 * DAY_MS), st.integers(0, 500 * DAY_MS))


def stored(plan: FoldPlan, state: State) -> dict[str, bytes]:
    return {group.key: encode(group, held) for group, held in zip(plan.groups, state, strict=True) if held is not None}


@SETTINGS
@given(events=EVENTS, after_ms=READ_AFTER_MS)
def test_every_feature_is_what_all_events_come_to(events: list[Event], after_ms: int) -> None:
    assert read(PLAN, folded(PLAN, events), NOW_MS + after_ms) == computed(PLAN, events, NOW_MS + after_ms)


@SETTINGS
@given(events=EVENTS, seed=st.integers(0, 2**32), after_ms=READ_AFTER_MS)
def test_the_order_of_arrival_leaves_no_trace(events: list[Event], seed: int, after_ms: int) -> None:
    shuffled = random.Random(seed).sample(events, len(events))
    one, other = folded(PLAN, events), folded(PLAN, shuffled)
    assert one == other
    assert stored(PLAN, one) == stored(PLAN, other)
    assert repr(read(PLAN, one, NOW_MS + after_ms)) == repr(read(PLAN, other, NOW_MS + after_ms))


@SETTINGS
@given(events=EVENTS, owners=st.lists(st.booleans(), min_size=60, max_size=60))
def test_two_customers_who_become_one_are_as_if_they_had_always_been(events: list[Event], owners: list[bool]) -> None:
    mine = [each for each, is_mine in zip(events, owners, strict=False) if is_mine]
    theirs = [each for each, is_mine in zip(events, owners, strict=False) if not is_mine]
    one, other = folded(PLAN, mine), folded(PLAN, theirs)
    before = stored(PLAN, one), stored(PLAN, other)
    whole = folded(PLAN, events)
    assert stored(PLAN, united(PLAN, one, other)) == stored(PLAN, united(PLAN, other, one)) == stored(PLAN, whole)
    assert (stored(PLAN, one), stored(PLAN, other)) == before


@SETTINGS
@given(events=EVENTS, more=EVENTS)
def test_events_that_come_after_two_became_one_fold_as_always(events: list[Event], more: list[Event]) -> None:
    state = united(PLAN, folded(PLAN, events), folded(PLAN, more))
    for each in (*events, *more):
        fold(PLAN, state, each)
    assert stored(PLAN, state) == stored(PLAN, folded(PLAN, [*events, *more, *events, *more]))


@SETTINGS
@given(events=EVENTS, cut=st.integers(0, 60))
def test_a_state_that_was_stored_in_between_goes_on_as_if_it_had_not(events: list[Event], cut: int) -> None:
    state = state_of(PLAN, stored(PLAN, folded(PLAN, events[:cut])))
    for each in events[cut:]:
        fold(PLAN, state, each)
    assert stored(PLAN, state) == stored(PLAN, folded(PLAN, events))


@SETTINGS
@given(events=EVENTS)
def test_a_fold_names_the_groups_that_changed_and_no_others(events: list[Event]) -> None:
    state = new_state(PLAN)
    for each in events:
        before = [None if held is None else encode(group, held) for group, held in zip(PLAN.groups, state, strict=True)]
        changed = fold(PLAN, state, each)
        after = [None if held is None else encode(group, held) for group, held in zip(PLAN.groups, state, strict=True)]
        assert list(changed) == [group.index for group in PLAN.groups if before[group.index] != after[group.index]]


@SETTINGS
@given(
    events=EVENTS,
    delays=st.lists(st.integers(0, 3 * DAY_MS), min_size=60, max_size=60),
    repeats=st.lists(st.integers(0, 59), max_size=20),
    instants=st.lists(st.integers(-400 * DAY_MS, 5 * DAY_MS), max_size=5),
)
def test_a_training_row_holds_what_had_arrived_late_and_repeated_events_included(
    events: list[Event], delays: list[int], repeats: list[int], instants: list[int]
) -> None:
    arrivals = [Arrival(each.occurred_at_ms + delay, each) for each, delay in zip(events, delays, strict=False)]
    again = [Arrival(arrivals[at].at_ms + 1, arrivals[at].event) for at in repeats if at < len(arrivals)]
    asked = [NOW_MS + each for each in sorted(instants)]
    rows = vectors(PLAN, sorted([*arrivals, *again], key=lambda each: each.at_ms), asked)
    for at_ms, row in zip(asked, rows, strict=True):
        assert row == computed(PLAN, [each.event for each in arrivals if each.at_ms <= at_ms], at_ms)


@SETTINGS
@given(events=EVENTS, after_ms=READ_AFTER_MS)
def test_features_do_not_depend_on_what_else_a_bundle_folds(events: list[Event], after_ms: int) -> None:
    """Also across releases: what one plan stored another one reads, as far as both keep the same."""
    lines = EVERYTHING.strip().splitlines()
    whole = folded(PLAN, events)
    for few in (plan_of("\n".join(lines[::3])), plan_of("\n".join(reversed(lines[1::2])))):
        values = read(few, folded(few, events), NOW_MS + after_ms)
        assert values == read(few, state_of(few, stored(PLAN, whole)), NOW_MS + after_ms)
        expected = read(PLAN, whole, NOW_MS + after_ms)
        assert values == {rule.name: expected[rule.name] for rule in few.features if rule.name in expected}
