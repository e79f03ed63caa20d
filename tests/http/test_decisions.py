"""`GET /v1/decisions/{decision_id}`: why this was decided, and why nothing else; masked, and while the log holds it."""

from __future__ import annotations

import json
import re

import pytest
from redis import Redis

from app.core.decision.record import bundle_digest_of, decode
from app.core.decision.replay import replay
from tests.support.contract import ATTRIBUTES, Caller, consent, contract_bundle, problem, said

#: What an id looks like; nothing was ever decided under it.
KNOWN_FORM = "dec_0110197a1c2b3c4d5e6f70819200"


def stream_of(decision_id: str) -> str:
    return f"{{s{int(decision_id[4:7], 16):03d}}}:decisions"


def pointer_of(decision_id: str) -> str:
    return f"{{s{int(decision_id[4:7], 16):03d}}}:d:{decision_id}"


def test_the_record_repeats_the_answer_and_adds_what_led_to_it(caller: Caller) -> None:
    customer = caller.customer()
    answer = caller.ask(customer, explain=True, context={"trigger": "browse"}).json()
    (decision,) = answer["decisions"]
    record = caller.record(decision["decision_id"])
    assert {name: record[name] for name in decision} == decision
    assert (record["customer"], record["bundle"], record["release"]) == (customer, answer["bundle"], answer["release"])
    assert record["request"] == {
        "placements": ["weekly"],
        "context": {"trigger": "browse"},
        "budget_ms": 2000,
        "gpc": False,
    }
    assert record["aborted"] is False
    assert re.fullmatch(r"[0-9a-f]{16}", record["seed"])
    assert 0 < record["elapsed_ms"] < 2000
    assert record["decided_at"] == decision["send_window"]["not_before"]
    assert record["gate"] == {
        "contact": {"permitted": True, "state": "granted", "basis": "consent"},
        "personalisation": {"permitted": True, "state": "granted", "basis": "consent"},
        "personal_facts_read": True,
    }
    assert record["facts"]["known"] is True
    assert {entry["purpose"] for entry in record["facts"]["consent"]} == {"marketing", "personalisation"}


def test_every_candidate_has_its_reason_though_nobody_asked_for_them(caller: Caller) -> None:
    decision = caller.decision(caller.customer(attributes=ATTRIBUTES | {"recency": 99}))
    record = caller.record(decision["decision_id"])
    assert {line["message"]: line["code"] for line in record["excluded"]} == {
        "beta": "not_eligible",
        "gamma": "outranked",
    }
    assert said(record)[3] == "alpha"
    assert len(record["excluded"]) + 1 == record["funnel"]["candidates"]
    terms = {each["message"]: each for each in record["candidates"]}
    assert set(terms) == {"alpha", "gamma"}
    assert terms["alpha"]["score"] == decision["score"] == terms["alpha"]["response"]
    assert terms["gamma"]["score"] == terms["gamma"]["response"] * 0.5, "its value is 0.5"


def test_personal_values_are_masked_and_that_they_were_read_is_shown(caller: Caller) -> None:
    decision = caller.decision(caller.customer(attributes=ATTRIBUTES | {"history": 98765.4321}))
    record = caller.record(decision["decision_id"])
    values = record["facts"]["values"]
    assert values["newbie"] == 0
    assert values["channel"] == "Web"
    assert {name for name, value in values.items() if value == "***"} == {
        "recency", "history", "mens", "womens", "zip_code",
    }  # fmt: skip
    assert "98765" not in json.dumps(record)
    assert "nickname" not in values, "no rule and no model reads it"


def test_a_generic_decision_has_read_nothing_personal(caller: Caller) -> None:
    decision = caller.decision(caller.customer(consent=[consent("marketing")]))
    record = caller.record(decision["decision_id"])
    assert record["gate"]["personal_facts_read"] is False
    assert record["facts"]["values"] == {"newbie": 0, "channel": "Web"}


