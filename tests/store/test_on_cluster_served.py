"""A whole deployment on a cluster: server and event worker, as a user that may do what `docs/security.md` grants."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest
import redis

from tests.support import look
from tests.support.cluster import Cluster
from tests.support.life import PASSWORD, user_of_the_store
from tests.support.server import ROOT, Client, Server, eventually
from tests.support.webhooks.generic import SAMPLE, signed

SECRET = SAMPLE.trust.secrets[0]
CUSTOMERS = [f"shopper_{number}" for number in range(6)]  # at all primaries
CONSENT = [
    {"purpose": purpose, "channel": "*", "state": "granted", "source": "signup_form", "basis": "consent"}
    for purpose in ("marketing", "personalisation")
]


@pytest.fixture
def url(cluster: Cluster) -> Iterator[str]:
    """The cluster's address for that user; nothing that it asked for may have been refused."""
    cluster.command("ACL", "SETUSER", "nextbest", *user_of_the_store(), *granted_in_a_cluster())
    for node in cluster.nodes:
        node.store.command("ACL", "LOG", "RESET")
    yield cluster.url.replace("://", f"://nextbest:{PASSWORD}@")
    refused = [entry for node in cluster.nodes for entry in acl_log(node.store.socket_path)]
    cluster.command("ACL", "DELUSER", "nextbest")
    assert refused == []


def granted_in_a_cluster() -> list[str]:
    """What the same page grants in a cluster, too."""
    (line,) = re.findall(r"^In a cluster, too: (.+)$", (ROOT / "docs" / "security.md").read_text(), re.M)
    return re.findall(r"`(.+?)`", line)


def acl_log(socket_path: object) -> list[tuple[str, str]]:
    with redis.Redis(unix_socket_path=str(socket_path)) as inside:
        return [(str(each["reason"]), str(each["object"])) for each in inside.acl_log()]


async def test_events_outcomes_and_erasure_have_their_effect_and_are_counted(url: str, cluster: Cluster) -> None:
    assert {cluster.owner(cluster.slot_of(look.KEYS.profile(each))).id for each in CUSTOMERS} == {
        node.id for node in cluster.primaries
    }
    settings = {"NEXTBEST_WEBHOOK_GENERIC_SECRETS": SECRET, "event_worker": "true"}
    with Server.on(url, ROOT / "policy" / "bundles" / "shop_demo", **settings) as server:
        try:
            await lived(server, server.client)
        finally:
            await server.client.close()


async def lived(server: Server, client: Client) -> None:
    for customer in CUSTOMERS:
        body = {"region": "GB", "timezone": "Europe/London", "consent": CONSENT}
        assert (await client.ask("PUT", f"/v1/customers/{customer}", body)).status == 200
    decided = 0

    async def banner(customer: str) -> str:
        nonlocal decided
        decided += 1
        return str((await client.decide(customer, "home_banner")).first["message"]["id"])

    # Events of everybody, in one delivery: what they looked at decides what they are shown.
    assert {await banner(each) for each in CUSTOMERS} == {"bestsellers"}
    viewed = [seen(customer, number) for customer in CUSTOMERS for number in range(3)]
    taken = await client.ask("POST", "/v1/events", viewed)
    assert (taken.status, taken.json()["accepted"]) == (200, len(viewed)), taken.body
    for customer in CUSTOMERS:

        async def offers_bags(customer: str = customer) -> bool:
            return await banner(customer) == "bags_offer"

        await eventually(offers_bags, 20)

    # A complaint, as a provider tells it: nothing more is sent.
    sent = [(await client.decide(customer, "next_email")).first for customer in CUSTOMERS]
    decided += len(sent)
    assert {each["action"] for each in sent} == {"send"}
    told = await complaint(client, sent[0]["decision_id"])
    assert told == 200
    again = (await client.decide(CUSTOMERS[0], "next_email")).first
    decided += 1
    assert (again["action"], again["reason"]) == ("suppress", "suppressed:complaint")

    # Two are forgotten, at different primaries.
    answers = [await client.ask("DELETE", f"/v1/customers/{customer}") for customer in CUSTOMERS[:2]]
    receipts = [f"/v1/erasures/{answer.json()['erasure']}" for answer in answers]

    async def done() -> bool:
        return all(["done_at" in (await client.ask("GET", each)).json() for each in receipts])

    await eventually(done, 30)
    for place, customer in enumerate(CUSTOMERS[:2]):
        assert (await client.record(sent[place]["decision_id"])).status == 404
        assert (await client.ask("GET", f"/v1/customers/{customer}/history")).status == 410
        stopped = (await client.decide(customer, "home_banner")).first
        decided += 1
        assert (stopped["action"], stopped["reason"]) == ("suppress", "suppressed:erased")
    assert await banner(CUSTOMERS[2]) == "bags_offer"

    server.wait(lambda: server.metric("decisions_total") == decided)
    assert server.metric('decisions_total{placement="home_banner",action="suppress"') == 2
    assert server.metric('decisions_total{placement="next_email",action="send"') == len(sent)
    assert server.metric('events_total{result="accepted"}') == server.metric("events_total") == len(viewed)
    assert server.metric('webhook_items_total{provider="generic",result="accepted"}') == 1
    assert server.metric("webhook_items_total") == 1
    assert server.metric("problems_total") == 4, "the 404 and 410 of the two who are gone"


def seen(customer: str, number: int) -> dict[str, object]:
    at = datetime.now(UTC).isoformat()
    product = {"product_id": f"bag{number}", "category": "bags", "price": 20.0}
    return {"event": "product_viewed", "id": uuid4().hex, "customer": customer, "at": at, "properties": product}


async def complaint(client: Client, decision_id: str) -> int:
    """The status of a delivery about a mail."""
    at = datetime.now(UTC).isoformat()
    body = json.dumps({"type": "email.complained", "timestamp": at, "data": {"decision_id": decision_id}}).encode()
    return (await client.ask("POST", "/v1/webhooks/generic", body, signed(body, SECRET, time.time()))).status
