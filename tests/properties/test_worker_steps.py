"""Whatever two workers do, in whatever order, and whenever one of them dies: each event is applied exactly once.

The steps are the store's own: take the shard, read, look up and fold, commit. A worker that lost the shard goes on with
what it read, as after a pause; a dead one forgets everything, and what it appended to other streams stays there.
"""

from __future__ import annotations

from typing import Any

import uvloop
from hypothesis import example, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from app.core.events.commands import carrying
from app.core.events.event import Collected
from app.core.features.chunk import Chunk
from app.core.features.streams import CARRY
from app.core.features.working import folded, work
from app.store.clients import open_client
from app.store.fold_steps import Commit
from app.store.fold_store import FoldStore
from app.store.keys import Keys
from app.store.link import Link, open_link
from app.store.shard_leases import Held, ShardLeases
from app.worker import load_scripts
from tests.support.valkey import Store, store_server
from tests.support.working import KEPT, NOW_MS, PLAN, all_states, by_customer, collected, viewed, without_repeats

__all__ = ["store_server"]

KEYS = Keys(2)
#: One in each shard, and who they become.
ONE, TWO = (next(name for name in map("cus_{}".format, range(9)) if KEYS.shard_of(name) == shard) for shard in range(2))

Event = st.builds(
    viewed,
    st.sampled_from([ONE, TWO]),
    st.integers(0, 9),
    price=st.integers(1, 9).map(float),
)
#: A worker gets on by so many steps, takes all shards, or dies; or more is collected.
Turn = st.one_of(
    st.tuples(st.just("go"), st.integers(0, 1), st.integers(1, 7)),
    st.tuples(st.sampled_from(["take", "die"]), st.integers(0, 1), st.just(1)),
    st.tuples(st.just("collect"), st.just(0), st.integers(1, 4)),
)


class Worker:
    """One process, step by step. What a step needs and was not done is not done."""

    def __init__(self, link: Link, name: str) -> None:
        self.leases = ShardLeases(link, KEYS, name)
        self.store = FoldStore(link, KEYS, PLAN, KEPT, strict=False)
        self.die()

    def die(self) -> None:
        self.held: dict[int, Held] = {}
        self.backlogs: list[Any] = []
        self.commits: list[Commit] = []
        self.step = 0

    async def go(self) -> None:
        """The next of its steps."""
        await (self.read, self.fold, self.commit)[self.step]()
        self.step = (self.step + 1) % 3

    async def take(self, client: Redis) -> None:
        """As when all leases had ended."""
        for shard in range(KEYS.shards):
            await client.hset(KEYS.worker(shard), "until", 0)
        self.held = {each.shard: each for each in await self.leases.take(range(KEYS.shards))}

    async def read(self) -> None:
        self.backlogs = [each for each in await self.store.read(list(self.held.values())) if each.entries]

    async def fold(self) -> None:
        """With all that goes to other streams."""
        chunks = [(each.held, Chunk.of(each.entries[:2], NOW_MS)) for each in self.backlogs]
        known = await self.store.look_up(chunks, self.backlogs[0].read_ms if chunks else 0)
        self.commits = [
            backlog.commit(chunk, work(PLAN, chunk, each.seen, each.stored), each)
            for backlog, (_, chunk), each in zip(self.backlogs, chunks, known, strict=True)
            if each is not None
        ]
        self.backlogs = []
        await self.store.append([entry for each in self.commits for entry in each.worked.onward])

    async def commit(self) -> None:
        commits, self.commits = self.commits, []
        for commit, done in zip(commits, await self.store.commit(commits), strict=True):
            if done.is_ours_no_more:
                self.held.pop(commit.held.shard, None)


async def run(url: str, turns: list[tuple[str, int, int]], entries: list[Collected]) -> None:
    async with open_client(url) as client:
        await client.flushall()
        link = open_link(url, on_connect=load_scripts)
        link.start()
        assert await link.wait_connected(5)
        try:
            workers = [Worker(link, "w1"), Worker(link, "w2")]
            await workers[0].take(client)
            await _turned(client, workers, turns, entries)
            await _finished(client, workers[0])
        finally:
            await link.close()
        assert await all_states(client) == _expected(entries)


def _expected(entries: list[Collected]) -> dict[str, dict[bytes, bytes]]:
    events = [each for each in entries if each.type != CARRY]
    became = {ONE: TWO} if len(events) < len(entries) else {}
    found = {
        customer: {key.encode(): raw for key, raw in folded(PLAN, {}, theirs).items()}
        for customer, theirs in by_customer(without_repeats(events), became).items()
    }
    return found | {loser: {b">": winner.encode()} for loser, winner in became.items()}


async def _turned(
    client: Redis, workers: list[Worker], turns: list[tuple[str, int, int]], entries: list[Collected]
) -> None:
    left = list(entries)
    for what, number, times in turns:
        worker = workers[number]
        if what == "take":
            await worker.take(client)
        elif what == "die":
            worker.die()
        elif what == "collect":
            await collected(client, left[:times], KEYS)
            del left[:times]
        else:
            for _ in range(times):
                await worker.go()
    await collected(client, left, KEYS)


async def _finished(client: Redis, worker: Worker) -> None:
    worker.die()
    await worker.take(client)
    while True:
        await worker.read()
        if not worker.backlogs:
            return
        await worker.fold()
        await worker.commit()


@settings(max_examples=100, deadline=None)  # whatever else the machine does
@given(
    turns=st.lists(Turn, max_size=16),
    events=st.lists(Event, min_size=2, max_size=16),
    carries=st.lists(st.integers(0, 15), max_size=2),
)
@example(  # a worker that was replaced between reading and looking up, with a command in what it read
    turns=[
        ("go", 0, 2), ("take", 1, 1), ("collect", 0, 1), ("go", 1, 2), ("collect", 0, 1), ("go", 0, 2), ("go", 1, 1),
        ("go", 0, 1),
    ],
    events=[viewed(ONE, 0, price=1.0), viewed(ONE, 0, price=1.0)],
    carries=[1],
)  # fmt: skip
def test_each_event_is_applied_exactly_once(
    store_server: Store, turns: list[tuple[str, int, int]], events: list[Collected], carries: list[int]
) -> None:
    unique: dict[bytes, Collected] = {}
    entries = [unique.setdefault(each.message_id, each) for each in events]  # one message is always the same
    for at in carries:
        entries.insert(at, carrying(ONE, TWO, NOW_MS))
    uvloop.run(run(store_server.url, turns, entries))
