"""The fold against an oracle that looks at all events at once, in any order, in parts, and across bundles."""

from __future__ import annotations

import random
from typing import Any, TypeAlias

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.events.event import Event
from app.core.features.codec import encode, state_of
from app.core.features.fold import fold, united
from app.core.features.history import Arrival, folded, vectors
from app.core.features.plan import FoldPlan, State, new_state
from app.core.features.read import read
from tests.support.folding import EVERYTHING, computed, event, plan_of

Story: TypeAlias = tuple[FoldPlan, list[Event], int]

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


#: The same within an hour, in buckets of three minutes: there nearly every event meets an edge or another event.
CLOSE_UP = """
views:     {on: viewed, count: 1, window: 1h}
views_57m: {on: viewed, count: 1, window: 57m}
spend:     {on: [viewed, added], sum: price, window: 57m}
mean:      {on: viewed, mean: price, window: 1h}
cheapest:  {on: viewed, min: price, window: 57m}
dearest:   {on: viewed, max: price, window: 1h}
products:  {on: viewed, distinct: product, window: 57m}
all:       {on: viewed, distinct: product, window: 1h}
last:      {on: viewed, last: product, window: 30m}
since:     {on: viewed, recency: minutes, window: 30m}
fading:    {on: viewed, decayed: {half_life: 9m}}
spent:     {on: viewed, decayed: {half_life: 9m, sum: price}, window: 30m}
favourite: {on: viewed, affinity: {key: category, half_life: 9m}}
rate:      {rate: {of: added, per: viewed}, window: 1h}
visits:    {on: [viewed, added], sessions: {gap: 2m}, window: 57m}
abandoned: {funnel: {after: added, without: viewed, minutes: 3}, window: 30m}
hours:     {on: viewed, hours: {at_least: 1}, window: 1h}
"""
CLOSE_UP_PLAN = plan_of(CLOSE_UP)
CLOSE_UP_ONE = st.tuples(
    st.sampled_from(["viewed", "viewed", "added"]),
    st.one_of(
        st.integers(-4, 75).map(lambda minutes: minutes * MINUTE_MS), st.integers(-4 * MINUTE_MS, 75 * MINUTE_MS)
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "product": st.sampled_from(["hat", "shoes", "cap"]),
            "category": st.integers(0, 24).map(str),
            "price": st.sampled_from([5.0, -5.0, 0.0, 0.5]),
        },
    ),
)


def told(one: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Event]]:
    return st.lists(one, max_size=60).map(events_of)


#: A plan, what happened, and how long after it is asked.
STORIES = st.one_of(
    st.tuples(
        st.just(PLAN),
        told(ONE),
        st.one_of(st.just(0), st.integers(0, 9 * DAY_MS), st.integers(0, 500 * DAY_MS)),
    ),
    st.tuples(st.just(CLOSE_UP_PLAN), told(CLOSE_UP_ONE), st.integers(-5, 80).map(lambda minutes: minutes * MINUTE_MS)),
)


def stored(plan: FoldPlan, state: State) -> dict[str, bytes]:
    return {group.key: encode(group, held) for group, held in zip(plan.groups, state, strict=True) if held is not None}


@SETTINGS
@given(STORIES)
def test_every_feature_is_what_all_events_come_to(story: Story) -> None:
    plan, events, after_ms = story
    assert read(plan, folded(plan, events), NOW_MS + after_ms) == computed(plan, events, NOW_MS + after_ms)


@SETTINGS
@given(STORIES, st.integers(0, 2**32))
def test_the_order_of_arrival_leaves_no_trace(story: Story, seed: int) -> None:
    plan, events, after_ms = story
    one, other = folded(plan, events), folded(plan, random.Random(seed).sample(events, len(events)))
    assert one == other
    assert stored(plan, one) == stored(plan, other)
    assert repr(read(plan, one, NOW_MS + after_ms)) == repr(read(plan, other, NOW_MS + after_ms))


