"""G1 and G3 while customers become one: from the moment a merge is acknowledged no limit is exceeded over all that any
of them was sent, no refusal of any of them is passed over, and nothing that anybody was sent is forgotten."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
import redis

from app.flows.merge import Merges
from app.store.clients import open_client
from app.store.fields import FieldRegistry
from app.store.keys import CTL_MERGES
from app.store.merge import MergeStore
from policy.compile import load
from tests.support import look
from tests.support.server import BUNDLE, Client, eventually
from tests.support.valkey import Store

LIMITS = {"once": 1, "twice": 2, "thrice": 3}
Customers = Callable[[int], list[str]]


class Sent(NamedTuple):
    customer: str  # under whose key it was asked
    placement: str
    asked_at: float


@pytest.fixture
async def steps(store: Store) -> AsyncIterator[MergeStore]:
    async with open_client(store.url) as client:
        yield MergeStore(client, look.KEYS, FieldRegistry(client), load(BUNDLE), on_disk_within_ms=0)


async def ask_until_nothing_is_left(
    client: Client, family: list[str], rng: random.Random, merged: asyncio.Event, sent: list[Sent]
) -> None:
    """One caller: asks for any of the keys, until the merge is over and nothing is left."""
    while True:
        over, asked_at = merged.is_set(), time.monotonic()
        customer, placements = rng.choice(family), rng.sample(list(LIMITS), rng.randint(1, 3))
        answer = await client.decide(customer, *placements)
        assert answer.status in (200, 503), answer.body  # 503: shed under this load, to be asked again
        if answer.status == 503:
            await asyncio.sleep(rng.uniform(0, 0.02))
            continue
        decisions = answer.json()["decisions"]
        sent += [Sent(customer, d["placement"], asked_at) for d in decisions if d["action"] == "send"]
        full = [d["reason"] == "no_admissible_message" for d in decisions]
        assert all(d["action"] == "send" or d["retryable"] or f for d, f in zip(decisions, full, strict=True)), (
            decisions
        )
        if over and len(placements) == 3 and all(full):
            assert answer.json()["customer"] == family[-1]
            return


async def merge_all(merges: Merges, family: list[str], rng: random.Random, merged: asyncio.Event) -> float:
    """The keys become one, each the next, in any order at once; when that was acknowledged."""
    pairs = list(pairwise(family))
    rng.shuffle(pairs)
    await asyncio.sleep(rng.uniform(0, 0.05))  # somewhere among the callers
    await asyncio.gather(*(merges.merge(loser, winner, "desk") for loser, winner in pairs))
    acknowledged_at = time.monotonic()
    merged.set()
    return acknowledged_at


async def contend(clients: list[Client], merges: Merges, family: list[str], callers: int, seed: int) -> list[Sent]:
    """Callers of three servers ask for all keys of one person, who become one meanwhile: what was sent."""
    rng, merged = random.Random(seed), asyncio.Event()
    sent: list[Sent] = []
    async with asyncio.TaskGroup() as group:
        merging = group.create_task(merge_all(merges, family, rng, merged))
        for _ in range(callers):
            own = random.Random(rng.getrandbits(32))
            group.create_task(ask_until_nothing_is_left(rng.choice(clients), family, own, merged, sent))
    for placement, limit in LIMITS.items():
        late = Counter(each.asked_at > merging.result() for each in sent if each.placement == placement)
        assert late[True] == max(0, limit - late[False]), (placement, late)
    return sent


def check_nothing_is_forgotten(inside: redis.Redis, family: list[str], sent: list[Sent]) -> None:
    assert [look.contacts(inside, key) for key in family] == [0] * (len(family) - 1) + [len(sent)]
    assert inside.hlen(CTL_MERGES) == 0


async def test_merges_among_callers_of_three_servers_exceed_no_limit_and_forget_no_contact(
    clients: list[Client], customers: Customers, inside: redis.Redis, steps: MergeStore
) -> None:
    merges = Merges(steps)
    for seed in range(4):
        family = customers(2 + seed % 2)
        await clients[0].welcome(*family)
        sent = await contend(clients, merges, family, callers=30, seed=seed)
        check_nothing_is_forgotten(inside, family, sent)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
async def test_merges_exceed_no_limit_whatever_the_order(
    clients: list[Client], customers: Customers, inside: redis.Redis, steps: MergeStore, seed: int
) -> None:
    families = [customers(2 + n % 3) for n in range(4)]
    await clients[0].welcome(*(key for family in families for key in family))
    merges = Merges(steps)
    all_sent = await asyncio.gather(
        *(contend(clients, merges, family, 60, 10 * seed + n) for n, family in enumerate(families))
    )
    for family, sent in zip(families, all_sent, strict=True):
        check_nothing_is_forgotten(inside, family, sent)


async def refuses(client: Client, customer: str, rng: random.Random) -> None:
    """Says no, until that is acknowledged: while customers become others a write may have to be repeated."""
    await asyncio.sleep(rng.uniform(0, 0.03))

    async def is_acknowledged() -> bool:
        return (await client.consent(customer, "denied")).status == 200

    await eventually(is_acknowledged)


@pytest.mark.parametrize("who", [0, 1], ids=["of the loser", "of the winner"])
async def test_a_withdrawal_acknowledged_while_customers_become_one_holds_for_both(
    clients: list[Client], customers: Customers, steps: MergeStore, who: int
) -> None:
    rng = random.Random(who)
    for _ in range(10):
        family = customers(2)
        await clients[0].welcome(*family)
        withdrawal = asyncio.create_task(refuses(clients[1], family[who], rng))
        await merge_all(Merges(steps), family, rng, asyncio.Event())
        await withdrawal
        for client, customer in zip(clients, (*family, family[0]), strict=True):
            first = (await client.decide(customer, "open")).first
            assert (first["action"], first["reason"]) == ("suppress", "consent_denied")


@pytest.mark.parametrize("steps_done", range(1, 6))
async def test_servers_finish_a_merge_whose_process_was_killed(
    clients: list[Client], customers: Customers, inside: redis.Redis, steps: MergeStore, steps_done: int
) -> None:
    loser, winner = customers(2)
    client = clients[0]
    await client.welcome(loser, winner)
    for customer in (loser, winner):
        assert (await client.decide(customer, "twice")).sends
    await begin_and_die(steps, loser, winner, steps_done)
    grow_old(inside, loser)
    await eventually(lambda: inside.hlen(CTL_MERGES) == 0)
    for customer in (loser, winner):
        assert (await client.decide(customer, "twice")).first["reason"] == "no_admissible_message"
        assert (await client.decide(customer, "open")).sends
    assert look.contacts(inside, winner) == 4


async def begin_and_die(steps: MergeStore, loser: str, winner: str, steps_done: int) -> None:
    merge = await steps.begin(loser, winner, "desk", "")
    assert merge is not None
    if steps_done > 1:
        await steps.expect(merge)
    if steps_done > 2:
        left = await steps.leave(merge)
        assert left is not None
    if steps_done > 3:
        await steps.unite(merge, left)
    if steps_done > 4:
        await steps.repoint(merge, left.aliases)


def grow_old(inside: redis.Redis, loser: str) -> None:
    """As if nobody had touched the merge for some seconds."""
    noted: Any = inside.hget(CTL_MERGES, loser)
    winner, begun, tried, rest = noted.split(b" ", 3)
    inside.hset(CTL_MERGES, loser, b"%b %b %d %b" % (winner, begun, int(tried) - 10_000, rest))
