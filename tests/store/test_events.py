"""Events in the store: whose they are, durable before they are acknowledged, bounded before memory is at risk."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from app.core.events.entry import decode, decode_letter
from app.core.events.event import Collected, Letter, Misfit, Misfits
from app.core.identity import Alias, fallback_key, identity_hash
from app.errors import Problem
from app.store.clients import open_client
from app.store.events import LETTERS_A_SHARD, EventStore
from app.store.keys import CTL_EVENTS_CONSUMED, Keys, identity
from app.store.memory import memory_facts
from tests.support.event_bundle import HASH_KEY, NOW_MS
from tests.support.link import linked, until
from tests.support.valkey import StartStore, skip_without_waitaof

KEYS = Keys(8)
PLENTY = 1024**3


def event(customer: str, number: int = 0, size: int = 0) -> Collected:
    said = {"number": number, "text": "x" * size}
    return Collected(customer, "viewed", 1, NOW_MS, NOW_MS, number.to_bytes(8, "big"), b"", said)


def letter(customer: str = "", number: int = 0) -> Letter:
    misfit = Misfit(Misfits.WRONG_TYPE, "why")
    return Letter(misfit, customer, "", 0, None, NOW_MS, number.to_bytes(8, "big"), {})


@asynccontextmanager
async def events_of(url: str, stream_bytes: int = PLENTY, *, strict: bool = False) -> AsyncIterator[EventStore]:
    async with linked(url) as link:
        yield EventStore(link, KEYS, stream_bytes, strict=strict)


@pytest.fixture
async def client(store_url: str) -> AsyncIterator[Redis]:
    async with open_client(store_url) as opened:
        yield opened


async def stored(client: Redis, kind: str = "events") -> dict[int, list[Any]]:
    """What lies in the streams, by shard."""
    read: Any = decode if kind == "events" else decode_letter
    found = {}
    for shard in range(KEYS.shards):
        name = KEYS.events(shard) if kind == "events" else KEYS.dead_letters(shard)
        found[shard] = [read(fields[b"e"]) for _, fields in await client.xrange(name)]
    return found


async def consumed(client: Redis, store: EventStore) -> None:
    """Somebody reads the streams from now on."""
    await client.set(CTL_EVENTS_CONSUMED, 1)
    await store.look()


async def test_each_event_lies_in_the_stream_of_its_customers_shard_in_its_order(client: Redis, store_url: str) -> None:
    events = [event(f"cus_{number % 50}", number) for number in range(3_000)]
    async with events_of(store_url) as store:
        await store.append(events, [])
    found = await stored(client)
    for shard, there in found.items():
        assert there == [each for each in events if KEYS.shard_of(each.customer) == shard]


async def test_an_alias_is_its_customers_and_else_has_a_key_of_its_own(client: Redis, store_url: str) -> None:
    known, unknown, key_like = Alias("user_id", "u 1"), Alias("anonymous_id", "a1"), Alias("user_id", "u2")
    await client.set(identity("user_id", identity_hash("user_id", "u 1", HASH_KEY)), "cus_1")
    async with events_of(store_url) as store:
        now_ms, customers = await store.resolve([known, unknown, key_like], HASH_KEY)
        assert (await store.resolve([], HASH_KEY))[1] == {}
    assert customers == {
        known: "cus_1", unknown: fallback_key("anonymous_id", "a1", HASH_KEY), key_like: "u2",
    }  # fmt: skip
    seconds, _ = await client.time()
    assert abs(now_ms / 1000 - seconds) < 5


async def test_a_letter_lies_with_its_customer_and_nobodys_letters_are_spread(client: Redis, store_url: str) -> None:
    letters = [letter(number=number) for number in range(800)]
    async with events_of(store_url) as store:
        await store.append([], [letter("cus_1"), *letters])
    found = await stored(client, "dead")
    assert letter("cus_1") in found[KEYS.shard_of("cus_1")]
    assert all(Counter(map(len, found.values())))


async def test_letters_are_kept_the_newest_only(client: Redis, store_url: str) -> None:
    async with events_of(store_url) as store:
        for start in range(0, 3_000, 500):
            await store.append([], [letter("cus_1", number) for number in range(start, start + 500)])
    there = (await stored(client, "dead"))[KEYS.shard_of("cus_1")]
    assert LETTERS_A_SHARD <= len(there) < 2 * LETTERS_A_SHARD
    assert there[-1] == letter("cus_1", 2_999)


async def test_what_nobody_consumes_is_trimmed_by_bytes(client: Redis, store_url: str) -> None:
    room = 2 * 1024 * 1024
    async with events_of(store_url, room) as store:
        for _ in range(40):
            await store.append([event(f"cus_{number}", number, size=500) for number in range(300)], [])
        await store.look()
        assert store.shut is None
    held = sum([int(await client.memory_usage(KEYS.events(shard)) or 0) for shard in range(KEYS.shards)])
    assert room / 4 < held < 1.5 * room


async def test_what_somebody_consumes_is_never_trimmed_and_the_door_shuts_instead(
    client: Redis, store_url: str
) -> None:
    """In a burst the process sees it by what it appends itself, before the next look."""
    room = 1024 * 1024
    appended = 0
    async with events_of(store_url, room) as store:
        await consumed(client, store)
        while store.shut is None:
            await store.append([event(f"cus_{number}", number, size=500) for number in range(100)], [])
            appended += 100
            assert appended < 10_000
        assert store.shut.retry_after_s > 0
        await store.look()
        assert store.shut is not None
        assert sum(map(len, (await stored(client)).values())) == appended
        for shard in range(KEYS.shards):
            await client.xtrim(KEYS.events(shard), maxlen=0, approximate=False)
        await store.look()
        assert store.shut is None
    assert appended * 500 < 2 * room


async def test_the_door_shuts_before_the_stores_memory_is_full(own_store: StartStore) -> None:
    valkey = own_store()
    async with open_client(valkey.url) as client, events_of(valkey.url) as store:
        await store.look()
        assert store.shut is None
        used = int((await client.info("memory"))["used_memory"])
        await client.config_set("maxmemory", round(used * 1.1))
        await store.look()
        assert store.shut is not None
        await client.config_set("maxmemory", round(used * 0.5))
        with pytest.raises(Problem) as caught:
            await store.append([event("cus_1")], [])
        assert (caught.value.code, caught.value.retry_after_s) == ("rate_limited", 10)
        await client.config_set("maxmemory", 0)
        await store.append([event("cus_1")], [])
        assert sum(map(len, (await stored(client)).values())) == 1


async def test_strict_durability_is_met_or_refused(own_store: StartStore) -> None:
    on_disk, in_memory = own_store("--appendfsync", "always"), own_store("--appendonly", "no")
    async with open_client(on_disk.url) as client:
        await skip_without_waitaof(client)
    async with events_of(on_disk.url, strict=True) as store:
        await store.append([event("cus_1")], [])
    on_disk.kill()
    on_disk.start()
    async with open_client(on_disk.url) as client:
        assert sum(map(len, (await stored(client)).values())) == 1
    async with events_of(in_memory.url, strict=True) as store:
        with pytest.raises(Problem) as caught:
            await store.append([event("cus_1")], [])
        assert caught.value.code == "durability_unmet"


async def test_a_store_that_is_away_is_a_503_and_repeating_is_harmless(own_store: StartStore) -> None:
    valkey = own_store("--appendfsync", "always")
    async with linked(valkey.url) as link:
        store = EventStore(link, KEYS, PLENTY, strict=False)
        await store.append([event("cus_1", 1)], [])
        valkey.kill()
        await until(lambda: not link.connected)
        for work in (store.append([event("cus_1", 2)], []), store.resolve([Alias("user_id", "u1")], HASH_KEY)):
            with pytest.raises(Problem) as caught:
                await work
            assert (caught.value.code, caught.value.retry_after_s) == ("store_unavailable", 2)
        valkey.start()
        assert await link.wait_connected(5)
        await store.append([event("cus_1", 2)], [])
    async with open_client(valkey.url) as client:
        there = (await stored(client))[KEYS.shard_of("cus_1")]
    assert there == [event("cus_1", 1), event("cus_1", 2)]


async def test_what_was_acknowledged_survives_a_crash_in_the_midst_of_it(own_store: StartStore) -> None:
    valkey = own_store("--appendfsync", "always")
    acknowledged: list[int] = []
    async with open_client(valkey.url) as client:
        await skip_without_waitaof(client)
    async with events_of(valkey.url, strict=True) as store:

        async def tell(caller: int) -> None:
            with contextlib.suppress(Problem):
                for number in range(caller, 100_000, 4):
                    await store.append([event(f"cus_{number}", number)], [letter(number=number)])
                    acknowledged.append(number)

        callers = [asyncio.create_task(tell(caller)) for caller in range(4)]
        await until(lambda: len(acknowledged) > 200)
        valkey.kill()
        await asyncio.gather(*callers)
    valkey.start()
    async with open_client(valkey.url) as client:
        there = Counter(each.properties["number"] for found in (await stored(client)).values() for each in found)
    assert set(acknowledged) <= there.keys()
    assert set(there.values()) == {1}


async def test_a_frozen_store_is_a_503_and_not_a_hang(own_store: StartStore) -> None:
    valkey = own_store()
    async with events_of(valkey.url) as store:
        valkey.freeze()
        try:
            with pytest.raises(Problem) as caught:
                async with asyncio.timeout(4):
                    await store.append([event("cus_1")], [])
            assert caught.value.code == "store_unavailable"
        finally:
            valkey.thaw()


async def test_a_large_batch_leaves_room_for_other_commands(store_url: str) -> None:
    """It goes out in pieces, so the connection's bound on pending bytes is never met by one batch."""
    async with events_of(store_url) as store:
        await store.append([event("cus_1", number, size=2_000) for number in range(4_000)], [])


def test_the_numbers_of_info_are_read() -> None:
    assert memory_facts(b"# Memory\r\nused_memory:17\r\nused_memory_human:17B\r\nmaxmemory:0\r\n") == {
        "used_memory": 17, "maxmemory": 0,
    }  # fmt: skip
