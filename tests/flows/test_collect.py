"""Collecting: what becomes of a request's events, and events that make way for decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import pytest

from app.core.events import native
from app.core.events.event import Collected, Letter
from app.core.identity import Alias, fallback_key
from app.errors import Problem
from app.flows.collect import Collector
from app.flows.room import BYTES_AT_ONCE, Room
from app.store.events import Shut
from tests.support.event_bundle import HASH_KEY, NOW_MS, event_bundle


class Written:
    """Takes the place of the store, and says what was written."""

    def __init__(self) -> None:
        self.shut: Shut | None = None
        self.trouble: Problem | None = None
        self.events: list[Collected] = []
        self.letters: list[Letter] = []
        self.heard: list[tuple[list[str], int]] = []

    async def resolve(self, aliases: Iterable[Alias], hash_key: bytes) -> tuple[int, dict[Alias, str]]:
        return NOW_MS, {alias: fallback_key(alias.kind, alias.value, hash_key) for alias in aliases}

    async def append(self, events: Sequence[Collected], letters: Sequence[Letter]) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.events += events
        self.letters += letters

    async def hear(self, types: Iterable[str], at_ms: int) -> None:
        self.heard.append((sorted(types), at_ms))


class Surroundings:
    def __init__(self) -> None:
        self.store = Written()
        self.room = True
        self.counts: Counter[str] = Counter()
        self.collector = Collector(
            event_bundle(),
            self.store,  # type: ignore[arg-type]  # a stand-in
            Room(lambda _: self.room, lambda: 0),
            lambda what, n: self.counts.update({what: n}),
            lambda n: b"7" * n,
        )
        self.collector.hash_key = HASH_KEY


@pytest.fixture
def around() -> Surroundings:
    return Surroundings()


VIEWED = {"event": "product_viewed", "customer": "cus_1", "properties": {"product_id": "p1", "colour": "red"}}


async def test_what_became_of_each_is_told_and_counted(around: Surroundings) -> None:
    said = [VIEWED, VIEWED | {"event": "x"}, None, VIEWED | {"at": "x"}, VIEWED | {"customer": None}]
    tally = await around.collector.collect(said, native.message, "key_1")
    assert (tally.accepted, tally.passed, tally.properties_dropped) == (1, 1, 1)
    assert [(place, misfit.code) for place, misfit in tally.rejected] == [
        (2, "malformed"), (3, "bad_time"), (4, "no_identity"),
    ]  # fmt: skip
    assert (len(around.store.events), len(around.store.letters)) == (1, 3)
    assert around.counts == {
        "accepted": 1, "undeclared": 1, "properties_dropped": 1, "malformed": 1, "bad_time": 1, "no_identity": 1,
    }  # fmt: skip


async def test_a_heartbeat_is_heard_once_the_events_beside_it_are_written(around: Surroundings) -> None:
    said = [{"type": "heartbeat", "events": ["order_completed"]}, VIEWED, {"type": "heartbeat", "events": ["x"]}]
    tally = await around.collector.collect(said, native.message, "key_1")
    assert (tally.accepted, [(place, misfit.code) for place, misfit in tally.rejected]) == (2, [(2, "unknown_event")])
    assert around.store.heard == [(["order_completed"], NOW_MS)]
    around.store.trouble = Problem("store_unavailable", "x")
    with pytest.raises(Problem):
        await around.collector.collect(said, native.message, "key_1")
    assert len(around.store.heard) == 1, "what was not written is on its way still"


async def test_nothing_is_counted_that_was_not_written(around: Surroundings) -> None:
    around.store.trouble = Problem("store_unavailable", "x")
    with pytest.raises(Problem):
        await around.collector.collect([VIEWED], native.message, "key_1")
    assert not around.counts


async def test_events_are_refused_before_decisions_suffer(around: Surroundings) -> None:
    around.collector.admit()
    around.room = False
    with pytest.raises(Problem) as caught:
        around.collector.admit()
    assert (caught.value.status, caught.value.retry_after_s) == (429, 1)


async def test_events_are_refused_while_the_store_has_no_room(around: Surroundings) -> None:
    around.store.shut = Shut("the store's memory is nearly full", 10)
    with pytest.raises(Problem) as caught:
        around.collector.admit()
    assert (caught.value.status, caught.value.retry_after_s) == (429, 10)


async def test_nothing_is_hashed_with_no_key(around: Surroundings) -> None:
    around.collector.hash_key = b""
    with pytest.raises(Problem) as caught:
        around.collector.admit()
    assert caught.value.status == 503


async def test_only_so_many_bytes_are_worked_on_at_once(around: Surroundings) -> None:
    around.collector.room.hold(BYTES_AT_ONCE)
    with pytest.raises(Problem) as caught:
        around.collector.room.hold(1)
    assert caught.value.status == 429
    around.collector.room.hold(-1)
    around.collector.room.hold(1)
