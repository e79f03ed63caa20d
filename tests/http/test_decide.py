"""`POST /v1/decide` over HTTP: the shape of an answer, the way down the ladder, and what the gate lets through."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis

from policy.codes import STOPS_TRANSACTIONAL, Step, SuppressionReason
from tests.support.contract import ATTRIBUTES, EVERYTHING_ALLOWED, Caller, consent, said, why_not

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
SECOND = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def test_an_answer_has_every_member_of_the_contract_with_its_type(caller: Caller) -> None:
    customer = caller.customer()
    answer = caller.ask(customer, explain=True, budget_ms=1234)
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"request_id", "customer", "decisions", "release", "bundle", "budget_ms", "elapsed_ms"}
    assert re.fullmatch(r"req_[A-Za-z0-9_-]+", body["request_id"])
    assert body["customer"] == customer
    assert body["release"].startswith("rel_")
    assert DIGEST.fullmatch(body["bundle"])
    assert body["budget_ms"] == 1234
    assert number(body["elapsed_ms"])
    assert 0 < body["elapsed_ms"] < 1234

    (decision,) = body["decisions"]
    assert {
        "decision_id", "placement", "action", "rung", "reason", "message", "send_window", "score", "propensity", "arm",
        "degraded", "funnel", "excluded", "retryable",
    } == set(decision)  # fmt: skip
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", decision["decision_id"])
    assert decision["placement"] == "weekly"
    assert said(decision) == ("send", "model", "model_ranked", "alpha")
    message = decision["message"]
    assert set(message) == {"id", "version", "variant", "template", "subject", "params"}
    assert (message["version"], message["template"], message["params"]) == (
        3,
        "alpha_mail",
        {"hero": "spring", "size": 2},
    )
    assert (message["variant"], message["subject"]) in {("plain", "New in red"), ("urgent", "Last days of red")}
    assert number(decision["score"])
    assert 0 < decision["score"] < 1
    assert decision["propensity"] == 1.0
    assert decision["arm"] == "treatment"
    assert decision["degraded"] == []
    assert decision["funnel"] == {"candidates": 3, "eligible": 3, "scored": 3, "admissible": 3}
    assert [set(line) for line in decision["excluded"]] == [{"message", "code", "detail"}] * 2
    assert decision["retryable"] is False


def test_a_send_window_begins_now_in_the_customers_zone_and_ends_after_it_began(caller: Caller) -> None:
    window = caller.decision(caller.customer(timezone="Asia/Tokyo"))["send_window"]
    assert set(window) == {"not_before", "not_after", "timezone", "basis"}
    assert SECOND.fullmatch(window["not_before"])
    assert SECOND.fullmatch(window["not_after"])
    begins, ends = (datetime.fromisoformat(window[edge]) for edge in ("not_before", "not_after"))
    assert abs(begins - datetime.now(UTC)) < timedelta(seconds=5)
    assert begins < ends
    assert window["timezone"] == "Asia/Tokyo"


def test_an_answer_without_a_message_says_so_with_nulls(caller: Caller) -> None:
    decision = caller.decision(caller.stranger())
    assert said(decision) == ("suppress", "suppress", "consent_unknown", None)
    assert [decision[name] for name in ("send_window", "score", "propensity")] == [None] * 3
    assert decision["funnel"] == {"candidates": 3, "eligible": 0, "scored": 0, "admissible": 0}


def test_reasons_against_the_others_are_told_only_when_asked_for(caller: Caller) -> None:
    customer = caller.customer(attributes={"recency": 40, "zip_code": "Rural"})
    assert "excluded" not in caller.decision(customer)
    explained = caller.decision(customer, explain=True)["excluded"]
    assert explained == [
        {"message": "beta", "code": "not_eligible", "detail": "customer.recency <= 12"},
        {"message": "gamma", "code": "not_eligible", "detail": 'customer.zip_code == "Urban"'},
    ]


def test_who_was_outranked_learns_by_whom_and_by_how_much(caller: Caller) -> None:
    decision = caller.decision(caller.customer(), explain=True)
    terms = {c["message"]: c["score"] for c in caller.record(decision["decision_id"])["candidates"]}
    for line in decision["excluded"]:
        by, difference = re.fullmatch(r"by (\w+), by ([0-9.e+-]+)", line["detail"]).groups()  # type: ignore[union-attr]  # it matches, or the test fails
        assert (line["code"], by) == ("outranked", "alpha")
        assert float(difference) == pytest.approx(terms["alpha"] - terms[line["message"]], rel=1e-4)


def test_every_step_is_timed_in_the_order_of_the_way(caller: Caller) -> None:
    timing = caller.ask({"user_id": "a_user_without_a_link"}).headers["server-timing"]
    entries = re.findall(r"(\w+);dur=(\d+\.\d+)", timing)
    assert [name for name, _ in entries] == [step.value for step in Step]
    assert len(Step) == 10


@pytest.mark.parametrize("body", [b"{", b"{}", b'{"customer": "c", "placements": ["nowhere"]}'])
def test_refusals_are_timed_too(caller: Caller, body: bytes) -> None:
    assert caller.http.post("/v1/decide", content=body).headers["server-timing"].startswith("admit;dur=")


def test_the_callers_trace_is_in_the_record(caller: Caller) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    answer = caller.ask(caller.customer(), headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    assert caller.record(answer.json()["decisions"][0]["decision_id"])["trace_id"] == trace


@pytest.mark.parametrize("header", ["", "00-zz", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"])
def test_a_malformed_traceparent_starts_a_new_trace(caller: Caller, header: str) -> None:
    answer = caller.ask(caller.customer(), headers={"traceparent": header})
    trace = caller.record(answer.json()["decisions"][0]["decision_id"])["trace_id"]
    assert re.fullmatch(r"[0-9a-f]{32}", trace)
    assert trace not in {"0" * 32, "0af7651916cd43dd8448eb211c80319c"}


def test_the_placements_own_budget_holds_where_the_caller_names_none(caller: Caller) -> None:
    customer = caller.customer()
    assert caller.ask(customer, "weekly", budget_ms=None).json()["budget_ms"] == 500
    assert caller.ask(customer, "weekly", "second", budget_ms=None).json()["budget_ms"] == 400, "one answer serves both"


# Down the ladder


def test_without_a_usable_model_the_best_approved_rule_answers(caller: Caller) -> None:
    decision = caller.decision(caller.customer(), "modelless", explain=True)
    assert said(decision) == ("send", "rules", "rule_ranked", "gamma")
    assert decision["degraded"] == ["model_missing"]
    assert (decision["score"], decision["propensity"]) == (None, 1.0)
    assert decision["funnel"] == {"candidates": 3, "eligible": 3, "scored": 0, "admissible": 3}
    assert why_not(decision) == {"alpha": "outranked", "beta": "outranked"}


def test_a_placement_without_a_model_is_not_degraded_by_having_none(caller: Caller) -> None:
    decision = caller.decision(caller.customer(), "ruled")
    assert said(decision) == ("send", "rules", "rule_ranked", "beta")
    assert decision["degraded"] == []


def test_rules_go_down_the_authored_order_to_the_first_that_is_admissible(caller: Caller) -> None:
    not_for_beta = caller.customer(attributes=ATTRIBUTES | {"recency": 60})
    not_for_gamma = caller.customer(attributes=ATTRIBUTES | {"recency": 60, "zip_code": "Rural"})
    assert said(caller.decision(not_for_beta, "ruled"))[3] == "gamma"
    assert said(caller.decision(not_for_gamma, "ruled"))[3] == "alpha"


def test_a_model_that_may_not_guess_leaves_customers_with_gaps_to_the_rules(caller: Caller) -> None:
    whole = caller.decision(caller.customer(), "gaps")
    assert (whole["rung"], whole["degraded"]) == ("model", [])
    gap = caller.decision(caller.customer(attributes=ATTRIBUTES | {"history": None}), "gaps")
    assert said(gap) == ("send", "rules", "rule_ranked", "alpha")
    assert gap["degraded"] == ["features_missing"]


def test_too_little_confidence_gives_the_message_of_the_winners_category(caller: Caller) -> None:
    decision = caller.decision(caller.customer(), "unsure", explain=True)
    assert said(decision) == ("send", "category", "category_default", "gamma")
    assert decision["degraded"] == ["low_confidence"]
    assert decision["funnel"]["scored"] == 3
    assert decision["score"] is None


def test_a_category_message_that_is_not_admissible_leaves_it_to_the_default(caller: Caller) -> None:
    decision = caller.decision(caller.customer(attributes=ATTRIBUTES | {"zip_code": "Rural"}), "unsure")
    assert said(decision) == ("send", "generic", "placement_default", "alpha")
    assert decision["degraded"] == ["low_confidence"]
    assert said(caller.decision(caller.customer(), "unsure_without_category"))[1] == "generic"


def test_stale_facts_leave_the_low_risk_messages_to_the_rules(caller: Caller, store: Redis) -> None:
    customer = caller.customer()
    assert said(caller.decision(customer, "fresh")) == ("send", "model", "model_ranked", "rich")
    _age(store, customer, "bank", days=2)
    decision = caller.decision(customer, "fresh", explain=True)
    assert said(decision) == ("send", "rules", "rule_ranked", "alpha")
    assert decision["degraded"] == ["features_stale"]
    assert why_not(decision) == {"rich": "stale_feature", "careful": "outranked"}
    assert "balance" in decision["excluded"][0]["detail"]


def test_facts_within_their_contract_are_not_stale(caller: Caller, store: Redis) -> None:
    customer = caller.customer()
    _age(store, customer, "bank", hours=23)
    assert said(caller.decision(customer, "fresh"))[1] == "model"


def test_facts_that_no_rule_of_the_placement_reads_may_be_as_old_as_they_like(caller: Caller, store: Redis) -> None:
    customer = caller.customer()
    _age(store, customer, "bank", days=400)
    assert caller.decision(customer, "weekly")["degraded"] == []


def _age(store: Redis, customer: str, owner: str, **age: float) -> None:
    """As if the source had last written that long ago."""
    at_ms = int((datetime.now(UTC) - timedelta(**age)).timestamp() * 1000)
    (profile,) = store.scan_iter(f"*:p:{customer}", count=10_000)
    field = store.hget("ctl:fields", f"o:{owner}")
    assert store.hset(profile, b"@" + field, at_ms) == 0, "the source had written before"  # type: ignore[operator]  # redis-py names the type of two clients in one


def test_a_missing_attribute_leaves_its_message_out_and_is_named(caller: Caller) -> None:
    decision = caller.decision(caller.customer(attributes={}), explain=True)
    details = {line["message"]: (line["code"], line["detail"]) for line in decision["excluded"]}
    assert details["beta"] == ("not_eligible", "customer.recency <= 12 (`customer.recency` is missing)")
    assert details["gamma"][0] == "not_eligible"
    assert "`customer.zip_code` is missing" in details["gamma"][1]
    assert said(decision) == ("send", "model", "model_ranked", "alpha")


def test_messages_are_sent_only_while_they_are_valid(caller: Caller) -> None:
    decision = caller.decision(caller.customer(), "seasonal", explain=True)
    assert said(decision)[3] == "evergreen"
    assert decision["excluded"] == [
        {"message": "past", "code": "not_valid_now", "detail": "valid until 2021-01-01T00:00:00Z"},
        {"message": "coming", "code": "not_valid_now", "detail": "valid from 2999-01-01T00:00:00Z"},
    ]


def test_a_message_may_need_a_consent_of_its_own_beside_its_placements(caller: Caller) -> None:
    silent = caller.customer()
    refused = caller.decision(silent, "joint", explain=True)
    assert said(refused)[3] == "alpha"
    assert refused["excluded"] == [
        {"message": "partner", "code": "not_eligible", "detail": "consent for partners is unknown"}
    ]
    agreed = caller.customer(consent=[*EVERYTHING_ALLOWED, consent("partners")])
    assert said(caller.decision(agreed, "joint"))[3] == "partner"


# The gate

NOBODY_SAID = {"DE": None, "FR": None, "US": "opt_out in US", "CA": "opt_out in CA"}


@pytest.mark.parametrize("region", ["DE", "US", "CA", None])
@pytest.mark.parametrize("state", ["granted", "denied", "unknown"])
def test_marketing_needs_a_permission_to_contact(caller: Caller, state: str, region: str | None) -> None:
    said_of_contact = [] if state == "unknown" else [consent("marketing", state, "email")]
    customer = caller.customer(consent=[*said_of_contact, consent("personalisation")], region=region, timezone=None)
    decision = caller.decision(customer)
    ground = NOBODY_SAID.get(region or "")
    if state == "granted" or (state == "unknown" and ground):
        assert said(decision)[:2] == ("send", "model")
        assert decision.get("detail") == (f"contact: {ground}" if state == "unknown" else None)
    else:
        assert said(decision) == ("suppress", "suppress", f"consent_{state}", None)
        assert (decision["retryable"], decision["degraded"]) == (False, [])


@pytest.mark.parametrize("region", ["DE", "US", "CA", None])
@pytest.mark.parametrize("state", ["granted", "denied", "unknown"])
def test_without_leave_to_personalise_the_default_goes_out(caller: Caller, state: str, region: str | None) -> None:
    said_of_it = [] if state == "unknown" else [consent("personalisation", state)]
    customer = caller.customer(consent=[consent("marketing"), *said_of_it], region=region, timezone=None)
    decision = caller.decision(customer, explain=True)
    if state == "granted" or (state == "unknown" and region == "US"):
        assert said(decision)[:2] == ("send", "model")
        assert decision.get("detail") == ("personalisation: opt_out in US" if state == "unknown" else None)
    else:
        assert said(decision) == ("send", "generic", "placement_default", "alpha")
        assert decision["degraded"] == ["no_personalisation"]
        assert decision["funnel"]["scored"] == 0
        assert why_not(decision) == {"beta": "not_eligible", "gamma": "not_eligible"}


@pytest.mark.parametrize("region", ["DE", "US", None])
@pytest.mark.parametrize("state", ["granted", "denied", "unknown"])
def test_transactional_mail_needs_no_consent_to_marketing(caller: Caller, state: str, region: str | None) -> None:
    said_of_contact = [] if state == "unknown" else [consent("marketing", state)]
    decision = caller.decision(caller.customer(consent=said_of_contact, region=region, timezone=None), "parcel")
    assert said(decision)[0] == "send"
    assert said(decision)[3] == "thanks"


@pytest.mark.parametrize("reason", list(SuppressionReason))
def test_a_suppression_stops_marketing_whatever_was_consented(caller: Caller, reason: SuppressionReason) -> None:
    customer = caller.customer()
    _suppress(caller, customer, "*", reason)
    assert said(caller.decision(customer)) == ("suppress", "suppress", f"suppressed:{reason.value}", None)
    assert said(caller.decision(customer, "push"))[2] == f"suppressed:{reason.value}"


@pytest.mark.parametrize("reason", list(SuppressionReason))
def test_only_bounced_erased_and_hand_stopped_customers_get_no_receipt(
    caller: Caller, reason: SuppressionReason
) -> None:
    customer = caller.customer()
    _suppress(caller, customer, "*", reason)
    action = caller.decision(customer, "receipt")["action"]
    assert action == ("suppress" if reason.value in {"hard_bounce", "manual", "erased"} else "send")
    assert (reason in STOPS_TRANSACTIONAL) == (action == "suppress")


def test_a_suppression_of_one_channel_leaves_the_others_open(caller: Caller) -> None:
    customer = caller.customer()
    _suppress(caller, customer, "email", SuppressionReason.HARD_BOUNCE)
    assert said(caller.decision(customer, "weekly"))[2] == "suppressed:hard_bounce"
    assert caller.decision(customer, "push")["action"] == "send"
    assert caller.decision(customer, "receipt")["action"] == "suppress"
    assert caller.decision(customer, "parcel")["action"] == "send"


def _suppress(caller: Caller, customer: str, scope: str, reason: SuppressionReason) -> None:
    body = {"reason": reason.value, "source": "support_desk"}
    assert caller.http.put(f"/v1/customers/{customer}/suppressions/{scope}", json=body).status_code == 200


def test_a_stranger_is_decided_by_what_their_region_makes_of_silence(caller: Caller) -> None:
    assert said(caller.decision(caller.stranger(), context={"region": "DE"}))[2] == "consent_unknown"
    assert said(caller.decision(caller.stranger(), context={"region": "CA"})) == (
        "send", "generic", "placement_default", "alpha",
    )  # fmt: skip
    assert caller.decision(caller.stranger(), context={"region": "US"})["action"] == "send"
    assert caller.decision(caller.stranger(), context={})["action"] == "suppress"


def test_the_profiles_region_zone_and_language_beat_the_callers(caller: Caller) -> None:
    customer = caller.customer(consent=[], region="DE", timezone="Europe/Berlin", language="de")
    claimed = {"region": "US", "timezone": "America/New_York", "language": "en"}
    decision = caller.decision(customer, context=claimed)
    assert said(decision)[2] == "consent_unknown", "a caller must not talk a customer into an opt-out region"
    facts = caller.record(decision["decision_id"])["facts"]
    assert [facts[name] for name in claimed] == ["DE", "Europe/Berlin", "de"]
    stranger = caller.decision(caller.stranger(), context=claimed)
    assert [caller.record(stranger["decision_id"])["facts"][name] for name in claimed] == list(claimed.values())


# Limits


@pytest.mark.parametrize(("placement", "at_most"), [("never", 0), ("once", 1), ("twice", 2), ("thrice", 3)])
def test_no_limit_is_exceeded_and_the_answer_says_which_is_reached(
    caller: Caller, placement: str, at_most: int
) -> None:
    customer = caller.customer()
    sent = [caller.decision(customer, placement) for _ in range(at_most)]
    assert [decision["action"] for decision in sent] == ["send"] * at_most
    over = caller.decision(customer, placement, explain=True)
    assert said(over)[0] == "suppress"
    assert said(over)[2] == "no_admissible_message"
    assert over["funnel"]["admissible"] == 0
    assert over["propensity"] is None
    (line,) = over["excluded"]
    assert line["code"] == "limit_reached"
    assert f"_of_{placement}: {at_most} of {at_most} in " in line["detail"]


def test_suppressed_answers_are_no_contacts(caller: Caller, store: Redis) -> None:
    customer = caller.customer()
    caller.decision(customer, "once")
    ledger = f"*:l:{customer}"
    (key,) = store.scan_iter(ledger, count=10_000)
    assert store.zcard(key) == 1
    caller.decision(customer, "once")
    assert store.zcard(key) == 1


def test_no_marketing_limit_binds_transactional_mail(caller: Caller) -> None:
    customer = caller.customer()
    assert caller.decision(customer, "daily")["action"] == "send"
    assert caller.decision(customer, "daily")["action"] == "suppress"
    assert [caller.decision(customer, "parcel")["action"] for _ in range(3)] == ["send"] * 3, "by sms, too"


def test_a_contact_that_reaches_into_tomorrow_counts_there(caller: Caller, store: Redis) -> None:
    """A reservation in the future stands in the way of another on its day, and not of one today."""
    customer = caller.customer(timezone="UTC")
    caller.decision(customer, "daily")
    (key,) = store.scan_iter(f"*:l:{customer}", count=10_000)
    ((member, at_ms),) = store.zrange(key, 0, -1, withscores=True)
    store.zadd(key, {member: at_ms + 3 * 86_400_000})
    assert caller.decision(customer, "daily")["action"] == "send"
