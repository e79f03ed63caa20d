"""Ordinary clients and the link while a slot's keys lie at two servers: ASK, ASKING and TRYAGAIN.

https://valkey.io/topics/cluster-spec/ (`ASK redirection`, `Multi-key operations during a resharding`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.store.clients import open_client
from app.store.link import Link, pack
from app.store.scripts import Call, Script
from tests.store.test_cluster import BOTH, KEYS, client
from tests.support.cluster import Cluster, Node
from tests.support.link import linked, soon

__all__ = ["client"]


def went_ahead(cluster: Cluster, key: bytes, to: Node) -> None:
    """The key is at its slot's new home, and the slot is not."""
    source = cluster.begin_move(cluster.slot_of(key), to)
    source.store.command("MIGRATE", "127.0.0.1", to.port, key, 0, 1000)
    assert source.store.command("GET", key).startswith(b"-ASK")


def at(cluster: Cluster, node: Node) -> bytes:
    """A key that a primary has."""
    return next(key for key in map(KEYS.profile, map(str, range(999))) if cluster.owner(cluster.slot_of(key)) is node)


@pytest.mark.parametrize("connections", [1, 2, 4])
async def test_what_went_ahead_of_its_slot_is_read_and_written_over_however_many_connections(
    cluster: Cluster, client: Redis, connections: int
) -> None:
    """redis-py says ASKING over one of them and the command over the next: with an even number it gave up each time."""
    source, target, _ = cluster.primaries
    key, elsewhere = at(cluster, source), at(cluster, target)
    await client.set(key, 0)
    await asyncio.gather(*[client.get(elsewhere) for _ in range(connections)])  # so many are open from now on
    went_ahead(cluster, key, target)
    try:
        assert await client.incr(key) == 1
        assert await client.get(key) == b"1"
        both = client.pipeline(transaction=False)
        both.incr(key)
        both.get(elsewhere)
        assert await both.execute() == [2, None]
        assert sorted(await asyncio.gather(*[client.incr(key) for _ in range(8)])) == list(range(3, 11))
    finally:
        await asyncio.to_thread(cluster.move_slot, cluster.slot_of(key), target)
        await asyncio.to_thread(cluster.move_slot, cluster.slot_of(key), source)
    assert await client.get(key) == b"10"


async def test_what_lies_at_two_servers_is_refused_when_it_stays_so_and_nothing_was_done(
    cluster: Cluster, client: Redis
) -> None:
    """Such as a write of consent: the refusal becomes a 503 that may be repeated (tests/faults)."""
    source, target, _ = cluster.primaries
    one = at(cluster, source)
    other = one + b":2"
    script = Script(BOTH, (await client.script_load(BOTH)).encode())
    await client.mset({one: 0, other: 0})
    went_ahead(cluster, one, target)
    try:
        begun = time.monotonic()
        with pytest.raises(RedisError):
            await script.run(client, [Call((one, other), ())])
        assert time.monotonic() - begun > 0.3, "it is tried for a while: most slots move fast"
        assert (await client.get(one), await client.get(other)) == (b"0", b"0")
        waiting = asyncio.ensure_future(script.run(client, [Call((one, other), ())]))
    finally:
        await asyncio.to_thread(cluster.move_slot, cluster.slot_of(one), target)
    assert (await waiting).replies == [1]
    await asyncio.to_thread(cluster.move_slot, cluster.slot_of(one), source)


@pytest.fixture(scope="module")
def growing() -> Iterator[Cluster]:
    """A cluster to which a server was added, which has no slots yet."""
    cluster = Cluster(primaries=2, replicas=False, spare=1)
    cluster.start()
    yield cluster
    cluster.remove()


async def test_the_first_slot_of_a_new_server_is_followed_there(growing: Cluster) -> None:
    """Nobody has heard of it: CLUSTER SLOTS names only those that have some."""
    source, (new,) = growing.primaries[0], growing.spare
    key = at(growing, source)
    async with open_client(growing.url) as client, linked(growing.url) as link:
        await client.set(key, 0)
        went_ahead(growing, key, new)
        assert await client.incr(key) == 1
        assert await link.call(pack("INCR", key), 1, soon()) == [2]
        # From now on it concerns the new one, too, what concerns every server: scripts, and the wait for the disk.
        (sha,) = await link.call(pack("SCRIPT", "LOAD", b"return redis.call('GET', KEYS[1])"), 1, soon())
        assert await link.call(pack("EVALSHA", sha, 1, key), 1, soon()) == [b"2"]
        if await knows_its_disk(link):
            new.store.command("CONFIG", "SET", "appendfsync", "no")
            assert await link.call(pack("APPEND", key, 0), 1, soon()) == [2]
            assert not await knows_its_disk(link)
            new.store.command("CONFIG", "SET", "appendfsync", "always")
            assert await link.call(pack("SET", key, 2), 1, soon()) == [b"OK"]
            assert await knows_its_disk(link)
        growing.move_slot(growing.slot_of(key), new)
        assert await client.incr(key) == 3
        assert await link.call(pack("INCR", key), 1, soon()) == [4]


async def knows_its_disk(link: Link) -> bool:
    """Whether all that this link wrote is on disk; False where a server cannot tell."""
    (synced,) = await link.call(pack("WAITAOF", 1, 0, 60), 1, soon())
    return isinstance(synced, list) and bool(synced[0])
