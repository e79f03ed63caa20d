"""What is stored of a customer's events, what cannot be folded, and what plans have in common."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from app.core.features.codec import OverfullState, UnreadableState, decode, encode, state_of
from app.core.features.fold import fold, united
from app.core.features.history import Arrival, folded, vectors
from app.core.features.lanes import NUMBER_MAX, UnfoldableEvent
from app.core.features.plan import FoldPlan, new_state
from app.core.features.read import histogram, read
from tests.support.folding import EVENTS, EVERYTHING, event, plan_of, rules_of

NOW_MS = 1_795_507_140_000
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
PLAN = plan_of(EVERYTHING)


def test_an_event_that_no_feature_is_folded_from_changes_nothing() -> None:
    state = new_state(PLAN)
    assert fold(PLAN, state, event("returned", NOW_MS)) == ()
    assert state == new_state(PLAN)


@pytest.mark.parametrize(
    "properties",
    [
        {"price": "12"},
        {"price": True},
        {"price": float("nan")},
        {"price": float("inf")},
        {"price": 10.0**12},
        {"price": 10**30},
    ],
    ids=["text", "truth", "not a number", "infinite", "too large", "far too large"],
)
def test_what_is_no_number_to_fold_leaves_everything_as_it_was(properties: dict[str, Any]) -> None:
    state = folded(PLAN, [event("viewed", NOW_MS, price=1.0, category="mens")])
    before = repr(state)
    with pytest.raises(UnfoldableEvent, match="price") as raised:
        fold(PLAN, state, event("viewed", NOW_MS + 1, category="kids", **properties))
    assert repr(state) == before
    assert str(next(iter(properties.values()))) not in str(raised.value)


def test_whether_a_number_can_be_folded_does_not_depend_on_those_before() -> None:
    plan = plan_of("it: {on: bought, sum: items}")
    state = folded(plan, [event("bought", NOW_MS, items=NUMBER_MAX)] * 50)
    assert read(plan, state, NOW_MS) == {"it": float(50 * NUMBER_MAX)}
    assert decode(plan.groups[0], encode(plan.groups[0], state[0])) == state[0]  # type: ignore[arg-type]  # there is a state


def test_a_state_that_outgrows_64_bits_is_refused_and_not_rounded() -> None:
    plan = plan_of("it: {on: bought, sum: items}")
    with pytest.raises(OverfullState, match="bought"):
        encode(plan.groups[0], [NOW_MS, [2**64]])


def test_what_is_stored_stays_readable() -> None:
    """These bytes move only on purpose, and then with a way to read the old ones."""
    plan = plan_of("""
count:     {on: viewed, count: 1, window: 7d}
favourite: {on: viewed, affinity: {key: category, half_life: 14d}}
distinct:  {on: viewed, distinct: product, window: 7d}
""")
    earlier = event("viewed", NOW_MS - 9 * HOUR_MS, category="mens", product="hat")
    state = folded(plan, [earlier, event("viewed", NOW_MS, category="kids", product="hat")])
    stored = bytes.fromhex(
        "97cf000001a20c90b5a0cea3de10ef920101cee1f91aaa91c40105ce92c8245a82a46b6964739101a46d656e739101"
    )
    assert state[0] is not None
    assert encode(plan.groups[0], state[0]) == stored
    assert decode(plan.groups[0], stored) == state[0]


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x01", b"\x90", b"\x92\x01\x02", b"garbage", b"\x93\x01\x91\x02\x03"])
def test_what_the_fold_did_not_write_cannot_be_read(data: bytes) -> None:
    with pytest.raises(UnreadableState):
        state_of(PLAN, {PLAN.groups[0].key: data})


def test_the_two_zeros_among_the_floats_are_one() -> None:
    plan = plan_of("it: {on: viewed, last: price}")
    zeros = [event("viewed", NOW_MS, price=-0.0), event("viewed", NOW_MS, price=0.0)]
    assert repr(folded(plan, zeros)) == repr(folded(plan, zeros[::-1]))


def test_values_of_several_types_at_one_instant_have_one_winner() -> None:
    plan = plan_of("it: {on: viewed, last: price}")
    values = [event("viewed", NOW_MS, price=each) for each in (1, 1.0, True, "1", 0, False)]
    states = {repr(folded(plan, values[turn:] + values[:turn])) for turn in range(len(values))}
    assert len(states) == 1


def test_long_text_is_cut_at_64_bytes_and_inside_of_no_character() -> None:
    plan = plan_of("it: {on: viewed, last: product}")
    assert read(plan, folded(plan, [event("viewed", NOW_MS, product="x" * 100)]), NOW_MS) == {"it": "x" * 64}
    assert read(plan, folded(plan, [event("viewed", NOW_MS, product="x" + "ü" * 40)]), NOW_MS) == {"it": "x" + "ü" * 31}


def test_text_that_is_no_unicode_can_be_stored_all_the_same() -> None:
    plan = plan_of("{it: {on: viewed, last: product}, key: {on: viewed, affinity: {key: product, half_life: 1d}}}")
    state = folded(plan, [event("viewed", NOW_MS, product="a\ud800")])
    assert state_of(plan, {"viewed": encode(plan.groups[0], state[0])}) == state  # type: ignore[arg-type]  # there is a state


def test_money_that_was_all_given_back_leaves_nothing_in_any_order() -> None:
    plan = plan_of("it: {on: bought, sum: revenue, window: 7d}")
    paid, given_back = (event("bought", NOW_MS - DAY_MS, revenue=money) for money in (5.0, -5.0))
    later = event("bought", NOW_MS)
    for events in permutations([paid, given_back, later]):
        assert folded(plan, events) == [[NOW_MS, []]]
        assert united(plan, folded(plan, events[:1]), folded(plan, events[1:])) == [[NOW_MS, []]]


def test_windows_with_one_length_of_bucket_share_a_lane() -> None:
    plan = plan_of("""
