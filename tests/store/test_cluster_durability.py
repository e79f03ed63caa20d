"""Strict durability on several servers: the wait for the disk (WAITAOF) goes to the server that wrote."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from app.store.clients import open_client
from app.store.keys import Keys
from app.store.link import Link, StoreDown, StoreTimeout, pack
from app.store.scripts import Call, Script
from tests.support.cluster import Cluster, Node, StartCluster, own_cluster
from tests.support.link import linked, soon
from tests.support.sentinel import StartWatched, own_watched
from tests.support.server import eventually
from tests.support.valkey import Store, skip_without_waitaof

__all__ = ["own_cluster", "own_watched"]

KEYS = Keys(256)
WRITE = b"return redis.call('INCR', KEYS[1])"
#: How long a disk is waited for that is never synced.
WAIT_MS = 60


@pytest.fixture
async def client(cluster: Cluster) -> AsyncIterator[Redis]:
    async with open_client(cluster.url) as opened:
        await skip_without_waitaof(opened)
        yield opened


@contextmanager
def never_synced(store: Store) -> Iterator[None]:
    """The server writes its file, and leaves it to the system when that is on the disk: WAITAOF waits in vain."""
    store.command("CONFIG", "SET", "appendfsync", "no")
    try:
        yield
    finally:
        store.command("CONFIG", "SET", "appendfsync", "always")


@contextmanager
def redirected(cluster: Cluster, key: bytes, kind: str) -> Iterator[tuple[Node, Node]]:
    """Who had the key's slot, and whom that one points to. Its keys are gone."""
    slot = cluster.slot_of(key)
    source = cluster.owner(slot)
    target = next(node for node in cluster.primaries if node is not source)
    if kind == "MOVED":
        cluster.move_slot(slot, target)
        yield source, target
        return
    target.store.command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
    source.store.command("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
    try:
        yield source, target
    finally:
        cluster.move_slot(slot, target)


async def written(link: Link, key: bytes) -> list[Any]:
    """What a commit in strict mode is told: the script's reply, and on how many disks it is (here, at replicas)."""
    return await link.call(pack("EVAL", WRITE, 1, key) + pack("WAITAOF", 1, 0, WAIT_MS), 2, soon(5))


@pytest.mark.parametrize("kind", ["MOVED", "ASK"])
async def test_a_commit_that_was_redirected_is_awaited_on_the_disk_of_the_server_that_has_it(
    cluster: Cluster, client: Redis, kind: str
) -> None:
    one, other = KEYS.profile("cus_1"), KEYS.profile("cus_2")
    async with linked(cluster.url) as link:  # which learns of the new place by being pointed to it
        with redirected(cluster, one, kind) as (source, target), never_synced(target.store):
            assert source.store.command("GET", one).startswith(f"-{kind}".encode())
            count, (on_disk, _) = await written(link, one)
            assert (count, on_disk) == (1, 0), "it is not on the disk of the one that wrote"
        with redirected(cluster, other, kind) as (source, target), never_synced(source.store):
            count, (on_disk, _) = await written(link, other)
            assert (count, on_disk) == (1, 1), "the disk of the one that was asked first does not matter"


async def test_commands_that_stayed_and_that_were_redirected_are_on_disk_when_both_servers_say_so(
    cluster: Cluster, client: Redis
) -> None:
    gone, stays = (KEYS.profile(name) for name in ("cus_1", "cus_1_2"))
    home = cluster.owner(cluster.slot_of(gone))
    stays = next(key for key in map(KEYS.profile, map(str, range(999))) if _apart(cluster, gone, key, home))
    both = b"".join(pack("EVAL", WRITE, 1, key) for key in (stays, gone)) + pack("WAITAOF", 1, 0, WAIT_MS)
    async with linked(cluster.url) as link:
        with redirected(cluster, gone, "ASK") as (source, target):
            for unsynced in (source, target):
                with never_synced(unsynced.store):
                    *_, (on_disk, _) = await link.call(both, 3, soon(5))
                    assert on_disk == 0
            *counts, (on_disk, _) = await link.call(both, 3, soon(5))
    assert (counts, on_disk) == ([3, 3], 1)


def _apart(cluster: Cluster, one: bytes, other: bytes, home: Node) -> bool:
    """Whether the other lies in another slot of the same server."""
    return cluster.slot_of(one) != cluster.slot_of(other) and cluster.owner(cluster.slot_of(other)) is home


async def test_a_commit_that_found_no_server_in_time_was_not_sent_and_need_not_be_taken_back(
    cluster: Cluster, client: Redis
) -> None:
    """The wait behind it was answered, and says nothing."""
    one, other = KEYS.profile("cus_3"), KEYS.of("cus_3").ledger
    async with linked(cluster.url) as link:
        await link.call(pack("SET", one, 1), 1, soon())
        with redirected(cluster, one, "ASK"):
            both = pack("EVAL", b"return redis.call('INCR', KEYS[2])", 2, one, other)
            with pytest.raises(StoreTimeout) as late:
                await link.call(both + pack("WAITAOF", 1, 0, WAIT_MS), 2, soon(0.1))
        assert not late.value.sent
        assert await link.call(pack("GET", other), 1, soon()) == [None]


@pytest.mark.parametrize("kind", ["MOVED", "ASK"])
async def test_off_the_hot_path_what_was_redirected_is_done_once_and_not_said_to_be_on_disk(
    cluster: Cluster, client: Redis, kind: str
) -> None:
    """redis-py carries it out over another connection than the one that waits: whoever asked fails closed."""
    script = Script(WRITE, (await client.script_load(WRITE)).encode())
    key = KEYS.profile("cus_4")
    assert (await script.run(client, [Call((KEYS.profile("cus_5"),), ())], 1000)).on_disk
    with redirected(cluster, key, kind):
        ran = await script.run(client, [Call((key,), ())], 1000)
        assert (ran.replies, ran.on_disk) == ([1], False)
    ran = await script.run(client, [Call((key,), ())], 1000)
    if kind == "ASK":  # it has not heard yet that the slot followed
        ran = await script.run(client, [Call((key,), ())], 1000)
    assert ran.replies == [2 + (kind == "ASK")]
    assert ran.on_disk


@pytest.mark.long
async def test_after_a_failover_of_a_cluster_the_new_primary_s_disk_counts(own_cluster: StartCluster) -> None:
    cluster = own_cluster()
    key = KEYS.profile("cus_1")
    victim = cluster.owner(cluster.slot_of(key))
    heir = next(node for node in cluster.replicas if node.of is victim)
    async with linked(cluster.url) as link:
        await skip_where_unknown(link, key)
        with cluster.alert():
            victim.store.kill()
            await eventually(lambda: cluster.owner(cluster.slot_of(key)) is heir)
        await promoted_disk_counts(link, key, heir.store)


@pytest.mark.long
async def test_after_a_failover_by_sentinels_the_new_primary_s_disk_counts(own_watched: StartWatched) -> None:
    watched = own_watched()
    key = KEYS.profile("cus_1")
    victim = watched.primary
    heir = watched.other_than(victim)
    async with linked(watched.url) as link:
        await skip_where_unknown(link, key)
        with watched.alert():
            victim.kill()
            await eventually(lambda: watched.primary is heir, 20)
        await promoted_disk_counts(link, key, heir)


async def skip_where_unknown(link: Link, key: bytes) -> None:
    """Skip on a store that cannot say what is on disk."""
    count, synced = await written(link, key)
    if not isinstance(synced, list):
        pytest.skip("this store has no WAITAOF")
    assert (count, synced[0]) == (1, 1)


async def promoted_disk_counts(link: Link, key: bytes, heir: Store) -> None:
    with never_synced(heir):
        *_, (on_disk, _) = await until_written(link, key)
        assert on_disk == 0
    *_, (on_disk, _) = await until_written(link, key)
    assert on_disk == 1


async def until_written(link: Link, key: bytes) -> list[Any]:
    """Ask until the link has found the new primary."""
    give_up_at = soon(15)
    while True:
        try:
            count, synced = await written(link, key)
        except StoreDown:
            assert soon(0) < give_up_at, link.last_error
            await asyncio.sleep(0.01)
            continue
        if isinstance(count, int):
            return [count, synced]
        await asyncio.sleep(0.01)