@SETTINGS
@given(STORIES, st.lists(st.booleans(), min_size=60, max_size=60))
def test_two_customers_who_become_one_are_as_if_they_had_always_been(story: Story, owners: list[bool]) -> None:
    plan, events, _ = story
    mine = [each for each, is_mine in zip(events, owners, strict=False) if is_mine]
    theirs = [each for each, is_mine in zip(events, owners, strict=False) if not is_mine]
    one, other = folded(plan, mine), folded(plan, theirs)
    before = stored(plan, one), stored(plan, other)
    whole = stored(plan, folded(plan, events))
    assert stored(plan, united(plan, one, other)) == stored(plan, united(plan, other, one)) == whole
    assert (stored(plan, one), stored(plan, other)) == before


@SETTINGS
@given(STORIES)
def test_events_that_come_after_two_became_one_fold_as_always(story: Story) -> None:
    plan, events, _ = story
    state = united(plan, folded(plan, events[::2]), folded(plan, events[1::2]))
    for each in events:
        fold(plan, state, each)
    assert stored(plan, state) == stored(plan, folded(plan, [*events, *events]))


@SETTINGS
@given(STORIES, st.integers(0, 60))
def test_a_state_that_was_stored_in_between_goes_on_as_if_it_had_not(story: Story, cut: int) -> None:
    plan, events, _ = story
    state = state_of(plan, stored(plan, folded(plan, events[:cut])))
    for each in events[cut:]:
        fold(plan, state, each)
    assert stored(plan, state) == stored(plan, folded(plan, events))


@SETTINGS
@given(STORIES)
def test_a_fold_names_the_groups_that_changed_and_no_others(story: Story) -> None:
    plan, events, _ = story
    state = new_state(plan)
    for each in events:
        before = stored(plan, state)
        changed = fold(plan, state, each)
        after = stored(plan, state)
        assert list(changed) == [each.index for each in plan.groups if before.get(each.key) != after.get(each.key)]


@SETTINGS
@given(
    story=STORIES,
    delays=st.lists(st.integers(0, 3 * DAY_MS), min_size=60, max_size=60),
    repeats=st.lists(st.integers(0, 59), max_size=20),
    instants=st.lists(st.one_of(st.integers(-400 * DAY_MS, 5 * DAY_MS), st.integers(0, 75 * MINUTE_MS)), max_size=5),
)
def test_a_training_row_holds_what_had_arrived_late_and_repeated_events_included(
    story: Story, delays: list[int], repeats: list[int], instants: list[int]
) -> None:
    plan, events, _ = story
    arrivals = [Arrival(each.occurred_at_ms + delay, each) for each, delay in zip(events, delays, strict=False)]
    again = [Arrival(arrivals[at].at_ms + 1, arrivals[at].event) for at in repeats if at < len(arrivals)]
    asked = [NOW_MS + each for each in sorted(instants)]
    rows = vectors(plan, sorted([*arrivals, *again], key=lambda each: each.at_ms), asked)
    for at_ms, row in zip(asked, rows, strict=True):
        assert row == computed(plan, [each.event for each in arrivals if each.at_ms <= at_ms], at_ms)


@SETTINGS
@given(STORIES)
def test_features_do_not_depend_on_what_else_a_bundle_folds(story: Story) -> None:
    """Also across releases: what one plan stored another one reads, as far as both keep the same."""
    plan, events, after_ms = story
    whole = folded(plan, events)
    expected = read(plan, whole, NOW_MS + after_ms)
    for few in (plan.features[::3], plan.features[1::2]):
        smaller = FoldPlan.of_rules(reversed(few))
        values = read(smaller, folded(smaller, events), NOW_MS + after_ms)
        assert values == read(smaller, state_of(smaller, stored(plan, whole)), NOW_MS + after_ms)
        assert values == {rule.name: expected[rule.name] for rule in few if rule.name in expected}