def test_a_reached_limit_names_the_contacts_that_fill_it(caller: Caller) -> None:
    customer = caller.customer()
    first = caller.decision(customer, "once")
    record = caller.record(caller.decision(customer, "once")["decision_id"])
    assert record["excluded"] == [
        {
            "message": "alpha",
            "code": "limit_reached",
            "detail": "one_of_once: 1 of 1 in rolling 7d",
            "contacts": [first["decision_id"]],
        }
    ]
    (contact,) = record["facts"]["contacts"]
    assert (contact["decision_id"], contact["placement"], contact["message"]) == (first["decision_id"], "once", "alpha")
    assert (contact["not_before"], contact["not_after"]) == (
        first["send_window"]["not_before"], first["send_window"]["not_after"],
    )  # fmt: skip


def test_a_decision_that_was_never_answered_is_marked_aborted(caller: Caller, store: Redis) -> None:
    decision_id = caller.decision(caller.customer())["decision_id"]
    assert store.set(pointer_of(decision_id), "aborted", xx=True, keepttl=True)
    assert caller.record(decision_id)["aborted"] is True


def test_what_was_sent_finds_its_customer_for_35_days(caller: Caller, store: Redis) -> None:
    decision_id = caller.decision(caller.customer())["decision_id"]
    ttl_s = store.ttl(pointer_of(decision_id))
    assert 35 * 86_400 - 10 <= ttl_s <= 35 * 86_400


@pytest.mark.parametrize(
    "decision_id",
    [
        "dec_",
        "cus_000001",
        KNOWN_FORM[:-1],
        KNOWN_FORM + "0",
        KNOWN_FORM.upper(),
        KNOWN_FORM.replace("c", "C"),
        "dec_fff" + KNOWN_FORM[7:],  # there are 256 shards
        KNOWN_FORM + "%0A",
        "%00",
    ],
)
def test_what_is_no_decision_id_of_ours_is_a_404(caller: Caller, decision_id: str) -> None:
    problem(caller.http.get(f"/v1/decisions/{decision_id}"), 404, "not_found")


def test_a_place_that_the_request_did_not_have_is_a_404(caller: Caller) -> None:
    decision_id = caller.decision(caller.customer())["decision_id"]
    problem(caller.http.get(f"/v1/decisions/{decision_id[:-2]}01"), 404, "not_found")


def test_a_decision_that_the_log_no_longer_holds_is_expired(caller: Caller, store: Redis) -> None:
    sent, suppressed = caller.decision(caller.customer()), caller.decision(caller.stranger())
    for decision in (sent, suppressed):
        store.xtrim(stream_of(decision["decision_id"]), maxlen=0, approximate=False)
        problem(caller.http.get(f"/v1/decisions/{decision['decision_id']}"), 404, "decision_expired")
    problem(caller.http.get(f"/v1/decisions/{KNOWN_FORM}"), 404, "decision_expired")


def test_every_record_in_the_log_decides_again_to_the_same_bytes(caller: Caller, store: Redis) -> None:
    """Over all that this suite has decided so far."""
    customers = [caller.customer(), caller.customer(consent=[]), caller.customer(attributes={}), caller.stranger()]
    for customer in customers:
        for placements in (
            ["weekly", "push", "wordings"],
            ["once", "daily", "receipt"],
            ["fresh", "gaps", "modelless"],
        ):
            caller.decisions(customer, *placements, context={"region": "US", "trigger": "browse"})
    raws = [
        fields[b"r"]
        for stream in store.scan_iter("*:decisions", count=10_000)
        for _, fields in store.xrange(stream)
        if b"r" in fields
    ]
    assert len(raws) >= 12
    bundle = contract_bundle()
    assert {bundle_digest_of(raw) for raw in raws} == {bundle.digest}
    replayed = [again for raw in raws for again in replay(decode(raw, bundle))]
    assert all(again.same for again in replayed)
    assert {again.decision.rung.value for again in replayed} >= {"model", "rules", "generic", "suppress"}
