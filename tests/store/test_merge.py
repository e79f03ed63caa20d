"""What the store makes of two customers is what the pure rules make of them, whatever was known of both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from redis.asyncio import Redis

from app.core.decision.commit import Reading
from app.errors import Problem
from app.flows.merge import Merges
from app.store.clients import open_client
from app.store.decisions import DecisionStore
from app.store.fields import FieldRegistry
from app.store.keys import CTL_MERGES, Keys
from app.store.ledger import kind_names
from app.store.link import Link
from app.store.merge import MergeStore
from policy.facts import Facts
from tests.support.contract import contract_bundle
from tests.support.link import linked, soon
from tests.support.merging import comparable, people, registry_names, united, write

KEYS = Keys(256)
WINNER, LOSER = "cus_w", "cus_l"
FEW = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))


class Room(NamedTuple):
    client: Redis
    link: Link
    fields: FieldRegistry

    def merges(self) -> Merges:
        return Merges(MergeStore(self.client, KEYS, self.fields, contract_bundle(), on_disk_within_ms=0))

    async def facts(self, customer: str) -> Facts:
        store = DecisionStore(self.link, KEYS, self.fields, contract_bundle(), 10**6, strict=False)
        reading = await store.read(customer, None, soon())
        assert isinstance(reading, Reading), reading
        return reading.facts

    async def forget(self) -> None:
        names = [name async for name in self.client.scan_iter(b"{s*", count=1000)]
        if names:
            await self.client.delete(*names)


@asynccontextmanager
async def room_on(url: str) -> AsyncIterator[Room]:
    async with open_client(url) as client, linked(url) as link:
        fields = FieldRegistry(client)
        await fields.ensure([*registry_names(contract_bundle()), *kind_names(contract_bundle()), "w:desk"])
        yield Room(client, link, fields)


def without_defaults(facts: Facts) -> Facts:
    """Of what has a default nobody can tell, by facts, whether it is stored."""
    names = {fact.name for fact in contract_bundle().facts if fact.default is not None}
    return facts._replace(values={name: value for name, value in facts.values.items() if name not in names})


@FEW
@given(people(contract_bundle(), 1), people(contract_bundle(), 2))
async def test_a_winner_holds_what_the_rules_make_of_both(store_url: str, winner: Facts, loser: Facts) -> None:
    winner, loser = without_defaults(winner), without_defaults(loser)
    async with room_on(store_url) as room:
        await room.forget()
        await room.fields.ensure(registry_names(contract_bundle(), winner, loser))
        await write(room.client, KEYS, room.fields, WINNER, winner)
        await write(room.client, KEYS, room.fields, LOSER, loser)
        assert await room.merges().merge(LOSER, WINNER, "desk") == WINNER
        found = await room.facts(WINNER)
        expected = united(winner._replace(now_ms=found.now_ms), loser, contract_bundle())
        assert comparable(without_defaults(found)) == comparable(expected)
        assert found.general_version > winner.general_version
        assert found.ledger_version > winner.ledger_version
        stub = await room.client.hgetall(KEYS.profile(LOSER))
        assert stub == {b"!m": b">cus_w", b"!g": b"%d" % (loser.general_version + 1)}
        assert await room.client.exists(KEYS.of(LOSER).ledger, KEYS.aliases(LOSER), CTL_MERGES) == 0


async def test_pointer_and_history_of_the_loser_live_as_long_as_the_winner(store_url: str) -> None:
    async with room_on(store_url) as room:
        await room.client.hset(KEYS.profile(LOSER), mapping={"!u": 1, "!g": 1})
        await room.client.rpush(KEYS.history(LOSER), f"1 {room.fields.id_of('w:desk').decode()} rDE")
        await room.merges().merge(LOSER, WINNER, "desk")
        held = {KEYS.profile(LOSER), KEYS.history(LOSER)}
        assert await room.client.smembers(KEYS.aliases(WINNER)) == held
        winner_s = await room.client.ttl(KEYS.profile(WINNER))
        assert abs(winner_s - contract_bundle().profile_retention_s) < 10
        for key in held:
            assert await room.client.ttl(key) > 1.5 * winner_s, "else a stranger of no contacts would come to life"


async def test_a_refusal_that_cannot_be_read_holds_up_the_merge_and_nothing_is_lost(store_url: str) -> None:
    """A newer version wrote it: a process that can read it finishes the merge."""
    async with room_on(store_url) as room:
        await room.client.hset(KEYS.profile(LOSER), mapping={"!u": 1, "-*:a reason of next year": "1,x"})
        with pytest.raises(Problem, match="store_unavailable"):
            await room.merges().merge(LOSER, WINNER, "desk")
        assert (await room.facts(WINNER)).merge_pending
        assert await room.merges().finish_what_was_left(0) == 1, "it is tried, and stays"
        assert (await room.facts(WINNER)).merge_pending
        await room.client.hdel(KEYS.profile(LOSER), "-*:a reason of next year")
        await room.merges().finish_what_was_left(0)
        assert not (await room.facts(WINNER)).merge_pending


async def test_a_merge_that_nobody_can_read_does_not_hold_up_the_others(store_url: str) -> None:
    async with room_on(store_url) as room:
        store = MergeStore(room.client, KEYS, room.fields, contract_bundle(), on_disk_within_ms=0)
        await room.client.hset(KEYS.profile("cus_a"), mapping={"!u": 1, "!t": "not a time"})
        for loser in ("cus_a", LOSER):
            assert await store.begin(loser, WINNER, "desk", "") is not None
        assert await room.merges().finish_what_was_left(0) == 2
        assert [await store.became(loser) for loser in ("cus_a", LOSER)] == [WINNER, WINNER]
        assert await room.client.hkeys(CTL_MERGES) == [b"cus_a"]


async def test_a_merge_whose_note_was_lost_is_finished_by_whoever_asks_for_it_again(store_url: str) -> None:
    """As by a crash of the machine that had it."""
    async with room_on(store_url) as room:
        store = MergeStore(room.client, KEYS, room.fields, contract_bundle(), on_disk_within_ms=0)
        await room.client.hset(KEYS.profile(LOSER), mapping={"!u": 1, "!r": "DE"})
        merge = await store.begin(LOSER, WINNER, "desk", "")
        assert merge is not None
        await store.expect(merge)
        await store.leave(merge)
        await room.client.delete(CTL_MERGES)
        assert await room.merges().merge(LOSER, WINNER, "desk") == WINNER
        facts = await room.facts(WINNER)
        assert (facts.region, facts.merge_pending) == ("DE", False)


async def test_a_key_of_which_nothing_was_ever_known_can_become_another(store_url: str) -> None:
    async with room_on(store_url) as room:
        assert await room.merges().merge("cus_n", "cus_m", "desk") == "cus_m"
        assert (await room.facts("cus_n")).merged_into == "cus_m"
        assert await room.client.ttl(KEYS.profile("cus_n")) > 0
        assert await room.merges().merge("cus_m", "cus_m", "desk") == "cus_m", "and nobody becomes itself"
        assert not (await room.facts("cus_m")).merge_pending


async def test_a_write_to_the_winner_between_its_reading_and_its_writing_is_not_lost(store_url: str) -> None:
    async with room_on(store_url) as room:
        store = MergeStore(room.client, KEYS, room.fields, contract_bundle(), on_disk_within_ms=0)
        await room.client.hset(KEYS.profile(LOSER), mapping={"!u": 1, "!r": "DE"})
        look, looks = store._look, []

        async def looked(customer: str) -> Any:
            held = await look(customer)
            if not looks:
                await room.client.hset(KEYS.profile(WINNER), "!r", "US")
                await room.client.hincrby(KEYS.profile(WINNER), "!g", 1)
            looks.append(customer)
            return held

        store._look = looked  # type: ignore[method-assign]  # a stand-in
        await Merges(store).merge(LOSER, WINNER, "desk")
        assert ((await room.facts(WINNER)).region, len(looks)) == ("US", 2)


async def test_many_merges_into_one_winner_at_once_end_with_all_of_them(store_url: str) -> None:
    async with room_on(store_url) as room:
        losers = [f"cus_{n}" for n in range(12)]
        kind = room.fields.id_of("k:" + next(iter(kind_names(contract_bundle())))[2:])
        for n, loser in enumerate(losers):
            await room.client.hset(KEYS.profile(loser), mapping={"!u": 1, "!l": 1, "!t": 1})
            await room.client.zadd(KEYS.of(loser).ledger, {bytes([n]) * 14 + kind + b",0": 10**12})
        merging = [room.merges().merge(loser, WINNER, "desk") for loser in losers]
        assert set(await asyncio.gather(*merging)) == {WINNER}
        facts = await room.facts(WINNER)
        assert (len(facts.contacts), facts.merge_pending) == (12, False)
