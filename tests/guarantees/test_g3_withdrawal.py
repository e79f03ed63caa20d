"""G3: a consent withdrawal or a suppression acknowledged before the commit wins over the decision in flight."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest
import redis

from app.store.decisions import COMMIT
from policy.compile import load
from tests.support import look
from tests.support.scripted import ProxyBeside
from tests.support.server import BUNDLE, Answer, Client


async def unsubscribes(client: Client, customer: str) -> Answer:
    """As the outcome of another message, which was not sent after all and leaves no contact."""
    receipt = (await client.decide(customer, "receipt")).first
    outcomes = f"/v1/decisions/{receipt['decision_id']}/outcomes"
    assert (await client.ask("POST", outcomes, {"type": "not_sent"})).status == 200
    return await client.ask("POST", outcomes, {"type": "unsubscribed"})


async def presses_the_button(client: Client, customer: str) -> Answer:
    """As a mailbox provider does, by a link that leaves no contact."""
    headers = (await client.decide(customer, "open", dry_run=True, unsubscribe=True)).first["list_unsubscribe"]
    path = headers["List-Unsubscribe"].strip("<>").partition(f":{client.port}")[2]
    return await client.ask("POST", path, headers["List-Unsubscribe-Post"].encode())


WITHDRAWALS: dict[str, Callable[[Client, str], Awaitable[Answer]]] = {
    "consent of the channel": lambda client, customer: client.consent(customer, "denied"),
    "consent of every channel": lambda client, customer: client.ask(
        "PUT",
        f"/v1/customers/{customer}/consent/marketing/*",
        {"state": "denied", "source": "preference_centre", "basis": "consent"},
    ),
    "the whole customer, by a write": lambda client, customer: client.ask(
        "PUT",
        f"/v1/customers/{customer}",
        {
            "consent": [
                {"purpose": "marketing", "channel": "email", "state": "denied", "source": "crm", "basis": "consent"}
            ]
        },
    ),
    "an import": lambda client, customer: client.ask(
        "POST",
        "/v1/customers/bulk",
        (
            b'{"customer":"%s","consent":[{"purpose":"marketing","channel":"email","state":"denied","source":"crm",'
            b'"basis":"consent"}]}\n' % customer.encode()
        ),
    ),
    "a suppression": lambda client, customer: client.ask(
        "PUT", f"/v1/customers/{customer}/suppressions/email", {"reason": "complaint", "source": "desk"}
    ),
    "a suppression of everything": lambda client, customer: client.ask(
        "PUT", f"/v1/customers/{customer}/suppressions/all", {"reason": "manual", "source": "desk"}
    ),
    "an unsubscription, told as an outcome": unsubscribes,
    "an unsubscription by one click": presses_the_button,
    "an erasure": lambda client, customer: client.ask("DELETE", f"/v1/customers/{customer}"),
}


@pytest.mark.parametrize("how", WITHDRAWALS)
@pytest.mark.parametrize("placement", ["open", "once"])
async def test_what_is_acknowledged_while_the_commit_is_on_its_way_wins(
    client: Client, shaky: Client, proxy: ProxyBeside, customer: str, inside: redis.Redis, how: str, placement: str
) -> None:
    """The decision has been made, and its commit waits in the network, when the customer says no elsewhere."""
    await client.welcome(customer)
    hold = proxy.hold(COMMIT.sha)
    deciding = asyncio.create_task(shaky.decide(customer, placement))
    await hold.reached()
    acknowledged = await WITHDRAWALS[how](client, customer)
    assert acknowledged.status in (200, 202), acknowledged.body
    hold.release()
    answer = await deciding
    assert answer.first["action"] == "suppress", answer.first
    # A source that is named for the first time is unknown to this server for a moment: it then suppresses all the same.
    assert answer.first["reason"].split(":")[0] in ("consent_denied", "suppressed", "facts_unavailable")
    assert look.contacts(inside, customer) == 0


async def test_who_forbids_personalisation_meanwhile_gets_nothing_that_was_chosen_by_personal_facts(
    client: Client, shaky: Client, proxy: ProxyBeside, customer: str
) -> None:
    await client.welcome(customer, mood=0)
    hold = proxy.hold(COMMIT.sha)
    deciding = asyncio.create_task(shaky.decide(customer, "touchy"))
    await hold.reached()
    denied = {"state": "denied", "source": "preference_centre", "basis": "consent"}
    acknowledged = await client.ask("PUT", f"/v1/customers/{customer}/consent/personalisation/*", denied)
    assert acknowledged.json()["applied"]
    hold.release()
    answer = await deciding
    assert (answer.first["rung"], answer.first["degraded"]) == ("generic", ["no_personalisation"])
    record = (await client.record(answer.first["decision_id"])).json()
    assert (record["gate"]["personal_facts_read"], record["aborted"]) == (False, False)


async def test_what_is_acknowledged_while_a_slow_model_thinks_wins(
    clients: list[Client], customer: str, inside: redis.Redis
) -> None:
    await clients[0].welcome(customer, mood=4)  # such a model thinks for 0.2 s and more
    deciding = asyncio.create_task(clients[1].decide(customer, "moody"))
    await asyncio.sleep(0.05)  # long enough to have read, and not to have ended
    assert (await clients[0].consent(customer, "denied")).json()["applied"]
    assert not deciding.done()
    answer = await deciding
    assert (answer.first["action"], answer.first["reason"]) == ("suppress", "consent_denied")
    assert look.contacts(inside, customer) == 0


async def test_whenever_a_withdrawal_comes_no_send_is_committed_after_it(
    clients: list[Client], customers: Callable[[int], list[str]], inside: redis.Redis
) -> None:
    await withdraw_at_random(clients, customers(40), inside, seed=1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
async def test_whenever_a_withdrawal_comes_no_send_is_committed_after_it_often(
    clients: list[Client], customers: Callable[[int], list[str]], inside: redis.Redis, seed: int
) -> None:
    await withdraw_at_random(clients, customers(200), inside, seed)


async def withdraw_at_random(clients: list[Client], names: list[str], inside: redis.Redis, seed: int) -> None:
    """Each customer withdraws while decisions about it go on; nothing is sent that was asked for or committed later."""
    rng = random.Random(seed)
    await clients[0].welcome(*names)
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        racing = [group.create_task(race(clients, name, random.Random(rng.getrandbits(32)), inside)) for name in names]
    assert any(each.result() for each in racing)  # some were in time, else nothing was tried


SERVED = load(BUNDLE)


async def race(clients: list[Client], customer: str, rng: random.Random, inside: redis.Redis) -> int:
    withdrawn_ms: list[int] = []

    async def withdraw() -> None:
        await asyncio.sleep(rng.uniform(0, 0.15))
        assert (await clients[0].consent(customer, "denied")).status == 200
        seconds, micros = inside.time()
        withdrawn_ms.append(seconds * 1000 + micros // 1000)

    withdrawing = asyncio.create_task(withdraw())
    sends = 0
    for _ in range(12):
        asked_after = bool(withdrawn_ms)
        answer = await rng.choice(clients).decide(customer, "open")
        if answer.status == 200 and answer.sends:
            assert not asked_after, "sent, though asked for after the withdrawal was acknowledged"
            sends += 1
    await withdrawing
    late = [entry for entry in look.log(inside, customer) if entry.at_ms > withdrawn_ms[0]]
    assert all(look.action(entry, SERVED) != "send" for entry in late)
    assert look.contacts(inside, customer) == sends
    return sends
