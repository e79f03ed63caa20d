"""What is particular to a cluster: where calls go, slots that move, and what every primary is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis
from redis.exceptions import ConnectionError

from app.store.addresses import Kind, parse
from app.store.clients import check_server, open_client
from app.store.cluster_link import ClusterLink
from app.store.keys import Keys
from app.store.link import ReplyError, StoreDown, StoreTimeout, open_link, pack
from app.store.scripts import Call, Script
from app.store.servers import SlotsMoving, all_scanned, primaries, scanned, servers, together
from app.store.slots import commands_of, redirect_of, slot_of
from tests.support.cluster import Cluster
from tests.support.link import linked, linking, soon
from tests.support.ports import free_port
from tests.support.server import eventually
from tests.support.valkey import StartStore, skip_without_waitaof

KEYS = Keys(256)
#: Two keys of one slot, of which one may be missing.
BOTH = b"redis.call('INCR', KEYS[2]) return redis.call('INCR', KEYS[1])"


@pytest.fixture
async def client(cluster: Cluster) -> AsyncIterator[Redis]:
    async with open_client(cluster.url) as opened:
        yield opened


def another(cluster: Cluster, slot: int) -> int:
    """The place among the primaries of one that does not have the slot."""
    owner = cluster.owner(slot)
    return next(at for at, node in enumerate(cluster.primaries) if node is not owner)


def keys_everywhere(name: bytes) -> list[bytes]:
    return [b"{s%03d}:%b" % (shard, name) for shard in range(24)]


async def test_commands_of_many_shards_go_where_their_keys_are_and_are_answered_in_order(cluster: Cluster) -> None:
    keys = keys_everywhere(b"n")
    async with linked(cluster.url) as link:
        commands = [pack("SET", key, number) for number, key in enumerate(keys)] + [pack("GET", key) for key in keys]
        time, *replies = await link.call(pack("TIME") + b"".join(commands), 1 + len(commands), soon())
    assert int(time[0]) > 0
    assert replies == [b"OK"] * len(keys) + [b"%d" % number for number in range(len(keys))]
    assert {cluster.owner(cluster.slot_of(key)).port for key in keys} == {node.port for node in cluster.primaries}


async def test_what_concerns_every_server_is_asked_of_every_primary(cluster: Cluster, client: Redis) -> None:
    await skip_without_waitaof(client)
    script = b"return 17"
    async with linked(cluster.url) as link:
        sha, synced, info = await link.call(
            pack("SCRIPT", "LOAD", script) + pack("WAITAOF", 1, 0, 500) + pack("INFO", "memory"), 3, soon()
        )
        asked = b"".join(pack("EVALSHA", sha, 1, key) for key in keys_everywhere(b"x"))
        assert await link.call(asked, 24, soon()) == [17] * 24
    assert synced[0] == 1, "every primary has its own append-only file"
    assert b"used_memory:" in info


async def test_a_slot_that_moved_is_found_again_and_nothing_is_done_twice_or_not_at_all(cluster: Cluster) -> None:
    key = KEYS.profile("cus_1")
    slot = cluster.slot_of(key)
    going, done = True, 0

    async def count(link: object) -> None:
        nonlocal done
        assert isinstance(link, ClusterLink)
        while going:
            # Moved so fast, servers may point at each other until one has heard what the other says: a second or two.
            (reply,) = await link.call(pack("INCR", key), 1, soon(10))
            assert isinstance(reply, int), reply
            done += 1

    async with linked(cluster.url) as link, asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(count(link))
        for _ in range(4):
            await asyncio.to_thread(cluster.move_slot, slot, cluster.primaries[another(cluster, slot)])
        going = False
    assert cluster.command("GET", key) == b"$%d\r\n%d\r\n" % (len(str(done)), done)


async def test_a_key_that_went_ahead_of_its_slot_is_asked_for_there_once(cluster: Cluster) -> None:
    key = KEYS.profile("cus_2")
    slot = cluster.slot_of(key)
    source, target = cluster.owner(slot), cluster.primaries[another(cluster, slot)]
    async with linked(cluster.url) as link:
        await link.call(pack("SET", key, "here"), 1, soon())
        target.store.command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.store.command("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        assert await link.call(pack("GET", key), 1, soon()) == [b"here"]
        source.store.command("MIGRATE", "127.0.0.1", target.port, key, 0, 1000)
        assert await link.call(pack("TIME") + pack("GET", key) + pack("STRLEN", key), 3, soon())
        assert (await link.call(pack("GET", key), 1, soon())) == [b"here"]
        assert source.store.command("GET", key).startswith(b"-ASK"), "the slot is still at its old place"
        await asyncio.to_thread(cluster.move_slot, slot, target)


async def test_a_script_whose_keys_lie_at_two_servers_waits_for_them_within_its_budget(cluster: Cluster) -> None:
    """A commit names keys that are not there yet: while its slot moves neither server may run it (TRYAGAIN)."""
    one, other = KEYS.profile("cus_3"), KEYS.of("cus_3").ledger
    slot = cluster.slot_of(one)
    source, target = cluster.owner(slot), cluster.primaries[another(cluster, slot)]
    async with linked(cluster.url) as link:
        await link.call(pack("SET", one, 1), 1, soon())
        target.store.command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.store.command("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        commit = pack("EVAL", BOTH, 2, one, other)
        known = False
        for _ in range(40):  # a try that is still under way when time is up is not known: that is told as such
            with pytest.raises(StoreTimeout) as late:
                await link.call(commit, 1, soon(0.05))
            known = known or not late.value.sent
            if known:
                break
        assert known, "it is known that nothing was done"
        waiting = link.call(commit, 1, soon(3))
        await asyncio.to_thread(cluster.move_slot, slot, target)
        assert await waiting == [2]
        assert await link.call(pack("GET", other), 1, soon()) == [b"1"]


async def test_every_server_is_spoken_to_with_the_login_of_the_address(cluster: Cluster) -> None:
    cluster.command("ACL", "SETUSER", "app", "on", ">s3cret", "+@all", "~*")
    url = cluster.url.replace("://", "://app:s3cret@")
    async with linked(url) as link, open_client(url) as client:
        names = keys_everywhere(b"u")
        assert await link.call(b"".join(pack("SET", name, 1) for name in names), len(names), soon()) == [b"OK"] * 24
        for node in cluster.primaries:
            assert b"user=app" in node.store.command("CLIENT", "LIST")
        for at in await primaries(client):
            assert await client.execute_command("ACL WHOAMI", **at) == "app"  # type: ignore[no-untyped-call]  # redis-py
    cluster.command("ACL", "DELUSER", "app")


async def test_every_primary_must_be_fit_to_be_the_store(cluster: Cluster, client: Redis) -> None:
    assert await check_server(client, strict=True) == []
    bad = cluster.primaries[1].store
    bad.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    bad.command("CONFIG", "SET", "appendfsync", "everysec")
    try:
        findings = await check_server(client, strict=True)
    finally:
        bad.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        bad.command("CONFIG", "SET", "appendfsync", "always")
    assert len(findings) == 2
    assert "noeviction" in findings[0]
    assert "always" in findings[1]


async def test_a_cluster_under_the_address_of_a_single_server_is_told_apart(cluster: Cluster) -> None:
    async with open_client(f"redis://{cluster.primaries[0].address}") as plain:
        (finding,) = await check_server(plain, strict=False)
    assert "redis+cluster://" in finding


async def test_a_single_server_under_the_address_of_a_cluster_says_so(own_store: StartStore) -> None:
    port = free_port()
    own_store("--port", str(port), "--bind", "127.0.0.1")
    async with linking(f"redis+cluster://127.0.0.1:{port}") as link:
        assert not await link.wait_connected(0.3)
        assert link.last_error == "the store is a single server: write its address as `redis://`"
        with pytest.raises(StoreDown, match="redis://"):
            await link.call(pack("TIME"), 1, soon())


async def test_a_cluster_of_which_nobody_answers_is_an_error_of_the_store_like_any_other() -> None:
    """Callers translate `RedisError`; what redis-py raises here is none."""
    port = free_port()
    client = open_client(f"redis+cluster://127.0.0.1:{port}")
    with pytest.raises(ConnectionError):
        await client.get("x")
    pipeline = client.pipeline(transaction=False)
    pipeline.get("x")
    with pytest.raises(ConnectionError):
        await pipeline.execute()
    await client.aclose()


async def test_all_keys_are_found_and_a_slot_on_its_way_is_a_reason_to_look_again_later(
    cluster: Cluster, client: Redis
) -> None:
    keys = keys_everywhere(b"p:somebody")
    for key in keys:
        await client.set(key, 1)
    assert {key async for page in all_scanned(client, b"{s*}:p:*", 10) for key in page} == set(keys)
    slot = cluster.slot_of(keys[0])
    source, target = cluster.owner(slot), cluster.primaries[another(cluster, slot)]
    source.store.command("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
    try:
        with pytest.raises(SlotsMoving):
            [page async for page in all_scanned(client, b"{s*}:p:*", 10)]
        assert {key async for page in scanned(client, b"{s*}:p:*", 10) for key in page} == set(keys)
    finally:
        source.store.command("CLUSTER", "SETSLOT", slot, "STABLE")


async def test_replicas_are_servers_too(cluster: Cluster) -> None:
    await eventually(cluster.is_known, 20)
    async with open_client(cluster.url) as client:
        assert len(await servers(client)) == len(cluster.nodes)
        assert len(await primaries(client)) == len(cluster.primaries)


async def test_scripts_run_in_many_slots_and_are_on_the_disk_of_each_when_it_is_said_so(client: Redis) -> None:
    await skip_without_waitaof(client)
    script = Script(BOTH, b"0" * 40)
    script = Script(BOTH, (await client.script_load(BOTH)).encode())
    await client.script_flush()
    calls = [Call((key, key + b"2"), ()) for key in keys_everywhere(b"n")]
    for expected in (1, 2):  # the first time no server knows it
        ran = await script.run(client, calls, 1000)
        assert ran.replies == [expected] * len(calls)
        assert ran.on_disk
    assert await together(client, ("INCR", b"{s001}:n"), ("GET", b"{s001}:n")) == [3, b"3"]


@given(st.integers(0, 255), st.sampled_from(["a", "cus_1", "x" * 64]), st.binary(max_size=40))
def test_a_packed_command_is_known_by_the_slot_of_its_first_key(shard: int, customer: str, argument: bytes) -> None:
    key = b"{s%03d}:p:%b" % (shard, customer.encode())
    packed = pack("TIME") + pack("EVALSHA", "0" * 40, 2, key, key + b"2", argument) + pack("HGETALL", key)
    time, *keyed = commands_of(packed + pack("XINFO", "STREAM", key), 4)
    assert slot_of(time) is None
    assert {slot_of(words) for words in keyed} == {slot_of([b"GET", b"{s%03d}" % shard])}
    assert b"".join(pack(*words) for words in (time, *keyed)) == packed + pack("XINFO", "STREAM", key)


def test_redirections_are_read_and_nothing_else_is_one() -> None:
    moved = redirect_of(ReplyError("MOVED 3999 127.0.0.1:6381"))
    assert moved is not None
    assert (moved.kind, moved.host, moved.port) == ("MOVED", "127.0.0.1", 6381)
    assert redirect_of(ReplyError("ASK 1 :7000")) == ("ASK", "", 7000)
    assert redirect_of(ReplyError("MOVED 1 ::1:7000")) == ("MOVED", "::1", 7000)
    assert redirect_of(ReplyError("TRYAGAIN Multiple keys request during rehashing of slot")) == ("TRYAGAIN", "", 0)
    assert redirect_of(ReplyError("ERR MOVED 1 a:1")) is None
    assert redirect_of(ReplyError("MOVED 1 a:b")) is None
    assert redirect_of(b"MOVED 3999 127.0.0.1:6381") is None


@pytest.mark.parametrize(
    ("url", "kind", "nodes", "node_url"),
    [
        ("redis://u:p@h:1/2", Kind.SERVER, (), None),
        ("redis+cluster://u:p%40@h,[::1]:7001/0", Kind.CLUSTER, (("h", 6379), ("::1", 7001)), "redis://u:p%40@[::1]:9"),
        ("rediss+cluster://h:7000", Kind.CLUSTER, (("h", 7000),), "rediss://[::1]:9"),
        ("redis+sentinel://:p@a,b:1/main/3", Kind.SENTINEL, (("a", 26379), ("b", 1)), "redis://:p@[::1]:9/3"),
    ],
)
def test_addresses_name_one_server_sentinels_or_a_cluster(
    url: str, kind: Kind, nodes: tuple[tuple[str, int], ...], node_url: str | None
) -> None:
    address = parse(url)
    assert (address.kind, address.nodes) == (kind, nodes)
    assert node_url is None or address.node_url("::1", 9) == node_url


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://u:s3cret@h:x", "redis+cluster://u:s3cret@h:1/4", "redis+sentinel://u:s3cret@h",
        "redis+ring://u:s3cret@h", "redis+cluster://u:s3cret@",
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_understood_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"address|database|service") as refused:
        open_link(url)
    assert "s3cret" not in str(refused.value)
