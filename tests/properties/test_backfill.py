"""A feature that was declared later, and filled from what passed before, is as if it had always been declared: to the
byte, whenever the worker changed its plan, however the events lie, and whenever what was filled came in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.events.event import Event
from app.core.features.backfill import CannotFill, Change, Missing, lanes_of, missing, reading, share_of
from app.core.features.codec import decode, encode
from app.core.features.fold import fold, united
from app.core.features.history import folded
from app.core.features.plan import FoldPlan, State
from tests.support.folding import EVERYTHING, event, rules_of

RULES = rules_of(EVERYTHING)
NEW = FoldPlan.of_rules(RULES)
MINUTE_MS, DAY_MS = 60_000, 86_400_000
NOW_MS = 1_795_507_140_000

events = st.builds(
    lambda kind, ago, product, price: event(
        kind, NOW_MS - ago * MINUTE_MS, product=f"p{product}", category=f"c{product % 20}", price=price, revenue=price
    ),
    st.sampled_from(["viewed", "added", "bought"]),
    st.one_of(st.integers(0, 3000), st.integers(0, 130 * 1440)),
    st.integers(0, 40),
    st.floats(0, 100),
)


def under(plan: FoldPlan, held: State, before: FoldPlan) -> State:
    """What one plan wrote, as another one reads it."""
    stored = {g.key: encode(g, each) for g, each in zip(before.groups, held, strict=True) if each is not None}
    return [decode(group, stored[group.key]) if group.key in stored else None for group in plan.groups]


def bytes_of(plan: FoldPlan, state: State) -> list[Any]:
    return [None if held is None else encode(group, held) for group, held in zip(plan.groups, state, strict=True)]


def share(past: list[Event], lacking: dict[str, Missing]) -> State:
    """What is handed over of a customer, as the worker reads it."""
    part = reading(NEW, dict.fromkeys(lacking, 1))
    state = folded(part, past)
    shares = {
        group.key: encode(group, found)
        for group, held in zip(part.groups, state, strict=True)
        if held is not None and (found := share_of(group, held, lacking)) is not None
    }
    return [decode(group, shares[group.key]) if group.key in shares else None for group in NEW.groups]


@settings(deadline=None, max_examples=200)
@given(
    st.lists(events, max_size=60),
    st.sets(st.sampled_from(range(len(RULES)))),
    st.data(),
)
def test_what_was_filled_is_as_if_it_had_always_been_folded(
    told: list[Event], declared: set[int], data: st.DataObject
) -> None:
    old = FoldPlan.of_rules([RULES[number] for number in sorted(declared)])
    at = data.draw(st.integers(0, len(told)))
    comes_in = data.draw(st.integers(at, len(told)))
    changes = [Change(lanes_of(old), (0, 0)), Change(lanes_of(NEW), (at, 0))]
    lacking = missing(lanes_of(NEW), changes, {})
    state = under(NEW, folded(old, told[:at]), old)
    for each in told[at:comes_in]:
        fold(NEW, state, each)
    state = united(NEW, state, share(told[:at], lacking)) if lacking else state
    for each in told[comes_in:]:
        fold(NEW, state, each)
    assert bytes_of(NEW, state) == bytes_of(NEW, folded(NEW, told))


SEVEN = "views: {on: viewed, count: 1, window: 7d}"
EIGHT = "views: {on: viewed, count: 1, window: 8d}"  # of the same buckets, three more
BOTH = "sales: {on: bought, count: 1, window: 7d}\n" + SEVEN


def lanes(text: str) -> dict[str, int]:
    return lanes_of(FoldPlan.of_rules(rules_of(text)))


def test_a_lane_that_grew_lacks_the_buckets_that_were_not_kept() -> None:
    changes = [Change(lanes(SEVEN), (0, 0)), Change(lanes(EIGHT), (5, 1))]
    assert missing(lanes(EIGHT), changes, {}) == {"viewed|count/28800000": Missing((5, 1), 21)}


def test_the_first_plan_of_a_shard_lacks_nothing_and_what_was_filled_neither() -> None:
    assert missing(lanes(BOTH), [Change(lanes(BOTH), (0, 0))], {}) == {}
    changes = [Change(lanes(SEVEN), (0, 0)), Change(lanes(BOTH), (5, 1))]
    lacking = missing(lanes(BOTH), changes, {})
    assert set(lacking) == {"bought|", "bought|count/28800000"}
    assert missing(lanes(BOTH), changes, lacking) == {}


def test_a_lane_that_no_worker_folds_cannot_be_filled() -> None:
    for changes in ([], [Change(lanes(SEVEN), (0, 0))]):
        with pytest.raises(CannotFill, match="start the worker with it"):
            missing(lanes(BOTH), changes, {})


def test_a_lane_that_went_away_and_came_back_cannot_be_filled_exactly() -> None:
    changes = [Change(lanes(each), (number, 0)) for number, each in enumerate((BOTH, SEVEN, BOTH))]
    with pytest.raises(CannotFill, match="not all the time since"):
        missing(lanes(BOTH), changes, {})
    assert missing(lanes(SEVEN), changes, {}) == {}
