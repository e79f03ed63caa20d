"""What a chunk comes to is written in one step, all of it or nothing, by whoever holds the shard."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from hiredis import ReplyError
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from app.core.events.event import Collected
from app.core.features.chunk import Chunk
from app.core.features.working import work
from app.store.clients import open_client
from app.store.fold_steps import Commit, Committed
from app.store.fold_store import FoldStore
from app.store.seen_events import Generation
from app.store.shard_leases import Held, ShardLeases
from app.worker import load_scripts
from tests.support.link import linked
from tests.support.server import eventually
from tests.support.valkey import StartStore
from tests.support.working import KEPT, KEYS, PLAN, all_states, collected, letters_in, viewed

SHARD = KEYS.shard_of("cus_1")


@pytest.fixture
async def client(store_url: str) -> AsyncIterator[Redis]:
    async with open_client(store_url) as opened:
        yield opened


@asynccontextmanager
async def held_of(url: str) -> AsyncIterator[tuple[FoldStore, Held]]:
    async with linked(url, on_connect=load_scripts) as link:
        (held,) = await ShardLeases(link, KEYS, "w1").take([SHARD])
        yield FoldStore(link, KEYS, PLAN, KEPT, strict=False), held


async def prepared(store: FoldStore, held: Held) -> Commit:
    """Everything but the commit."""
    (backlog,) = await store.read([held])
    chunk = Chunk.of(backlog.entries, backlog.read_ms)
    (known,) = await store.look_up([(held, chunk)], backlog.read_ms)
    assert known is not None
    return backlog.commit(chunk, work(PLAN, chunk, known.seen, known.stored, known.erased), known)


def events(*numbers: int) -> list[Collected]:
    return [viewed("cus_1", number) for number in numbers]


async def everything(client: Redis) -> dict[bytes, object]:
    found: dict[bytes, object] = {}
    async for key in client.scan_iter("*"):
        kind = await client.type(key)
        if kind == b"hash":
            found[key] = await client.hgetall(key)
        elif kind == b"set":
            found[key] = await client.smembers(key)
        elif kind == b"stream":
            found[key] = await client.xrange(key)
    return found


async def test_ids_features_letters_and_the_position_move_together(client: Redis, store_url: str) -> None:
    await collected(client, [*events(1, 2), viewed("cus_1", 3, price="dear")])
    async with held_of(store_url) as (store, held):
        commit = await prepared(store, held)
        assert await store.commit([commit]) == [Committed.DONE]
        assert held.position == commit.chunk.end
        assert held.generations[-1].taken == 2
    assert await client.smembers(KEYS.seen(SHARD, 0, 0)) == {b"1", b"2"}
    assert await client.hget(KEYS.worker(SHARD), "position") == commit.chunk.end
    assert set(await all_states(client)) == {"cus_1"}
    assert len(await letters_in(client)) == 1


@pytest.mark.parametrize(
    ("field", "value", "answer"),
    [
        ("token", 2, Committed.LOST),
        ("position", "5-0", Committed.MOVED),
        ("erasures", 1, Committed.ERASED_MEANWHILE),
    ],
)
async def test_who_lost_the_shard_or_read_something_old_writes_nothing(
    client: Redis, store_url: str, field: str, value: str, answer: Committed
) -> None:
    await collected(client, [*events(1, 2), viewed("cus_1", 3, price="dear")])
    async with held_of(store_url) as (store, held):
        commit = await prepared(store, held)
        await client.hset(KEYS.worker(SHARD), field, value)
        before = await everything(client)
        assert await store.commit([commit]) == [answer]
        assert await everything(client) == before
        assert (held.position, held.generations) == (b"0-0", ())


async def test_a_commit_that_is_sent_twice_is_applied_once(client: Redis, store_url: str) -> None:
    await collected(client, events(1, 2))
    async with held_of(store_url) as (store, held):
        commit = await prepared(store, held)
        again = commit._replace(held=replace(held))
        assert await store.commit([commit]) == [Committed.DONE]
        assert await store.commit([again]) == [Committed.MOVED]


async def test_a_shard_that_is_lost_does_not_hold_up_the_others(client: Redis, store_url: str) -> None:
    other = next(name for name in map("cus_{}".format, range(100)) if KEYS.shard_of(name) != SHARD)
    await collected(client, [viewed("cus_1", 1), viewed(other, 2)])
    async with linked(store_url, on_connect=load_scripts) as link:
        store = FoldStore(link, KEYS, PLAN, KEPT, strict=False)
        mine = await ShardLeases(link, KEYS, "w1").take([SHARD, KEYS.shard_of(other)])
        commits = [await prepared(store, each) for each in mine]
        await client.hset(KEYS.worker(SHARD), "token", 9)
        assert await store.commit(commits) == [Committed.LOST, Committed.DONE]


async def test_ids_stay_known_while_generations_change(client: Redis, store_url: str) -> None:
    async with held_of(store_url) as (store, held):
        for first in range(0, 3_000, 100):
            await collected(client, events(*range(first, first + 100)))
            await store.commit([await prepared(store, held)])
        assert len(held.generations) > 1
        await collected(client, events(*range(0, 3_000, 40)))
        commit = await prepared(store, held)
        assert commit.worked.ids == []
        assert {await client.object("encoding", key) async for key in client.scan_iter("*:seen:*")} == {b"intset"}


async def test_a_generation_that_is_over_is_not_asked(client: Redis, store_url: str) -> None:
    await collected(client, events(1))
    async with held_of(store_url) as (store, held):
        await store.commit([await prepared(store, held)])
        held.generations = (Generation(0, 1, 1, 0),)
        await collected(client, events(1))
        assert (await prepared(store, held)).worked.ids == [1]


async def test_a_full_store_still_lets_events_be_worked_off(own_store: StartStore) -> None:
    process = own_store()
    async with open_client(process.url) as client, held_of(process.url) as (store, held):
        await collected(client, events(1, 2, 3))
        await client.config_set("maxmemory", 1)
        with pytest.raises(OutOfMemoryError):
            await collected(client, events(4))
        assert await store.commit([await prepared(store, held)]) == [Committed.DONE]
        await store.trim([held])
        assert await client.xlen(KEYS.events(SHARD)) == 0


async def test_a_store_that_forgot_its_scripts_is_told_them_again(client: Redis, store_url: str) -> None:
    await collected(client, events(1))
    async with linked(store_url, on_connect=load_scripts) as link:
        leases = ShardLeases(link, KEYS, "w1")
        await client.script_flush()
        with pytest.raises(ReplyError, match="NOSCRIPT"):
            await leases.take([SHARD])
        assert await link.wait_connected(5)
        taken: list[Any] = []

        async def is_told() -> bool:  # a cluster's servers are told one after the other, while others are served
            with contextlib.suppress(ReplyError):
                taken.extend(await leases.take([SHARD]))
            return bool(taken)

        await eventually(is_told)


async def test_a_million_ids_take_about_ten_bytes_each(own_store: StartStore) -> None:
    """Of a shard with a steady rate: half a million here, in as many buckets as it would have then."""
    process = own_store("--appendonly", "no")
    async with open_client(process.url) as client:
        empty = (await client.info("memory"))["used_memory"]
        buckets = 1_316  # half a million ids, 380 a bucket
        chance = random.Random(5)
        by_bucket: dict[int, list[int]] = {}
        for each in (chance.getrandbits(64) - 2**63 for _ in range(500_000)):
            by_bucket.setdefault(each % buckets, []).append(each)
        pipeline = client.pipeline(transaction=False)
        for bucket, members in by_bucket.items():
            pipeline.sadd(KEYS.seen(0, 7, bucket), *members)
            pipeline.pexpire(KEYS.seen(0, 7, bucket), 10**9)
        await pipeline.execute()
        used = (await client.info("memory"))["used_memory"] - empty
        assert 8 < used / 500_000 < 10.5
