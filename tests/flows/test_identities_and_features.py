"""What visitors did counts for the users they turn out to be: once, whatever comes when, whoever works it off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from app.core.events.event import Collected
from app.core.identity_graph import own_customer
from app.core.keeping import keeping
from app.flows.link_identities import Identities
from app.flows.merge import Merges
from app.store.claims import ClaimStore
from app.store.clients import open_client
from app.store.fields import FieldRegistry
from app.store.merge import MergeStore
from policy.bundle import Bundle
from tests.support.contract import contract_bundle
from tests.support.folding import rules_of
from tests.support.identities import HASH_KEY, HOUR_MS, Said, complete_until, expected, visitor
from tests.support.working import FEATURES, KEYS, collected, features_in, viewed, work_off, worker_on

VISITORS, USERS = ("a", "b"), ("u_1", "u_2")
#: A small number of slow examples: each is two workers, a store, and all that lies between.
FEW = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture
async def client(store_url: str) -> AsyncIterator[Redis]:
    async with open_client(store_url) as opened:
        yield opened


def folding_bundle() -> Bundle:
    return replace(contract_bundle(), features=rules_of(FEATURES))


def process(client: Redis) -> Identities:
    """What one worker process has beside its worker."""
    bundle = folding_bundle()
    merges = Merges(MergeStore(client, KEYS, FieldRegistry(client), bundle, on_disk_within_ms=0))
    return Identities(ClaimStore(client, KEYS, HASH_KEY, keeping(bundle)), merges, HOUR_MS)


async def now_ms(client: Redis) -> int:
    return int((await client.time())[0]) * 1000


def seen(name: str, number: int, at_ms: int) -> Collected:
    """A visitor, or a user, looked at something."""
    customer = name if name in USERS else own_customer(visitor(name))
    return viewed(customer, number, at_ms)


def link(user: str, name: str, at_ms: int) -> Said:
    return Said(at_ms, user, (("anonymous_id", name),))


async def views(client: Redis, customer: str, at_ms: int) -> int:
    return int((await features_in(client, customer, at_ms)).get("views_7d") or 0)


async def test_what_a_visitor_did_before_it_was_known_and_after_counts_for_the_user(
    client: Redis, store_url: str
) -> None:
    began_ms = await now_ms(client) - 2 * HOUR_MS
    identities, own = process(client), own_customer(visitor("a"))
    async with worker_on(store_url, identity=identities) as (worker, _):
        await collected(client, [seen("a", 1, began_ms), seen("a", 2, began_ms), seen("u_1", 3, began_ms)])
        await collected(client, [link("u_1", "a", began_ms + 5).entry()])
        await worker.tend()
        await work_off(worker)
        await worker.tend()  # tells until when all is applied: the lateness has passed
        await identities.settle()
        await collected(client, [seen("a", 4, began_ms), seen("a", 2, began_ms)])  # one of them once more
        await work_off(worker)
        assert await views(client, "u_1", began_ms + HOUR_MS) == 4
        assert await client.hgetall(KEYS.of(own).features) == {b">": b"u_1"}


async def test_nothing_is_settled_while_events_wait_that_may_say_otherwise(client: Redis, store_url: str) -> None:
    """A shard that is behind holds what happened earlier."""
    began_ms = await now_ms(client) - 2 * HOUR_MS
    identities = process(client)
    async with worker_on(store_url, identity=identities) as (worker, _):
        await worker.tend()
        await identities.apply([link("u_1", "a", began_ms + 5).entry()])
        await complete_until(client, KEYS, began_ms)
        await identities.settle()
        assert await identities._store.became(own_customer(visitor("a"))) == own_customer(visitor("a"))
        await collected(client, [link("u_2", "a", began_ms).entry()])
        await work_off(worker)
        await worker.tend()
        await identities.settle()
        assert await identities._store.became(own_customer(visitor("a"))) == own_customer(visitor("a")), "it is shared"


events = st.tuples(st.just("seen"), st.sampled_from(VISITORS + USERS), st.just(""))
links = st.tuples(st.just("link"), st.sampled_from(USERS), st.sampled_from(VISITORS))
same = st.tuples(st.just("alias"), st.just("u_1"), st.just("u_2"))


@FEW
@given(st.lists(st.one_of(events, events, links, same), min_size=1, max_size=14), st.data())
async def test_every_event_counts_once_for_who_did_it_whatever_the_order(
    store_url: str, happenings: list[tuple[str, str, str]], data: Any
) -> None:
    """Two workers, which share the shards, and settle while they work."""
    async with open_client(store_url) as client:
        await client.flushall()
        began_ms = await now_ms(client) - HOUR_MS // 2
        said: list[Said] = []
        entries: list[Collected] = []
        for number, (what, who, other) in enumerate(happenings, 1):
            at_ms = began_ms + number
            if what == "seen":
                entries.append(seen(who, number, at_ms))
                continue
            said.append(link(who, other, at_ms) if what == "link" else Said(at_ms, who, before=other))
            entries.append(said[-1].entry())
        entries = data.draw(st.permutations([*entries, *entries[::3]]))
        cut = data.draw(st.integers(0, len(entries)))
        one, two = process(client), process(client)
        async with (
            worker_on(store_url, "w1", identity=one) as (first, _),
            worker_on(store_url, "w2", identity=two) as (second, _),
        ):
            for part in (entries[:cut], entries[cut:]):
                await collected(client, part)
                for worker in (first, second, first, second):
                    await worker.tend()
                await asyncio.gather(work_off(first), work_off(second), one.settle(), two.settle())
            await complete_until(client, KEYS, began_ms + 9 * HOUR_MS)
            for _ in range(4):
                await asyncio.gather(one.settle(), two.settle())
                await asyncio.gather(work_off(first), work_off(second))
        people = {frozenset({name}) for name in USERS} | {frozenset({own_customer(visitor(name))}) for name in VISITORS}
        together = expected(said, HOUR_MS)
        people = {each for each in people if not any(each <= group for group in together)} | together
        for group in people:
            total = sum(
                what == "seen" and (who if who in USERS else own_customer(visitor(who))) in group
                for what, who, _ in happenings
            )
            counts = [await views(client, customer, began_ms + HOUR_MS) for customer in group]
            assert sum(counts) == total
            assert sorted(counts)[:-1] == [0] * (len(counts) - 1), "all of it lies in one place"
