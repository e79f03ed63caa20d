"""What a decision reads of a customer's features is what a training row of the same instant holds, and its record
decides again to the same bytes, whatever was complete until when."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.decision.record import decode
from app.core.decision.replay import replay
from app.core.events.event import Event
from app.core.features.codec import encode, state_of
from app.core.features.fold import fold
from app.core.features.history import Arrival, vectors
from app.core.features.watermarks import Watermarks
from policy.facts import Facts
from tests.support.deciding import NOW_MS, decide, denied, facts_of, granted
from tests.support.features import (
    DAY_MS,
    MINUTE_MS,
    TYPES,
    asked_for,
    complete_until,
    feature_bundle,
    live,
    plan,
)
from tests.support.folding import event

SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
READ = {rule.name for rule in live().rules}

AGES_MS = st.one_of(st.integers(0, 90 * MINUTE_MS), st.integers(0, 100 * DAY_MS), st.integers(-5 * MINUTE_MS, 0))
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "category": st.sampled_from(["kitchen", "garden", "bags"]),
        "price": st.floats(-1e4, 1e4),
        "revenue": st.floats(0, 1e4),
    },
)
EVENTS = st.lists(st.tuples(st.sampled_from(TYPES), AGES_MS, PROPERTIES), max_size=25).map(
    lambda drawn: [event(kind, NOW_MS - age, at, **given) for at, (kind, age, given) in enumerate(drawn)]
)
#: About the contracts of two and of fifteen minutes, and what nobody told.
MARKS = st.one_of(
    st.integers(NOW_MS - 3 * MINUTE_MS, NOW_MS + 1000), st.integers(NOW_MS - 20 * MINUTE_MS, NOW_MS), st.none()
)


def worked_off(events: list[Event], chance: random.Random) -> dict[bytes, bytes]:
    """What lies in the store after events were folded in chunks, each on top of what was stored before."""
    groups: dict[str, bytes] = {}
    at = 0
    while at < len(events):
        chunk = events[at : at + chance.randint(1, 5)]
        state = state_of(plan(), groups)
        changed = {index for each in chunk for index in fold(plan(), state, each)}
        for index in changed:
            held = state[index]
            assert held is not None
            groups[plan().groups[index].key] = encode(plan().groups[index], held)
        at += len(chunk)
    return {key.encode(): data for key, data in groups.items()}


@SETTINGS
@given(EVENTS, st.randoms(use_true_random=False), st.integers(-DAY_MS, 10 * DAY_MS))
def test_a_decision_reads_what_a_training_row_of_its_instant_holds(
    events: list[Event], chance: random.Random, later_ms: int
) -> None:
    now_ms = NOW_MS + later_ms
    chance.shuffle(events)
    state = live().state(asked_for(worked_off(events, chance)))
    facts = live().joined(facts_of(now_ms=now_ms), state, 0, Watermarks())
    (row,) = vectors(plan(), [Arrival(0, each) for each in events], [now_ms])
    assert facts.values == {name: value for name, value in row.items() if name in READ}


@SETTINGS
@given(
    EVENTS,
    st.fixed_dictionaries(dict.fromkeys(TYPES, MARKS)),
    MARKS,
    st.sampled_from(["granted", "granted", "denied", "unknown"]),
    st.booleans(),
    st.sampled_from([["weekly"], ["reminder"], ["now", "looks"], ["adds", "weekly"]]),
)
def test_a_record_with_features_decides_again_to_the_same_bytes(
    events: list[Event],
    types_ms: dict[str, int | None],
    shard_ms: int | None,
    said: str,
    broken: bool,
    placements: list[str],
) -> None:
    personalisation = {"granted": (granted("personalisation"),), "denied": (denied("personalisation"),), "unknown": ()}
    known = facts_of({"visits": 3, "since_order": 999}, consent=(granted("marketing"), *personalisation[said]))
    told = {name: ms for name, ms in types_ms.items() if ms is not None}
    watermarks = Watermarks(told, {} if shard_ms is None else {0: shard_ms})
    facts = seen(known, events, watermarks, broken)
    decided = decide(feature_bundle(), facts, placements)
    record = decode(decided.record, feature_bundle())
    assert all(again.same for again in replay(record))
    assert [again.decision.degraded for again in replay(record)] == [
        each.decision.degraded for each in decided.decisions
    ]
    if said != "granted":
        assert set(record.facts.values) <= {"views_7d"}, "a generic record holds no personal feature"


def seen(known: Facts, events: list[Event], watermarks: Watermarks, broken: bool) -> Facts:
    groups: dict[bytes, Any] = worked_off(events, random.Random(0))
    if broken:
        groups[b"product_viewed"] = b"?"
    return live().joined(known, live().state(asked_for(groups)), 0, watermarks)


def test_the_marks_of_these_tests_reach_both_sides_of_a_contract() -> None:
    fresh, old = (live().as_of_ms(0, complete_until(NOW_MS - age)) for age in (0, 20 * MINUTE_MS))
    assert all(NOW_MS - each == 0 for each in fresh.values())
    assert all(NOW_MS - each > 15 * MINUTE_MS for each in old.values())
