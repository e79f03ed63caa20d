"""Claims in the store: in any order, from any number of processes, the same; and what the store made of all of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from app.core.events.event import Edge
from app.core.identity_graph import CLAIMS_MAX, Alias, Claim
from app.core.keeping import keeping
from app.flows.link_identities import Identities
from app.flows.merge import Merges
from app.store.claims import ClaimStore
from app.store.clients import open_client
from app.store.fields import FieldRegistry
from app.store.keys import CTL_CLAIMS_DUE, CTL_MERGES, Keys, claims, identity
from app.store.merge import MergeStore
from app.store.profile import SUPPRESSION_COUNT
from tests.support.contract import contract_bundle
from tests.support.identities import (
    HASH_KEY,
    HOUR_MS,
    T0_MS,
    Said,
    complete_until,
    expected,
    own_customer,
    visitor,
)

KEYS = Keys(4)
KEEPING = keeping(contract_bundle())
LONG_AFTER_MS = T0_MS + 10**10
A = visitor("a")
FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


class Room(NamedTuple):
    client: Redis
    fields: FieldRegistry

    def store(self) -> ClaimStore:
        return ClaimStore(self.client, KEYS, HASH_KEY, KEEPING)

    def process(self) -> Identities:
        """What one worker process has."""
        merges = Merges(MergeStore(self.client, KEYS, self.fields, contract_bundle(), on_disk_within_ms=0))
        return Identities(self.store(), merges, HOUR_MS)

    async def forget(self) -> None:
        names = [name async for name in self.client.scan_iter(b"{s*", count=1000)]
        names += [name async for name in self.client.scan_iter(b"id*", count=1000)]
        await self.client.delete(CTL_CLAIMS_DUE, CTL_MERGES, *names)

    async def held(self, identity: Edge = A) -> dict[bytes, bytes]:
        found: Any = await self.client.hgetall(claims(identity.kind, identity.hash.hex()))
        return dict(found)


@asynccontextmanager
async def room_on(url: str) -> AsyncIterator[Room]:
    async with open_client(url) as client:
        yield Room(client, FieldRegistry(client))


def names(count: int) -> list[str]:
    return [f"u_{number}" for number in range(count)]


claimed = st.lists(st.tuples(st.sampled_from(names(CLAIMS_MAX + 4)), st.integers(1, 50)), min_size=1, max_size=30)


@FEW
@given(claimed, st.randoms())
async def test_the_earliest_claims_are_kept_in_whatever_order_they_come(
    store_url: str, told: list[tuple[str, int]], chance: Any
) -> None:
    async with room_on(store_url) as room:
        await room.forget()
        processes = [room.store(), room.store()]
        for customer, at in chance.sample(told * 2, len(told) * 2):
            await chance.choice(processes).record([Claim(A, customer, T0_MS + at)], HOUR_MS)
        held = {name.decode(): int(at) for name, at in (await room.held()).items() if name != b"?"}
        earliest = {name: min(T0_MS + at for each, at in told if each == name) for name, _ in told}
        assert held == dict(sorted(earliest.items(), key=lambda pair: (pair[1], pair[0]))[:CLAIMS_MAX])
        due = await room.client.zscore(CTL_CLAIMS_DUE, claims("anonymous_id", A.hash.hex()))
        assert due == min(earliest.values()) + HOUR_MS


async def test_what_was_not_noted_as_due_is_when_it_is_told_again(store_url: str) -> None:
    """As by a process that died in between: the worker has the events applied again."""
    async with room_on(store_url) as room:
        await room.store().record([Claim(A, "u_1", T0_MS)], HOUR_MS)
        await room.client.delete(CTL_CLAIMS_DUE)
        await room.store().record([Claim(A, "u_1", T0_MS)], HOUR_MS)
        assert await room.client.zcard(CTL_CLAIMS_DUE) == 1


async def test_what_is_told_again_and_again_costs_the_store_nothing(store_url: str) -> None:
    async with room_on(store_url) as room:
        store = room.store()
        await store.record([Claim(A, "u_1", T0_MS)], HOUR_MS)
        await room.client.flushall()
        await store.record([Claim(A, "u_1", T0_MS + at) for at in range(3)], HOUR_MS)
        assert await room.client.dbsize() == 0
        await store.record([Claim(A, "u_1", T0_MS - 1)], HOUR_MS)
        assert await room.held() == {b"u_1": b"%d" % (T0_MS - 1), b"?": b"1"}


async def test_an_identity_that_was_claimed_while_it_was_looked_at_is_looked_at_again(store_url: str) -> None:
    async with room_on(store_url) as room:
        store = room.store()
        await store.record([Claim(A, "u_1", T0_MS)], HOUR_MS)
        (told,) = await store.told([A])
        await room.store().record([Claim(A, "u_2", T0_MS)], HOUR_MS)
        assert not await store.close(A, told.changes, b"=", "u_1")
        (told,) = await store.told([A])
        assert (told.settled, told.changes) == ("u_1", 2)
        assert await store.close(A, told.changes, b"~", "1")
        (told,) = await store.told([A])
        assert (told.shared, told.changes) == (True, 0)


async def test_what_is_due_is_handed_out_once_and_again_if_nothing_became_of_it(store_url: str) -> None:
    async with room_on(store_url) as room:
        store = room.store()
        await store.record([Claim(A, "u_1", T0_MS)], HOUR_MS)
        await store.note([Alias("u_1", "u_2", T0_MS, sure=True)])
        now_ms = round((await room.client.time())[0] * 1000)
        assert [due.what for due in await store.take(0, 9)] == [Alias("u_1", "u_2", T0_MS, sure=True)]
        assert await store.take(now_ms, 9) == [], "somebody has it"
        taken = await store.take(T0_MS + HOUR_MS, 9)
        assert {due.what for due in taken} == {A, Alias("u_1", "u_2", T0_MS, sure=True)}, "and is late"
        for due in taken:
            await store.done(due, T0_MS if due.what == A else None)
        assert await room.client.zrange(CTL_CLAIMS_DUE, 0, -1, withscores=True) == [
            (claims("anonymous_id", A.hash.hex()), T0_MS)
        ]


async def test_what_was_noted_anew_is_not_done_by_who_had_taken_it_before(store_url: str) -> None:
    async with room_on(store_url) as room:
        store = room.store()
        await store.note([Alias("u_1", "u_2", T0_MS, sure=True)])
        (due,) = await store.take(0, 9)
        await store.note([Alias("u_1", "u_2", T0_MS, sure=True)])
        await store.done(due, None)
        assert len(await store.take(0, 9)) == 1


async def test_nothing_is_complete_while_one_shard_was_never_worked_off(store_url: str) -> None:
    async with room_on(store_url) as room:
        await complete_until(room.client, KEYS, T0_MS)
        assert await room.store().complete_until_ms() == T0_MS
        await room.client.hset("ctl:watermarks", "s:2", T0_MS - 7)
        assert await room.store().complete_until_ms() == T0_MS - 7
        await room.client.hdel("ctl:watermarks", "s:2")
        assert await room.store().complete_until_ms() == 0


async def test_everything_that_is_kept_ends_but_for_a_suppressed_customer_s(store_url: str) -> None:
    async with room_on(store_url) as room:
        process = room.process()
        await complete_until(room.client, KEYS, LONG_AFTER_MS)
        await process.apply([Said(T0_MS, "u_1", (("anonymous_id", "a"),)).entry()])
        key, aliases = claims("anonymous_id", A.hash.hex()), KEYS.aliases("u_1")
        link = key.replace(b"idc:", b"id:")
        assert await room.client.smembers(aliases) == {key}
        assert min([await room.client.ttl(each) for each in (key, aliases)]) > 0
        await room.client.hset(KEYS.profile("u_1"), mapping={"!u": 1, SUPPRESSION_COUNT: 1})
        await process.settle()
        assert {key, link} & await room.client.smembers(aliases) == {link}
        assert [await room.client.ttl(each) for each in (link, aliases)] == [-1, -1]
        await process.apply([Said(T0_MS, "u_1", (("anonymous_id", "b"),)).entry()])
        assert await room.client.ttl(aliases) == -1


async def test_a_kind_of_identity_that_is_kept_for_less_ends_with_all_that_was_told_of_it(store_url: str) -> None:
    async with room_on(store_url) as room:
        shorter = replace(KEEPING, aliases_s={"anonymous_id": 60})
        store = ClaimStore(room.client, KEYS, HASH_KEY, shorter)
        await store.record([Claim(A, "u_1", T0_MS), Claim(visitor("b"), "u_1", T0_MS)], HOUR_MS)
        await store.link(A, "u_1")  # which renews what the customer has
        for key in (claims("anonymous_id", A.hash.hex()), claims("anonymous_id", visitor("b").hash.hex())):
            assert 0 < await room.client.ttl(key) <= 60
        assert 0 < await room.client.ttl(identity("anonymous_id", A.hash.hex())) <= 60


tellings = st.builds(
    lambda at, user, found: Said(T0_MS + at, user, tuple(("anonymous_id", name) for name in sorted(found))),
    st.integers(0, 2 * HOUR_MS),
    st.sampled_from(names(4)),
    st.sets(st.sampled_from(["a", "b", "c"]), min_size=1),
)  # fmt: skip
aliases_said = st.builds(
    lambda at, user, before: Said(T0_MS + at, user, before=before),
    st.integers(0, 2 * HOUR_MS), st.sampled_from(names(4)), st.sampled_from(names(4)),
)  # fmt: skip


@FEW
@given(st.lists(tellings, max_size=6), st.lists(aliases_said, max_size=3), st.data())
async def test_who_is_one_does_not_depend_on_the_order_or_on_who_does_it(
    store_url: str, told: list[Said], same: list[Said], data: Any
) -> None:
    """Two processes take events down, some twice, in any order, and settle at the same time. Cycles of aliases end."""
    logging.getLogger("nextbest.identity").setLevel(logging.ERROR)
    said = [*told, *same]
    shuffled = data.draw(st.permutations([*said, *said[:2]]))
    cut = data.draw(st.integers(0, len(shuffled)))
    async with room_on(store_url) as room:
        await room.forget()
        await complete_until(room.client, KEYS, T0_MS)  # aliases are settled meanwhile, and nothing else
        processes = room.process(), room.process()
        for process, part in zip(processes, (shuffled[:cut], shuffled[cut:]), strict=True):
            await process.apply([each.entry() for each in part[::2]])
        await asyncio.gather(*(process.settle() for process in processes))
        for process, part in zip(processes, (shuffled[:cut], shuffled[cut:]), strict=True):
            await process.apply([each.entry() for each in part[1::2]])
        await settled(room, *processes)
        assert await partition(room, said) == expected(said, HOUR_MS)


@FEW
@given(st.lists(tellings, max_size=6), st.lists(aliases_said, max_size=2), st.data())
async def test_when_it_is_settled_makes_no_difference(
    store_url: str, told: list[Said], same: list[Said], data: Any
) -> None:
    """Events come as they happen; now and then somebody settles what is due by then, or nobody does until the end."""
    spread = [each._replace(at_ms=T0_MS + 3 * (each.at_ms - T0_MS)) for each in (*told, *same)]
    said = sorted(spread, key=lambda each: each.at_ms)
    async with room_on(store_url) as room:
        await room.forget()
        process = room.process()
        for each in said:
            await process.apply([each.entry()])
            if data.draw(st.booleans()):
                await complete_until(room.client, KEYS, each.at_ms)
                await process.settle()
        await settled(room, process)
        assert await partition(room, said) == expected(said, HOUR_MS)


async def partition(room: Room, said: list[Said]) -> set[frozenset[str]]:
    """Which customers are one."""
    found: dict[str, set[str]] = {}
    people = {name for each in said for name in (each.user, each.before) if name}
    for key in people | {own_customer(visitor(name)) for each in said for _, name in each.identities}:
        found.setdefault(await room.store().became(key), set()).add(key)
    return {frozenset(group) for group in found.values()}


async def settled(room: Room, *processes: Identities) -> None:
    await complete_until(room.client, KEYS, LONG_AFTER_MS)
    for _ in range(50):
        await asyncio.gather(*(process.settle() for process in processes))
        if await room.client.zcount(CTL_CLAIMS_DUE, "-inf", LONG_AFTER_MS) == 0:
            return
    pytest.fail("it does not come to an end")
