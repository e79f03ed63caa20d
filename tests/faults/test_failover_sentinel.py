"""Sentinels replace the primary while it is asked for decisions: G1–G4 hold up to what the replica had been sent.

The replica is frozen for a moment before the primary dies, so that there is something to lose, and so that it is known
what: nothing that was answered before that moment may be lost or done twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import redis

from tests.support import look
from tests.support.load import load
from tests.support.sentinel import Watched
from tests.support.server import Answer, Client, Server, eventually
from tests.support.valkey import Store

MARGIN_S = 0.3


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    watched = Watched("--appendfsync", "everysec")
    watched.start()
    yield watched
    watched.remove()


@pytest.fixture(scope="module")
def server_on_it(watched: Watched) -> Iterator[Server]:
    with Server.on(watched.url) as server:
        yield server


@pytest.fixture
async def client(server_on_it: Server) -> AsyncIterator[Client]:
    yield server_on_it.client
    await server_on_it.client.close()


def inside(store: Store) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(store.socket_path))


async def sends(client: Client, customer: str) -> bool:
    return (await client.decide(customer, "open")).sends


def decision_of(answer: Answer) -> str:
    return str(answer.first["decision_id"])


async def test_what_was_answered_before_the_replica_fell_behind_survives_the_failover(
    watched: Watched, client: Client
) -> None:
    customers = [f"v{number}" for number in range(6)]
    await client.welcome(*customers, "denier")
    await eventually(lambda: sends(client, customers[0]))
    await eventually(watched.is_in_step, 20)
    old = watched.primary
    replica = watched.other_than(old)

    limited = [await client.decide(each, "once", key=f"key-{each}") for each in customers]
    assert all(answer.sends for answer in limited)
    assert (await client.consent("denier", "denied")).status == 200
    async with load(client, customers, budget_ms=200) as made:
        await made.more(30)
        with inside(old) as primary:
            kept = list(made.sends)
            assert await asyncio.to_thread(primary.execute_command, "WAIT", 1, 2000) == 1
        replica.freeze()
        replica_lacks = len(made.answers)
        await made.more(20)
        with watched.alert():
            old.kill()
            replica.thaw()
            await eventually(lambda: watched.primary is replica, 20)
        await made.until_it_sends(15)
        await made.more(20)
        last = len(made.answers)
        await made.more(10)
    assert all(each.sends for each in made.answers[last:]), made.reasons
    for answer in made.answers:
        assert answer.sends or answer.first["retryable"], answer.first
        assert answer.seconds < 0.2 + MARGIN_S

    with inside(replica) as primary:
        logged = {entry.decision_id for customer in customers for entry in look.log(primary, customer)}
    lost = [each for each in made.sends if each not in logged]
    assert not set(lost) & set(kept), "G4: what the replica had been sent is lost"
    behind = {decision_of(each) for each in made.answers[replica_lacks - 8 :] if each.sends}  # callers were under way
    assert set(lost) <= behind, "what is lost was answered before the replica fell behind"
    for answer, customer in zip(limited, customers, strict=True):
        repeat = await client.decide(customer, "once", key=f"key-{customer}")
        assert repeat.body == answer.body, "G2: a repeat is answered otherwise"
        assert not (await client.decide(customer, "once")).sends, "G1: a limit is exceeded"
    assert not (await client.decide("denier", "open")).sends, "G3: a withdrawal is forgotten"

    old.start()  # and takes itself for the primary, until a sentinel has told it
    assert await sends(client, customers[0])
    with inside(old) as former:
        assert not any(look.contacts(former, each) > look.contacts(inside(replica), each) for each in customers)


@pytest.mark.long  # it takes the sentinels ten seconds to make a replica of who was the primary
async def test_a_primary_that_is_replaced_while_it_is_well_is_left_for_the_new_one(
    watched: Watched, client: Client
) -> None:
    """It does not hear of it for ten seconds, and goes on answering who asks it: nobody may."""
    customers = [f"o{number}" for number in range(4)]
    await client.welcome(*customers)
    await eventually(lambda: sends(client, customers[0]))
    old = watched.primary
    await eventually(watched.is_in_step, 20)
    async with load(client, customers, budget_ms=200) as made:
        await made.more(20)
        with inside(old) as primary:
            kept = list(made.sends)
            assert await asyncio.to_thread(primary.execute_command, "WAIT", 1, 2000) == 1
        await asyncio.to_thread(watched.fail_over)
        await eventually(lambda: watched.primary is not old, 20)
        await asyncio.sleep(1.0)  # until then the sentinels have been asked again
        answered = len(made.answers)
        await made.until_it_sends(15)
        await made.more(20)
        late = [decision_of(each) for each in made.answers[answered:] if each.sends]
    assert late, made.reasons
    with inside(watched.primary) as primary:
        logged = {entry.decision_id for customer in customers for entry in look.log(primary, customer)}
    assert set(late) | set(kept) <= logged, "it was asked for decisions after the sentinels had named another one"
    for answer in made.answers:
        assert answer.sends or answer.first["retryable"], answer.first
