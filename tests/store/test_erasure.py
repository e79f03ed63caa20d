"""The parts of an erasure on a real store: tombstones, sweeps of many at once, notes, and the store's own file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from app.core.erasure import Erased, Job, Step, Taken
from app.core.events.entry import encode
from app.core.events.event import Collected
from app.store.append_only_file import write_anew
from app.store.clients import open_client
from app.store.customer_trouble import MovedTo
from app.store.erasure import Tombstones
from app.store.erasure_jobs import ErasureJobs
from app.store.erasure_sweeps import LOOKED_FOR_MAX, Sweeps
from app.store.fields import FieldRegistry
from app.store.keys import Keys
from tests.support.erasing import files_naming, where_named
from tests.support.valkey import StartStore

KEYS = Keys(8)
GONE = "cus_of_this_name"
SECRETS = ("a-street-that-nobody-keeps", "a-thing-that-was-looked-at")


@pytest.fixture
async def client(store_url: str) -> AsyncIterator[Redis]:
    async with open_client(store_url) as opened:
        yield opened


def tombstones_of(client: Redis) -> Tombstones:
    return Tombstones(client, KEYS, FieldRegistry(client))


def viewed(customer: str, number: int = 1, received_ms: int = 2) -> Collected:
    return Collected(customer, "viewed", 1, 1, received_ms, number.to_bytes(8, "big"), b"", {"product": SECRETS[1]})


async def live(client: Redis, customer: str) -> None:
    names = KEYS.of(customer)
    await client.hset(names.profile, mapping={"!g": 4, "!u": 1, "0": f'"{SECRETS[0]}"'})
    await client.hset(names.features, "viewed", SECRETS[1])
    await client.rpush(KEYS.history(customer), f"1 0 r{SECRETS[0]}")
    await client.zadd(names.ledger, {"a contact": 1})
    await client.xadd(KEYS.events(names.shard), {"e": encode(viewed(customer))})


def job_of(erasure: str, at_ms: int, *names: str) -> Job:
    return Job(erasure, ("hash",), 1, "desk", names, at_ms)


async def test_a_tombstone_takes_the_place_of_everything_in_one_step(client: Redis) -> None:
    await live(client, GONE)
    found = await tombstones_of(client).erase(GONE, "ers_1")
    assert isinstance(found, Erased)
    profile = await client.hgetall(KEYS.profile(GONE))
    (field, value) = next((f, v) for f, v in profile.items() if f == b"-*:erased")
    assert value.startswith(b"%d," % found.at_ms)
    assert (profile[b"!g"], profile[b"!s"], profile[b"!e"]) == (b"5", b"1", b"%d,ers_1" % found.at_ms)
    assert set(profile) == {b"!g", b"!u", b"!s", b"!e", field}
    names = KEYS.of(GONE)
    assert not await client.exists(names.features, names.ledger, KEYS.history(GONE), KEYS.merges(GONE))
    assert await client.ttl(names.profile) == -1
    assert await client.hget(KEYS.worker(names.shard), "erasures") == b"1"


async def test_the_first_erasure_stands(client: Redis) -> None:
    tombstones = tombstones_of(client)
    first = await tombstones.erase(GONE, "ers_1")
    assert await tombstones.erase(GONE, "ers_2") == first
    assert await client.hget(KEYS.worker(KEYS.shard_of(GONE)), "erasures") == b"1"


async def test_what_a_customer_became_is_asked_for(client: Redis) -> None:
    tombstones = tombstones_of(client)
    await client.hset(KEYS.profile("cus_loser"), "!m", ">cus_winner")
    await client.hset(KEYS.profile("cus_waiting"), "!m", "p")
    assert await tombstones.erase("cus_loser", "ers_1") == MovedTo("cus_winner")
    assert await tombstones.erase("cus_waiting", "ers_1") is None
    erased = await tombstones.erase("cus_winner", "ers_1")
    found = await tombstones.erased_among(["cus_loser", "cus_waiting", "cus_winner", "cus_nobody"])
    assert found == {"cus_loser": erased, "cus_winner": erased}


async def test_many_are_swept_up_in_one_pass_and_others_are_left(client: Redis) -> None:
    names = [f"cus_gone_{number}" for number in range(2 * LOOKED_FOR_MAX)]
    for name in (*names, "cus_stays"):
        await live(client, name)
    jobs = [job_of(f"ers_{name}", 10, name) for name in names]
    found = await Sweeps(client, KEYS).events(jobs, {job.erasure: 10 for job in jobs})
    assert set(found.values()) == {1}
    assert len(found) == len(jobs)
    left = [await client.xlen(KEYS.events(shard)) for shard in range(KEYS.shards)]
    assert sum(left) == 1


async def test_a_sweep_reads_a_stream_of_many_pages(client: Redis) -> None:
    stream = KEYS.events(KEYS.shard_of(GONE))
    others = [f"cus_{n}" for n in range(5_000) if KEYS.shard_of(f"cus_{n}") == KEYS.shard_of(GONE)][:350]
    pipeline = client.pipeline(transaction=False)
    for number, other in enumerate(others):
        pipeline.xadd(stream, {"e": encode(viewed(other, number))})
        if number % 3 == 0:
            pipeline.xadd(stream, {"e": encode(viewed(GONE, number))})
    await pipeline.execute()
    job = job_of("ers_1", 10, GONE)
    found = await Sweeps(client, KEYS).events([job], {"ers_1": 10})
    assert (found["ers_1"], await client.xlen(stream)) == (117, 350)
    assert not await where_named(client, GONE)


async def test_each_erasure_is_handed_to_one_process_until_that_one_is_silent(client: Redis) -> None:
    jobs = ErasureJobs(client)
    for number in range(20):
        job = await jobs.begin(f"ers_{number}", GONE, "hash", "desk")
        await jobs.erased(job, 5, [GONE], ["hash"])
    taken = await asyncio.gather(*(ErasureJobs(client).take(10_000, 7) for _ in range(4)))
    assert sorted(job.erasure for each in taken for job in each) == sorted(f"ers_{number}" for number in range(20))
    assert await jobs.take(10_000, 7) == []
    assert len(await jobs.take(-1, 100)) == 20


async def test_a_receipt_keeps_what_was_noted_first_and_loses_the_names(client: Redis) -> None:
    jobs = ErasureJobs(client)
    await jobs.begin("ers_1", GONE, "hash", "desk")
    await jobs.record(["ers_1"], {"ers_1": Taken(Step.EVENTS, 3, 7)})
    await jobs.record(["ers_1"], {"ers_1": Taken(Step.EVENTS, 0, 9, "again")})
    await jobs.finish("ers_1")
    receipt = await jobs.get("ers_1")
    assert receipt is not None
    assert (receipt.steps, receipt.names, receipt.hashes) == ((Taken(Step.EVENTS, 3, 7),), (), ("hash",))
    assert receipt.done_ms is not None
    assert not await where_named(client, GONE)


async def test_the_store_s_own_file_holds_nothing_of_it_any_more(own_store: StartStore) -> None:
    store = own_store("--rdbcompression", "no")
    async with open_client(store.url) as client:
        await live(client, GONE)
        await live(client, "cus_stays")
        assert files_naming(store.folder, GONE)
        erased = await tombstones_of(client).erase(GONE, "ers_1")
        assert isinstance(erased, Erased)
        await live_no_more(client, "cus_stays")
        job = job_of("ers_1", erased.at_ms, GONE)
        sweeps = Sweeps(client, KEYS)
        await sweeps.events([job], {"ers_1": erased.at_ms})
        assert files_naming(store.folder, *SECRETS)
        assert await write_anew(client) == ""
        assert not files_naming(store.folder, *SECRETS)
        named = b"".join(path.read_bytes() for path in files_naming(store.folder, GONE))
        assert named.count(GONE.encode()) == 1  # the tombstone's own key
    store.kill()
    store.start()
    async with open_client(store.url) as client:
        assert await tombstones_of(client).standing(GONE) == erased


async def live_no_more(client: Redis, customer: str) -> None:
    """So that nobody else has the same words in the file."""
    names = KEYS.of(customer)
    await client.delete(names.profile, names.features, KEYS.history(customer), KEYS.events(names.shard))


async def test_a_store_without_such_a_file_says_so(own_store: StartStore) -> None:
    store = own_store("--appendonly", "no")
    async with open_client(store.url) as client:
        assert await write_anew(client) == "the store keeps no append-only file"
    store = own_store("--rename-command", "BGREWRITEAOF", "")
    async with open_client(store.url) as client:
        assert (await write_anew(client)).startswith("the store does not allow it")
