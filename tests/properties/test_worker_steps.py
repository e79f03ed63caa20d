"""Whatever two workers do, in whatever order, and whenever one of them dies: each event is applied exactly once.

The steps are the store's own: take the shard, read, look up and fold, commit. A worker that lost the shard goes on with
what it read, as after a pause; a dead one forgets everything, and what it appended to other streams stays there.
"""

from __future__ import annotations

from typing import Any

import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from app.core.events.commands import carrying
from app.core.events.event import Collected
from app.core.features.chunk import Chunk
from app.core.features.working import folded, work
from app.store.clients import open_client
from app.store.fold_steps import Commit
from app.store.fold_store import FoldStore
from app.store.keys import Keys
from app.store.link import Link
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
    st.sampled_from([ONE, TWO, "cus_20", "cus_21"]),
    st.integers(0, 12),
    price=st.integers(1, 99).map(float),
)
Step = st.tuples(st.sampled_from(["take", "read", "fold", "commit", "die", "event", "carry"]), st.integers(0, 1))


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

    async def take(self, client: Redis) -> None:
        """As when all leases had ended."""
        for shard in range(KEYS.shards):
            await client.hset(KEYS.worker(shard), "until", 0)
        self.held = {each.shard: each for each in await self.leases.take(range(KEYS.shards))}

    async def read(self) -> None:
        self.backlogs = [each for each in await self.store.read(list(self.held.values())) if each.entries]

    async def fold(self) -> None:
        """With all that goes to other streams."""
        chunks = [(each.held, Chunk.of(each.entries[:3], NOW_MS)) for each in self.backlogs]
        known = await self.store.look_up(chunks, self.backlogs[0].read_ms if chunks else 0)
        self.commits = [
            backlog.commit(chunk, work(PLAN, chunk, each.seen, each.stored), each)
            for backlog, (_, chunk), each in zip(self.backlogs, chunks, known, strict=True)
        ]
        self.backlogs = []
        await self.store.append([entry for each in self.commits for entry in each.worked.onward])

    async def commit(self) -> None:
        commits, self.commits = self.commits, []
        for commit, done in zip(commits, await self.store.commit(commits), strict=True):
            if done.is_ours_no_more:
                self.held.pop(commit.held.shard, None)


async def run(url: str, steps: list[tuple[str, int]], events: list[Collected]) -> None:
    async with open_client(url) as client:
        await client.flushall()
        link = Link(url, on_connect=load_scripts)
        link.start()
        assert await link.wait_connected(5)
        try:
            workers = [Worker(link, "w1"), Worker(link, "w2")]
            await _stepped(client, workers, steps, events)
            await _finished(client, workers[0])
        finally:
            await link.close()
        carried = ("carry", 0) in steps or ("carry", 1) in steps
        expected = {
            customer: {key.encode(): raw for key, raw in folded(PLAN, {}, theirs).items()}
            for customer, theirs in by_customer(without_repeats(events), {ONE: TWO} if carried else None).items()
        }
        if carried:
            expected[ONE] = {b">": TWO.encode()}
        assert await all_states(client) == expected


async def _stepped(client: Redis, workers: list[Worker], steps: list[tuple[str, int]], events: list[Collected]) -> None:
    left = list(events)
    for step, number in steps:
        worker = workers[number]
        if step == "event" and left:
            await collected(client, [left.pop(0)], KEYS)
        elif step == "carry":
            await collected(client, [carrying(ONE, TWO, NOW_MS)], KEYS)
        elif step == "die":
            worker.die()
        elif step == "take":
            await worker.take(client)
        elif step in ("read", "fold", "commit"):
            await getattr(worker, step)()
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


@settings(max_examples=60)
@given(steps=st.lists(Step, max_size=40), events=st.lists(Event, max_size=14))
def test_each_event_is_applied_exactly_once(
    store_server: Store, steps: list[tuple[str, int]], events: list[Collected]
) -> None:
    unique: dict[bytes, Collected] = {}
    told = [unique.setdefault(each.message_id, each) for each in events]  # one message is always the same
    uvloop.run(run(store_server.url, steps, told))
