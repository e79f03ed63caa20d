"""Webhooks at a real server on a real store: what is answered, and what the next decision sees."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from redis import Redis

from app.settings import Settings
from app.store.keys import CTL_WEBHOOK_PUZZLES
from app.webhook_command import as_lines, puzzles
from tests.support.contract import Caller, problem
from tests.support.serving import Server
from tests.support.webhooks import secret_of
from tests.support.webhooks.door import proven, sample_of

_NUMBERS = count(1)


def deliver(caller: Caller, provider: str, body: bytes, query: str = "") -> httpx.Response:
    """As the provider does."""
    body, proof = proven(provider, body, secret_of(sample_of(provider)), time.time())
    return caller.http.post(f"/v1/webhooks/{provider}{query}", content=body, headers=proof)


def tell(caller: Caller, *events: dict[str, Any], query: str = "") -> dict[str, Any]:
    answer = deliver(caller, "generic", json.dumps(list(events)).encode(), query)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def about(decision_id: str, what: str, **more: Any) -> dict[str, Any]:
    """An event of a mail that a decision sent."""
    data = {"decision_id": decision_id, "event_id": f"evt_{next(_NUMBERS)}"} | more
    return {"type": what, "timestamp": datetime.now(UTC).isoformat(), "data": data}


def sent(caller: Caller, customer: str) -> str:
    decision = caller.decision(customer)
    assert decision["action"] == "send"
    return str(decision["decision_id"])


@pytest.mark.parametrize(
    ("what", "reason"),
    [("bounced_hard", "hard_bounce"), ("complained", "complaint"), ("unsubscribed", "unsubscribed")],
)
def test_a_stop_that_was_answered_holds_for_the_next_decision(caller: Caller, what: str, reason: str) -> None:
    customer = caller.customer()
    told = tell(caller, about(sent(caller, customer), what))
    assert (told["accepted"], told["duplicates"], told["rejected"]) == (1, 0, [])
    decision = caller.decision(customer)
    assert (decision["action"], decision["reason"]) == ("suppress", f"suppressed:{reason}")


def test_what_unsubscribes_from_a_group_stops_the_channel_until_that_group_is_subscribed_again(caller: Caller) -> None:
    customer = caller.customer()
    decision_id = sent(caller, customer)
    event = {"event": "group_unsubscribe", "email": "jane@example.com", "timestamp": int(time.time()) - 60}
    event |= {"decision_id": decision_id, "asm_group_id": 14, "sg_event_id": f"g_{customer}"}
    assert deliver(caller, "sendgrid", json.dumps([event]).encode()).json()["accepted"] == 1
    assert caller.decision(customer)["reason"] == "suppressed:unsubscribed"
    again = event | {"event": "group_resubscribe", "timestamp": int(time.time()) + 2, "sg_event_id": f"h_{customer}"}
    other = again | {"asm_group_id": 15, "sg_event_id": f"i_{customer}"}
    deliver(caller, "sendgrid", json.dumps([other]).encode())
    assert caller.decision(customer)["reason"] == "suppressed:unsubscribed"
    deliver(caller, "sendgrid", json.dumps([again]).encode())
    assert caller.decision(customer)["action"] == "send"


def test_a_stop_of_a_group_can_be_lifted_by_hand_with_its_channel(caller: Caller) -> None:
    customer = caller.customer()
    event = {"event": "group_unsubscribe", "email": "jane@example.com", "timestamp": int(time.time())}
    event |= {"decision_id": sent(caller, customer), "asm_group_id": 14, "sg_event_id": f"g_{customer}"}
    deliver(caller, "sendgrid", json.dumps([event]).encode())
    lifted = caller.http.delete(f"/v1/customers/{customer}/suppressions/email")
    assert (lifted.status_code, lifted.json()["lifted"]) == (200, ["unsubscribed"]), lifted.text
    assert caller.decision(customer)["action"] == "send"


def test_what_stops_an_address_holds_for_whoever_it_belongs_to(caller: Caller) -> None:
    """No decision, no id of ours: only the address, whose hash is an identity of the customer."""
    address = f"jane.{time.time_ns()}@example.com"
    digest = sha256(address.encode()).hexdigest()
    customer = caller.customer(identities={"email_sha256": digest})
    event = {"event": "spamreport", "email": address.upper(), "timestamp": int(time.time()), "sg_event_id": digest}
    assert deliver(caller, "sendgrid", json.dumps([event]).encode()).json()["accepted"] == 1
    assert caller.decision(customer)["reason"] == "suppressed:complaint"


def test_a_complaint_of_an_unknown_address_waits_for_whoever_it_is_linked_to(caller: Caller, store: Redis) -> None:
    address = f"new.{time.time_ns()}@example.com"
    digest = sha256(address.encode()).hexdigest()
    before = set(store.scan_iter("rcp:*"))
    event = {"event": "spamreport", "email": address, "timestamp": int(time.time()), "sg_event_id": digest}
    assert deliver(caller, "sendgrid", json.dumps([event]).encode()).json()["accepted"] == 1
    (waiting,) = set(store.scan_iter("rcp:*")) - before
    assert store.pttl(waiting) == -1, "what stops mail waits without an end"
    customer = caller.customer()
    assert caller.decision(customer)["action"] == "send", "nobody knows yet whose address it is"
    linked = caller.http.put(f"/v1/customers/{customer}", json={"identities": {"email_sha256": digest}})
    assert linked.status_code == 200, linked.text
    assert caller.decision(customer)["reason"] == "suppressed:complaint"
    assert not store.exists(waiting)


def test_an_erasure_takes_with_it_what_is_known_of_a_customer_s_mail(caller: Caller, store: Redis) -> None:
    address = f"gone.{time.time_ns()}@example.com"
    digest = sha256(address.encode()).hexdigest()
    customer = caller.customer(identities={"email_sha256": digest})
    bounce = {
        "event": "bounce",
        "type": "blocked",
        "email": address,
        "timestamp": int(time.time()),
        "sg_event_id": digest,
    }
    deliver(caller, "sendgrid", json.dumps([bounce]).encode())
    assert list(store.scan_iter(f"{{s*}}:w:{customer}")), "a soft bounce is counted"
    assert caller.http.delete(f"/v1/customers/{customer}").status_code in (200, 202)
    assert not list(store.scan_iter(f"{{s*}}:w:{customer}"))


def test_a_repeat_is_counted_as_one_and_changes_nothing(caller: Caller) -> None:
    event = about(sent(caller, caller.customer()), "clicked", url="https://shop.example.com/")
    assert tell(caller, event)["accepted"] == 1
    assert tell(caller, event, event)["duplicates"] == 2


def test_a_batch_is_taken_in_part_where_a_part_cannot_be(caller: Caller) -> None:
    good = sent(caller, caller.customer())
    told = tell(caller, {"type": 1}, about(good, "delivered"), {"type": "bounced"}, about(good, "opened"))
    assert (told["accepted"], [each["index"] for each in told["rejected"]]) == (2, [0, 2])


def test_what_was_understood_is_shown_on_a_server_without_keys(caller: Caller) -> None:
    decision_id = sent(caller, caller.customer())
    (shown,) = tell(caller, about(decision_id, "opened", user_agent="Mozilla/5.0"), query="?echo=true")["outcomes"]
    assert (shown["type"], shown["decision_id"], shown["machine"]) == ("opened", decision_id, True)


def test_a_mail_whose_id_the_caller_told_is_the_decisions_though_its_webhooks_name_none(caller: Caller) -> None:
    customer = caller.customer()
    mail = f"<m-{customer}@mail.example.com>"
    said = {"type": "sent", "provider": "generic", "message_id": mail}
    told = caller.http.post(f"/v1/decisions/{sent(caller, customer)}/outcomes", json=said)
    assert told.status_code == 200, told.text
    data = {"message_id": mail.strip("<>"), "recipient": "nobody.knows@example.com", "event_id": mail}
    event = {"type": "complained", "timestamp": datetime.now(UTC).isoformat(), "data": data}
    assert tell(caller, event)["accepted"] == 1
    assert caller.decision(customer)["reason"] == "suppressed:complaint"


@pytest.mark.parametrize(
    "more", [{"provider": "ses"}, {"message_id": "m"}, {"provider": "klaviyo", "message_id": "m"},
             {"provider": "ses", "message_id": "a b"}]
)  # fmt: skip
def test_a_mail_is_named_by_provider_and_id_together(caller: Caller, more: dict[str, str]) -> None:
    decision_id = sent(caller, caller.customer())
    problem(
        caller.http.post(f"/v1/decisions/{decision_id}/outcomes", json={"type": "sent"} | more), 422, "invalid_request"
    )


def test_nothing_is_taken_without_proof(caller: Caller) -> None:
    for provider in ("generic", "sendgrid", "mailgun", "postmark"):  # the last one is not configured
        answer = caller.http.post(f"/v1/webhooks/{provider}", json={"type": "clicked"})
        problem(answer, 401, "unproven_webhook")
    problem(caller.http.post("/v1/webhooks/nobody", json={}), 404, "not_found")


def test_a_body_may_be_larger_than_others_and_not_without_end(caller: Caller) -> None:
    filler = [{"type": "webhook.test", "data": {"filler": "x" * 200}}] * 2_000
    assert len(json.dumps(filler)) > 262_144
    assert tell(caller, *filler)["accepted"] == 2_000
    problem(caller.http.post("/v1/webhooks/generic", content=b" " * (5 * 1024**2 + 1)), 413, "payload_too_large")


def test_what_is_not_known_is_kept_in_the_store_without_whom_it_names(caller: Caller, store: Redis) -> None:
    tell(caller, {"type": "newsletter.read", "data": {"recipient": "jane@example.com", "n": 5}})
    found: Any = store.xrevrange(CTL_WEBHOOK_PUZZLES, count=1)
    kept = found[0][1]
    assert (kept[b"provider"], kept[b"code"], kept[b"type"]) == (b"generic", b"unknown", b"newsletter.read")
    assert b"jane" not in kept[b"item"]
    assert store.ttl(CTL_WEBHOOK_PUZZLES) > 0


def test_people_can_see_what_was_not_understood(caller: Caller, server: Server) -> None:
    tell(caller, {"type": "newsletter.skipped", "data": {"recipient": "jane@example.com"}})
    (newest, *_) = puzzles(Settings(redis_url=SecretStr(server.store.url)), server.store.url, "generic")
    assert (newest["code"], newest["raw_type"]) == ("unknown", "newsletter.skipped")
    (line, *_) = as_lines([newest])
    assert "newsletter.skipped" in line
    assert "jane" not in line


def test_a_proof_that_was_used_for_something_else_changes_nothing(caller: Caller, store: Redis) -> None:
    sample = sample_of("mailgun")
    body, proof = proven("mailgun", sample.body, secret_of(sample), time.time())
    caller.http.post("/v1/webhooks/mailgun", content=body, headers=proof)
    forged = json.loads(body)
    forged["event-data"] |= {"event": "complained", "id": "another"}
    answer = caller.http.post("/v1/webhooks/mailgun", json=forged)
    assert answer.json() == {"accepted": 0, "duplicates": 1, "rejected": []}
    assert all(store.ttl(name) > 0 for name in store.scan_iter("wht:*"))


def test_what_became_of_items_is_counted(caller: Caller) -> None:
    tell(caller, {"type": "webhook.test"}, {"type": 1})
    caller.http.post("/v1/webhooks/generic", json={})
    metrics = caller.http.get("/metrics").text
    for line in (
        'nextbest_webhook_items_total{provider="generic",result="ignored"}',
        'nextbest_webhook_items_total{provider="generic",result="rejected"}',
        'nextbest_webhooks_refused_total{provider="generic",code="unproven_webhook"}',
    ):
        assert float(metrics.split(line)[1].split("\n")[0]) > 0


def test_how_late_providers_tell_is_measured_and_repeats_are_not(caller: Caller) -> None:
    def counted() -> dict[str, float]:
        prefix = 'nextbest_webhook_lag_seconds_bucket{provider="generic",le="'
        lines = [line for line in caller.http.get("/metrics").text.splitlines() if line.startswith(prefix)]
        return {line[len(prefix) :].partition('"')[0]: float(line.rpartition(" ")[2]) for line in lines}

    before, customer = counted(), caller.customer()
    event = about(sent(caller, customer), "delivered") | {"timestamp": "2026-01-01T00:00:00Z"}
    fresh = about(sent(caller, caller.customer()), "delivered")
    tell(caller, event, fresh)
    tell(caller, event, fresh)
    grown = {bound: number - before[bound] for bound, number in counted().items()}
    assert (grown["259200.0"], grown["+Inf"]) == (1, 2)