a: {on: bought, count: 1, window: 30d}
b: {on: bought, count: 1, window: 28d}
c: {on: bought, mean: revenue, window: 30d}
d: {on: bought, sum: revenue, window: 28d}
""")
    lanes = [(lane.key, lane.buckets.kept) for lane in plan.groups[0].lanes]
    assert lanes == [("count/172800000", 15), ("having:revenue/172800000", 15), ("sum:revenue:4/172800000", 15)]


def test_what_a_new_release_no_longer_reads_is_passed_over_and_what_it_adds_is_empty() -> None:
    old = plan_of("{a: {on: viewed, count: 1, window: 7d}, b: {on: viewed, max: price}}")
    new = plan_of("""
b: {on: viewed, max: price}
c: {on: viewed, count: {}}
d: {on: bought, count: {}}
e: {on: viewed, affinity: {key: category, half_life: 14d}}
""")
    stored = {"viewed": encode(old.groups[0], folded(old, [event("viewed", NOW_MS, price=3.0)])[0])}  # type: ignore[arg-type]  # there is a state
    assert read(new, state_of(new, stored), NOW_MS) == {"b": 3.0, "c": 0, "d": 0}


def test_bundles_that_are_served_side_by_side_are_folded_by_one_plan() -> None:
    old = rules_of("a: {on: viewed, count: 1, window: 7d}")
    new = rules_of("{a: {on: viewed, version: 2, count: 1, window: 160h}, b: {on: viewed, count: {}}}")
    both = FoldPlan.of_rules([*old, *new])
    state = folded(both, [event("viewed", NOW_MS - 7 * DAY_MS + 2 * HOUR_MS), event("viewed", NOW_MS)])
    stored = {"viewed": encode(both.groups[0], state[0])}  # type: ignore[arg-type]  # there is a state
    for rules, expected in ((old, {"a": 2}), (new, {"a": 1, "b": 2})):
        plan = FoldPlan.of_rules(rules)
        assert read(plan, state_of(plan, stored), NOW_MS) == expected


@pytest.mark.parametrize(
    ("features", "days"),
    [
        ("{a: {on: viewed, count: 1, window: 7d}, b: {on: viewed, count: 1, window: 90d}}", 90),
        ("{a: {on: viewed, recency: days, window: 100d}}", 100),
        ("{a: {on: viewed, decayed: {half_life: 3d}}}", 24),
        ("{a: {on: viewed, count: 1, window: 7d}, b: {on: viewed, last: product}}", None),
        ("{a: {on: viewed, sum: price}}", None),
    ],
)
def test_a_plan_knows_how_long_a_state_is_of_use(features: str, days: int | None) -> None:
    assert plan_of(features).keep_ms == (None if days is None else days * DAY_MS)


def test_a_state_is_left_alone_by_what_is_united_from_it() -> None:
    one = folded(PLAN, [event("viewed", NOW_MS, category="mens", product="hat", price=1.0)])
    before = repr(one)
    both = united(PLAN, one, new_state(PLAN))
    for state in (both, united(PLAN, new_state(PLAN), one)):
        fold(PLAN, state, event("viewed", NOW_MS + DAY_MS, category="kids", product="shoes", price=2.0))
        fold(PLAN, state, event("viewed", NOW_MS, category="mens", product="cap", price=2.0))
    assert repr(one) == before


def test_a_histogram_counts_by_hour_of_utc_in_its_window() -> None:
    plan = plan_of("it: {on: viewed, hours: {}, window: 90d}", EVENTS)
    events = [event("viewed", NOW_MS - days * DAY_MS - hours * HOUR_MS) for days, hours in ((0, 0), (1, 0), (200, 3))]
    assert histogram(plan, folded(plan, events), "it", NOW_MS) == (*(0,) * 7, 2, *(0,) * 16)
    assert histogram(plan, folded(plan, events), "it", NOW_MS + 365 * DAY_MS) == (0,) * 24
    assert histogram(plan, new_state(plan), "it", NOW_MS) == (0,) * 24


def test_a_training_row_knows_no_event_before_it_arrived() -> None:
    plan = plan_of("it: {on: viewed, count: {}}")
    late = event("viewed", NOW_MS - DAY_MS, 1)
    arrivals = [Arrival(NOW_MS, event("viewed", NOW_MS, 2)), Arrival(NOW_MS + 5, late), Arrival(NOW_MS + 9, late)]
    asked = [NOW_MS - 1, NOW_MS, NOW_MS + 4, NOW_MS + 5, NOW_MS + 10]
    assert [row["it"] for row in vectors(plan, arrivals, asked)] == [0, 1, 1, 2, 2]
