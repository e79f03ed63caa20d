"""Events and outcomes while the slots of a cluster move to and fro: nothing is lost, nothing is done twice."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import pytest
from redis.asyncio import Redis

from app.errors import Problem
from app.store.clients import open_client
from app.store.events import EventStore
from tests.store.test_outcomes_in_any_order import Happened, decided, state_of, tell, told
from tests.support import outcomes
from tests.support.cluster import Cluster, Node
from tests.support.link import linked
from tests.support.outcomes import CUSTOMER, desk_on
from tests.support.server import eventually
from tests.support.working import KEYS, NOW_MS, features_in, letters_in, running, viewed, worker_on
from tests.support.working_process import is_worked_off

pytestmark = [
    pytest.mark.long,
    pytest.mark.parametrize("at_once", [False, True], ids=["key_by_key", "at_once"]),
]


@pytest.fixture
async def client(cluster: Cluster) -> AsyncIterator[Redis]:
    async with open_client(cluster.url) as opened:
        yield opened


class Moves:
    """Slots that go from one primary to the next, one after the other, until they are told to rest."""

    def __init__(self, cluster: Cluster, slots: Sequence[int], *, at_once: bool) -> None:
        self._cluster = cluster
        self._slots = slots
        self._move = cluster.move_slot_at_once if at_once else self._in_small_portions
        self._rest = threading.Event()
        self.made = 0

    def _in_small_portions(self, slot: int, to: Node) -> None:
        self._cluster.move_slot(slot, to, keys_at_once=2)

    def run(self) -> None:
        primaries = self._cluster.primaries
        while True:
            for slot in self._slots:
                if self._rest.is_set():
                    return
                after = (primaries.index(self._cluster.owner(slot)) + 1) % len(primaries)
                self._move(slot, primaries[after])
                self.made += 1

    def rest(self) -> None:
        self._rest.set()


@asynccontextmanager
async def moving(cluster: Cluster, slots: Sequence[int], *, at_once: bool) -> AsyncIterator[Moves]:
    """Meanwhile they move; afterwards they are where they were."""
    homes = {slot: cluster.owner(slot) for slot in slots}
    moves = Moves(cluster, slots, at_once=at_once)
    going = asyncio.create_task(asyncio.to_thread(moves.run))
    try:
        yield moves
    finally:
        moves.rest()
        await going
        for slot, home in homes.items():
            if cluster.owner(slot) is not home:
                await asyncio.to_thread(cluster.move_slot, slot, home)


async def until_taken(told: Callable[[], Awaitable[object]]) -> None:
    """Tell it until it is acknowledged, as callers do."""
    for _ in range(300):
        try:
            await told()
        except Problem as refused:
            if refused.code not in ("store_unavailable", "durability_unmet"):
                raise
            await asyncio.sleep(0.01)
        else:
            return
    raise AssertionError("it was never taken")


async def test_events_are_folded_once_by_whoever_holds_the_shards_that_move(
    cluster: Cluster, client: Redis, at_once: bool
) -> None:
    """Two workers share them; what a caller was told was taken is in the features, once, however often it was sent."""
    slots = [cluster.slot_of(KEYS.events(shard)) for shard in range(KEYS.shards)]
    customers = [f"cus_{number}" for number in range(16)]
    events = [viewed(each, 100 * n + m, NOW_MS + m) for m in range(30) for n, each in enumerate(customers)]
    async with (
        linked(cluster.url) as link,
        worker_on(cluster.url, "w1") as (one, _),
        worker_on(cluster.url, "w2") as (two, _),
        running(one),
        running(two),
    ):
        door = EventStore(link, KEYS, 10**7, strict=True)
        async with moving(cluster, slots, at_once=at_once) as moves:
            for at in range(0, len(events), 16):
                await until_taken(partial(door.append, events[at : at + 16], []))
            taken = moves.made
            await eventually(lambda: moves.made >= taken + len(slots), 60)
        await eventually(lambda: is_worked_off(client), 30)
        await eventually(lambda: len(one.held) == len(two.held) == KEYS.shards // 2, 30)
        assert not one.held.keys() & two.held.keys(), "a shard has two holders"
    views = {each: (await features_in(client, each)).get("views_7d") for each in customers}
    assert views == dict.fromkeys(customers, 30)
    assert await letters_in(client) == []


async def test_outcomes_have_their_effect_once_while_their_slot_moves(cluster: Cluster, at_once: bool) -> None:
    """In the end all is as if it had stayed where it was; who was told to come again has come again."""
    slot = cluster.slot_of(outcomes.KEYS.profile(CUSTOMER))
    happened = [
        Happened(what, minute, False, of)
        for of in (0, 1)
        for minute, what in enumerate(("sent", "delivered", "opened", "clicked", "converted", "complained"))
    ]
    async with desk_on(cluster.url) as desk:
        intents = await decided(desk)
        expected = await told(desk, intents, happened)
        assert expected["earned"], "something is counted"
        assert await told(desk, intents, []) != expected
        async with moving(cluster, [slot], at_once=at_once) as moves:
            for _ in range(5):  # told again, nothing changes
                await asyncio.gather(
                    *[until_taken(partial(tell, desk, intents[each.of][1], each)) for each in happened]
                )
                before = moves.made
                await eventually(lambda before=before: moves.made > before + 1, 30)  # type: ignore[misc]  # mypy infers no lambda with a default
        assert await state_of(desk, intents) == expected
