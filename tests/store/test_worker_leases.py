"""A shard is worked on by one process at a time, by the store's clock, and whoever lost it writes nothing more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from app.store.clients import open_client
from app.store.keys import CTL_EVENTS_CONSUMED, CTL_WORKERS
from app.store.shard_leases import ALIVE_MS, LEASE_MS, ShardLeases
from app.worker import load_scripts
from tests.support.link import linked
from tests.support.working import KEYS


@pytest.fixture
async def client(store_url: str) -> AsyncIterator[Redis]:
    async with open_client(store_url) as opened:
        yield opened


@asynccontextmanager
async def leases_of(url: str, *owners: str) -> AsyncIterator[list[ShardLeases]]:
    async with linked(url, on_connect=load_scripts) as link:
        yield [ShardLeases(link, KEYS, owner) for owner in owners]


async def ended(client: Redis, *shards: int) -> None:
    """The leases' time is over."""
    for shard in shards:
        await client.hset(KEYS.worker(shard), "until", 1)


async def test_a_shard_is_held_by_one(store_url: str) -> None:
    async with leases_of(store_url, "w1", "w2") as (one, two):
        (held,) = await one.take([3])
        assert (held.token, held.position, held.generations, held.archived) == (1, b"0-0", (), b"")
        assert await two.take([3]) == []

        assert 3 not in await two.free(range(8))


async def test_a_lease_that_is_over_can_be_taken_and_its_token_is_a_new_one(client: Redis, store_url: str) -> None:
    async with leases_of(store_url, "w1", "w2") as (one, two):
        (mine,) = await one.take([3])
        await ended(client, 3)
        (theirs,) = await two.take([3])
        assert theirs.token == mine.token + 1
        assert await one.renew([mine]) == [mine]
        assert await two.renew([theirs]) == []


async def test_a_lease_that_is_over_and_that_nobody_took_is_renewed(client: Redis, store_url: str) -> None:
    async with leases_of(store_url, "w1", "w2") as (one, two):
        held = await one.take([3])
        await ended(client, 3)
        assert await one.renew(held) == []
        assert await two.take([3]) == []


async def test_what_is_given_back_can_be_taken_at_once_and_what_is_lost_cannot_be_given_back(
    client: Redis, store_url: str
) -> None:
    async with leases_of(store_url, "w1", "w2") as (one, two):
        mine = await one.take([1, 2])
        await one.give_back(mine[:1])
        assert [each.shard for each in await two.take([1, 2])] == [1]
        await ended(client, 2)
        await two.take([2])
        await one.give_back(mine)
        assert await one.take([1, 2]) == []


async def test_who_forgot_what_it_held_takes_it_again(store_url: str) -> None:
    async with leases_of(store_url, "w1") as (one,):
        (before,) = await one.take([3])
        (again,) = await one.take([3])
        assert again.token == before.token + 1
        assert await one.renew([before]) == [before]


async def test_a_lease_lasts_three_seconds_by_the_stores_clock(client: Redis, store_url: str) -> None:
    async with leases_of(store_url, "w1") as (one,):
        await one.take([3])
    seconds, micros = await client.time()
    left_ms = int(await client.hget(KEYS.worker(3), "until")) - seconds * 1000 - micros // 1000
    assert LEASE_MS - 1_000 < left_ms <= LEASE_MS


@pytest.mark.parametrize("workers", [1, 2, 3, 5, 8, 11])
async def test_all_shares_together_are_all_shards_and_differ_by_one_at_most(store_url: str, workers: int) -> None:
    async with leases_of(store_url, *(f"w{number}" for number in range(workers))) as all_of_them:
        for each in all_of_them:
            living = await each.alive()
        shares = [each.quota(living) for each in all_of_them]
    assert sum(shares) == KEYS.shards
    assert max(shares) - min(shares) <= 1


async def test_who_gave_no_sign_of_life_for_three_seconds_has_no_share(client: Redis, store_url: str) -> None:
    async with leases_of(store_url, "w1", "w2") as (one, two):
        await two.alive()
        assert await one.alive() == [b"w1", b"w2"]
        await client.zincrby(CTL_WORKERS, -ALIVE_MS - 1, "w2")
        assert await one.alive() == [b"w1"]
        await two.alive()
        await two.leave()
        assert await one.alive() == [b"w1"]


async def test_from_the_first_worker_on_nothing_is_trimmed_unread(client: Redis, store_url: str) -> None:
    async with leases_of(store_url, "w1") as (one,):
        await one.announce()
    assert await client.exists(CTL_EVENTS_CONSUMED)


async def test_workers_that_begin_at_once_begin_at_different_shards(store_url: str) -> None:
    async with leases_of(store_url, "w1", "w2") as (one, two):
        assert sorted(await one.free(range(8))) == list(range(8))
        assert await one.free(range(8)) != await two.free(range(8))
