"""A cluster whose slots move and whose primaries die while it is asked for decisions.

What is asked of a slot that moves is answered: a redirection is followed within the budget. What is asked of a primary
that died is suppressed and may be asked again, until its replica has taken over; nobody else notices.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from itertools import count

import pytest
import redis

from app.store.keys import CTL_SWITCHES
from tests.support import look
from tests.support.cluster import Cluster, Node
from tests.support.load import load
from tests.support.look import KEYS
from tests.support.server import Client, Server, eventually

MARGIN_S = 0.3  # beside the budget: one quantum, the way, and a busy machine
_numbers = count()


@pytest.fixture(scope="module")
def unquiet() -> Iterator[Cluster]:
    """A cluster for tests that move its slots and kill its servers, and leave it whole."""
    cluster = Cluster("--appendfsync", "everysec")
    cluster.start()
    yield cluster
    cluster.remove()


@pytest.fixture(scope="module")
def server_on_it(unquiet: Cluster) -> Iterator[Server]:
    with Server.on(unquiet.url) as server:
        yield server


@pytest.fixture
async def client(server_on_it: Server) -> AsyncIterator[Client]:
    yield server_on_it.client
    await server_on_it.client.close()


def living_at(cluster: Cluster, node: Node, n: int) -> list[str]:
    """Customers whose keys a primary has."""
    found: list[str] = []
    while len(found) < n:
        name = f"k{next(_numbers)}"
        if cluster.owner(cluster.slot_of(KEYS.profile(name))) is node:
            found.append(name)
    return found


def of_shard(like: str, n: int) -> list[str]:
    """Customers of the same shard, and so of the same slot."""
    names = (f"m{next(_numbers)}" for _ in count())
    return [next(name for name in names if KEYS.shard_of(name) == KEYS.shard_of(like)) for _ in range(n)]


async def known(client: Client, customers: list[str]) -> None:
    """They are known, and may be sent something, as far as every server of the house has heard."""
    await client.welcome(*customers)

    async def sends() -> bool:
        return (await client.decide(customers[0], "open")).sends

    await eventually(sends)


@pytest.mark.parametrize("at_once", [False, True], ids=["key_by_key", "at_once"])
async def test_slots_that_move_while_they_are_asked_cost_no_answer_and_no_limit(
    unquiet: Cluster, client: Client, at_once: bool
) -> None:
    moving = of_shard(f"somebody_{at_once}", 6)
    slot = unquiet.slot_of(KEYS.profile(moving[0]))
    await known(client, moving)
    before = unquiet.owner(slot)
    others = [node for node in unquiet.primaries if node is not before]
    sent: Counter[str] = Counter()
    first = await client.decide(moving[0], "receipt", key="asked-before-it-moved")
    going = True

    async def ask(customer: str) -> None:
        while going:
            answer = await client.decide(customer, "thrice", budget_ms=500)
            assert answer.status == 200, answer.body
            assert not answer.first["retryable"], answer.first
            sent[customer] += answer.sends

    async with load(client, moving, budget_ms=500, callers=3) as made, asyncio.TaskGroup() as group:
        for customer in moving:
            for _ in range(2):
                group.create_task(ask(customer))
        for round_of in range(2):
            for node in (*others, before):
                await made.more(10)
                if at_once:
                    await asyncio.to_thread(unquiet.move_slot_at_once, slot, node)
                else:
                    await asyncio.to_thread(unquiet.move_slot, slot, node, keys_at_once=5 + round_of)
        await made.more(10)
        going = False
    repeat = await client.decide(moving[0], "receipt", key="asked-before-it-moved")
    assert repeat.body == first.body
    assert set(made.reasons) == {"rule_ranked"}, made.reasons
    assert sent == dict.fromkeys(moving, 3)
    with unquiet.client() as inside:
        logged = Counter(entry.decision_id for customer in moving for entry in look.log(inside, customer))
        held = sum(look.contacts(inside, customer) for customer in moving)
    assert max(logged.values()) == 1, "a decision was committed twice"
    assert set(made.sends) <= logged.keys(), "a decision that was answered is not in the log"
    # The receipt, and the one by which it was seen that all are known, beside what the callers were told to send.
    assert held == sum(sent.values()) + len(made.sends) + 2, "a contact was counted that nobody made, or one was not"


async def test_while_the_keys_of_a_slot_lie_at_two_servers_answers_come_in_time_and_nothing_is_lost_or_done_twice(
    unquiet: Cluster, client: Client, server_on_it: Server
) -> None:
    """As in the midst of a move key by key that takes longer than any budget: a commit names keys that are not there
    yet, and no server may run it (TRYAGAIN)."""
    stuck = of_shard("somebody_stuck", 4)
    slot = unquiet.slot_of(KEYS.profile(stuck[0]))
    target = next(node for node in unquiet.primaries if node is not unquiet.owner(slot))
    spared = living_at(unquiet, target, 2)
    await known(client, [*stuck, *spared])
    assert (await client.decide(stuck[0], "once", key="before-it-moved")).sends
    released = server_on_it.metric("releases_total")

    source = unquiet.begin_move(slot, target)
    went_ahead = [KEYS.profile(each) for each in stuck[:2]] + [KEYS.of(stuck[0]).ledger]
    with redis.Redis(unix_socket_path=str(source.store.socket_path)) as inside:
        inside.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *went_ahead)
    held_up = [await client.decide(each, "thrice", budget_ms=100) for each in stuck for _ in range(3)]
    refused = await client.consent(stuck[2], "denied")  # of which some keys are at the one server, and others at none
    assert (refused.status, refused.json()["code"]) == (503, "store_unavailable")
    assert refused.seconds < 1 + MARGIN_S
    assert int(refused.headers["retry-after"]) > 0
    async with load(client, spared, budget_ms=500, callers=2) as others:
        withdrawal = asyncio.ensure_future(client.consent(stuck[3], "denied"))
        await others.more(10)
        await asyncio.to_thread(unquiet.move_slot, slot, target, keys_at_once=1)
        await others.more(10)

    assert set(others.reasons) == {"rule_ranked"}, others.reasons
    for answer in held_up:
        assert not answer.sends
        assert (answer.first["action"], answer.first["retryable"]) == ("suppress", True)
        assert answer.seconds < 0.1 + MARGIN_S
    # It is known that none was committed, but for those whose last try was still under way when time was up.
    assert server_on_it.metric("releases_total") - released <= len(held_up) / 2
    repeat = await client.decide(stuck[0], "once", key="before-it-moved")
    assert repeat.sends, "what was answered before is answered again"
    assert not (await client.decide(stuck[0], "once")).sends, "the limit holds"
    told = await withdrawal
    if told.status != 200:  # it could not be written in time, and said so
        assert (told.status, told.json()["code"]) == (503, "store_unavailable")
        assert (await client.consent(stuck[3], "denied")).status == 200
    sent = Counter(dict.fromkeys(stuck, 0))
    for customer in stuck:
        for _ in range(4):
            sent[customer] += (await client.decide(customer, "thrice")).sends
    assert sent == dict.fromkeys(stuck[:3], 3) | {stuck[3]: 0}
    with unquiet.client() as inside:
        assert sum(look.contacts(inside, customer) for customer in stuck) == sum(sent.values()) + 2  # `known`, `once`


async def test_a_primary_that_dies_costs_only_its_own_slots_and_only_until_its_replica_has_taken_over(
    unquiet: Cluster, client: Client, server_on_it: Server
) -> None:
    victim = unquiet.owner(unquiet.slot_of(CTL_SWITCHES))  # of all servers the one whom everybody asks all the time
    bystander = next(node for node in unquiet.primaries if node is not victim and node.store.command("PING"))
    theirs, others = living_at(unquiet, victim, 4), living_at(unquiet, bystander, 4)
    await known(client, [*theirs, *others])
    async with load(client, theirs, budget_ms=200) as struck, load(client, others, budget_ms=200) as spared:
        await asyncio.gather(struck.more(20), spared.more(20))
        assert set(struck.reasons) == {"rule_ranked"}
        with unquiet.alert():
            victim.store.kill()
            await eventually(lambda: "facts_unavailable" in struck.reasons)
            assert server_on_it.is_ready(), "the others are served: this is no reason to leave the balancer"
            await struck.until_it_sends(15)
        await asyncio.gather(struck.more(20), spared.more(20))
        well_again = len(struck.answers)
        await struck.more(20)
    assert set(spared.reasons) == {"rule_ranked"}, spared.reasons
    assert set(struck.reasons) <= {"rule_ranked", "facts_unavailable", "deadline", "conflict"}, struck.reasons
    assert all(a.sends for a in struck.answers[well_again:])
    for answer in (*struck.answers, *spared.answers):
        assert answer.sends or answer.first["retryable"], answer.first
        assert answer.seconds < 0.2 + MARGIN_S
    victim.store.start()
    await eventually(unquiet.is_whole_again, 15)
