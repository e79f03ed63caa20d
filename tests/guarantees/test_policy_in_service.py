"""Policy from end to end, over HTTP: what customers do shifts what is drawn, what must wait is deferred, and who is
held out is noted once, whichever server is asked."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial
from typing import Any

import ormsgpack
import pytest

from app.core.decision.record import decode
from app.core.decision.replay import replay
from tests.support import look
from tests.support.everything import COMPARED, DEFERRED, HELD, HELD_TRIAL, LIMITS, REGION, ZONE
from tests.support.field import Field, would_send
from tests.support.server import CONSENTS, Client, eventually

SMS = {**CONSENTS[0], "channel": "sms"}


@pytest.fixture
async def clients(field: Field) -> AsyncIterator[list[Client]]:
    yield field.clients
    await field.hang_up()


async def known(field: Field, number: int) -> list[str]:
    """Customers of whom all servers know."""
    customers, (first, *others) = field.customers(number), field.clients
    body = {"region": REGION, "timezone": ZONE, "consent": [*CONSENTS, SMS]}
    for customer in customers:
        answer = await first.ask("PUT", f"/v1/customers/{customer}", body)
        assert answer.status == 200, answer.body
    for client in others:
        await eventually(partial(would_send, client, customers[0]))
    return customers


# What customers do


async def record_of(client: Client, customer: str, placement: str) -> Any:
    answer = await client.decide(customer, placement)
    assert answer.sends, answer.first
    return (await client.record(answer.first["decision_id"])).json()


async def tell(client: Client, decision_id: str, what: str) -> None:
    answer = await client.ask("POST", f"/v1/decisions/{decision_id}/outcomes", {"type": what})
    assert answer.status == 200, answer.body


async def test_the_wording_that_customers_answer_to_is_drawn_more_often_by_every_server(
    field: Field, clients: list[Client]
) -> None:
    """Outcomes told at one server are counted in the store, read by all, and drawn from; the record says how probable
    the draw was, and by what counts."""
    customers = await known(field, 40)
    sent: Counter[str] = Counter()
    for number, customer in enumerate(customers):
        record = await record_of(clients[number % 3], customer, COMPARED)
        assert (record["variant_propensity"], record["control"]) == (0.5, None)  # nothing is known of either
        sent[record["message"]["variant"]] += 1
    assert min(sent.values()) > 5
    for customer in customers:
        (contact,) = look.records(field.inside, customer, field.served.bundle)
        decision = contact.decisions[0]
        assert decision.chosen_variant is not None
        urgent = decision.chosen_variant.id == "urgent"
        await tell(clients[0], look.log(field.inside, customer)[0].decision_id, "clicked" if urgent else "sent")
    counts = {"plain": (0, sent["plain"]), "urgent": (sent["urgent"], sent["urgent"])}

    async def has_learnt(client: Client) -> bool:
        record = await record_of(client, customers[0], COMPARED)
        earned = (record["control"] or {}).get("earned", [])
        return {each["variant"]: (each["responses"], each["sends"]) for each in earned} == counts

    for client in clients:
        await eventually(partial(has_learnt, client))
    later = [await record_of(clients[number % 3], customer, COMPARED) for number, customer in enumerate(customers)]
    assert {each["message"]["variant"] for each in later} == {"urgent"}
    assert all(each["variant_propensity"] > 0.99 for each in later)


# What must wait


async def test_what_must_wait_is_deferred_until_the_quiet_hours_end_and_reserves_nothing(
    field: Field, clients: list[Client]
) -> None:
    (customer,) = await known(field, 1)
    answers = [await client.decide(customer, DEFERRED, explain=True) for client in clients]
    for answer in answers:
        first = answer.first
        assert (first["action"], first["reason"], first["message"]) == ("defer", "quiet_hours", None)
        assert (first["propensity"], first["retryable"]) == (None, False)
        window = first["send_window"]
        assert datetime.fromisoformat(window["not_before"]) == field.served.calm_again_at
        assert (window["timezone"], window["basis"]) == (ZONE, "permitted_hours")
        assert {line["code"] for line in first["excluded"]} == {"quiet_hours"}
    assert look.contacts(field.inside, customer) == 0
    records = look.records(field.inside, customer, field.served.bundle)
    assert [[each.same for each in replay(record)] for record in records] == [[True]] * len(clients)


async def test_only_where_it_is_quiet_it_must_wait(field: Field, clients: list[Client]) -> None:
    """The same placement in a region without quiet hours; and the same customer on another channel."""
    here, elsewhere = await known(field, 2)
    await clients[0].ask("PUT", f"/v1/customers/{elsewhere}", {"region": "DE"})
    assert (await clients[0].decide(elsewhere, DEFERRED)).sends
    assert (await clients[0].decide(here, COMPARED)).sends


# Who is held out


async def test_an_arm_is_the_same_everywhere_and_is_noted_once_however_many_ask_at_once(
    field: Field, clients: list[Client]
) -> None:
    customers = await known(field, 24)
    asked = [(customer, clients[number % 2]) for customer in customers for number in range(12)]
    answers = await asyncio.gather(*(client.decide(customer, HELD) for customer, client in asked))
    by_customer: dict[str, list[Any]] = {customer: [] for customer in customers}
    for (customer, _), answer in zip(asked, answers, strict=True):
        by_customer[customer].append(answer.first)
    arms = {customer: {each["arm"] for each in decisions} for customer, decisions in by_customer.items()}
    assert {len(each) for each in arms.values()} == {1}
    assert {arm for each in arms.values() for arm in each} == {"holdout", "baseline", "treatment"}
    for customer, decisions in by_customer.items():
        await as_its_arm(field, clients[0], customer, decisions)
        assert noted(field, customer) == [(HELD_TRIAL, decisions[0]["arm"])]


async def as_its_arm(field: Field, client: Client, customer: str, decisions: list[Any]) -> None:
    record = (await client.record(decisions[0]["decision_id"])).json()
    if decisions[0]["arm"] == "holdout":  # nothing is sent or counted, so that it never ends
        assert {(each["action"], each["reason"], each["message"]) for each in decisions} == {
            ("suppress", "holdout", None)
        }
        assert all(each["propensity"] == 1.0 for each in decisions)
        assert look.contacts(field.inside, customer) == 0
        assert record["would_have_been"]["message"]["id"] == "held_a"
        return
    sent = [each for each in decisions if each["action"] == "send"]
    assert len(sent) == look.contacts(field.inside, customer) == LIMITS[HELD]
    assert record["would_have_been"] is None
    by_arm = {"baseline": ("held_b", "baseline", "rules"), "treatment": ("held_a", "rule_ranked", "rules")}
    assert {(e["message"]["id"], e["reason"], e["rung"]) for e in sent} == {by_arm[decisions[0]["arm"]]}


def noted(field: Field, customer: str) -> list[tuple[str, str]]:
    """The trials that the log says the customer met for the first time, each with the arm."""
    found: list[tuple[str, str]] = []
    for _, fields in field.inside.xrange(look.KEYS.of(customer).decisions):
        if b"x" in fields and decode(fields[b"r"], field.served.bundle).asked.customer == customer:
            words = ormsgpack.unpackb(fields[b"x"])
            found += zip(words[::2], words[1::2], strict=True)
    return found
