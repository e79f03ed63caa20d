"""Telling what happened to a message: what callers may say, what they are answered, what comes of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from policy.codes import OutcomeType
from tests.support.contract import Caller, problem, why_not

#: What an id looks like; nothing was ever decided under it.
KNOWN_FORM = "dec_0110197a1c2b3c4d5e6f70819200"


def tell(caller: Caller, decision_id: str, what: str, **more: Any) -> dict[str, Any]:
    answer = caller.http.post(f"/v1/decisions/{decision_id}/outcomes", json={"type": what} | more)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def refused(caller: Caller, body: Any, status: int, code: str, decision_id: str = "") -> dict[str, Any]:
    decision_id = decision_id or sent(caller)
    answer = caller.http.post(f"/v1/decisions/{decision_id}/outcomes", json=body)
    return problem(answer, status, code)


def sent(caller: Caller, customer: str = "", placement: str = "weekly") -> str:
    """The id of a decision that sends."""
    decision = caller.decision(customer or caller.customer(), placement)
    assert decision["action"] == "send"
    return str(decision["decision_id"])


def iso_in(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def test_an_outcome_is_answered_with_what_was_made_of_it(caller: Caller) -> None:
    decision_id = sent(caller)
    at = datetime.now(UTC)
    told = tell(caller, decision_id, "clicked", at=at.isoformat(), event_id="evt_1")
    assert told["decision_id"] == decision_id
    assert (told["type"], told["applied"], told["duplicate"]) == ("clicked", True, False)
    assert told["effects"] == ["contact_sent", "contact_engaged"]
    assert abs(datetime.fromisoformat(told["at"]) - at) < timedelta(seconds=1)
    again = tell(caller, decision_id, "clicked", event_id="evt_1")
    assert (again["applied"], again["duplicate"], again["effects"], again["at"]) == (False, True, [], told["at"])


@pytest.mark.parametrize("what", list(OutcomeType))
def test_every_type_of_outcome_is_accepted(caller: Caller, what: OutcomeType) -> None:
    assert tell(caller, sent(caller), what)["type"] == what


@pytest.mark.parametrize(
    ("what", "reason"),
    [("bounced_hard", "hard_bounce"), ("complained", "complaint"), ("unsubscribed", "unsubscribed")],
)
def test_a_stop_that_was_answered_holds_for_the_next_decision(caller: Caller, what: str, reason: str) -> None:
    customer = caller.customer()
    assert "suppressed" in tell(caller, sent(caller, customer), what)["effects"]
    decision = caller.decision(customer)
    assert (decision["action"], decision["reason"]) == ("suppress", f"suppressed:{reason}")


def test_what_was_not_sent_makes_room_at_once(caller: Caller) -> None:
    customer = caller.customer()
    first = sent(caller, customer, "once")
    assert set(why_not(caller.decision(customer, "once", explain=True)).values()) == {"limit_reached"}
    tell(caller, first, "not_sent")
    assert caller.decision(customer, "once")["action"] == "send"


def test_a_sending_that_comes_late_takes_its_room_again(caller: Caller) -> None:
    customer = caller.customer()
    first = sent(caller, customer, "once")
    tell(caller, first, "not_sent")
    tell(caller, first, "sent")
    assert set(why_not(caller.decision(customer, "once", explain=True)).values()) == {"limit_reached"}


def test_subscribing_again_lets_decisions_send_again(caller: Caller) -> None:
    customer = caller.customer()
    decision_id = sent(caller, customer)
    tell(caller, decision_id, "unsubscribed", scope="all")
    assert caller.decision(customer)["reason"] == "suppressed:unsubscribed"
    assert tell(caller, decision_id, "resubscribed", scope="all")["effects"] == ["suppression_lifted"]
    assert caller.decision(customer)["action"] == "send"


def test_a_stop_is_in_the_customer_s_history_with_the_sender_s_words(caller: Caller) -> None:
    customer = caller.customer()
    tell(caller, sent(caller, customer), "bounced_hard", reason="550 5.1.1 no such user")
    history = caller.http.get(f"/v1/customers/{customer}/history").json()
    assert "550 5.1.1 no such user" in str(history)
    assert "hard_bounce" in str(history)


def test_a_bounce_whose_reason_names_an_address_is_taken_and_the_reason_is_not(caller: Caller) -> None:
    customer = caller.customer()
    told = tell(caller, sent(caller, customer), "bounced_hard", reason="550 <someone@example.com>: no such user")
    assert "suppressed" in told["effects"]
    assert "someone" not in caller.http.get(f"/v1/customers/{customer}/history").text


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"type": "bounced"}, "bounced_hard"),
        ({"type": "exploded"}, "'opened'"),
        ({}, "required"),
        ({"type": "opened", "value": 1.0}, "`value` belongs to `converted` only"),
        ({"type": "sent", "machine": True}, "`machine` belongs to `opened` and `clicked` only"),
        ({"type": "complained", "scope": "all"}, "`scope` belongs to `unsubscribed` and `resubscribed` only"),
        ({"type": "converted", "value": "12"}, "number"),
        ({"type": "opened", "at": "2026-01-01T00:00:00"}, "timezone"),
        ({"type": "opened", "event_id": ""}, "pattern"),
        ({"type": "opened", "colour": 1}, "not permitted"),
        ([{"type": "opened"}], "an object"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_remedy(caller: Caller, body: Any, words: str) -> None:
    found = refused(caller, body, 422, "invalid_request")
    assert words in str(found["errors"]), found


def test_a_value_is_a_finite_number_and_may_be_a_refund(caller: Caller) -> None:
    decision_id = sent(caller)
    path = f"/v1/decisions/{decision_id}/outcomes"
    for odd in ("NaN", "Infinity", "1e999"):
        answer = caller.http.post(path, content=f'{{"type": "converted", "value": {odd}}}')
        assert answer.status_code in (400, 422), answer.text
    assert tell(caller, decision_id, "converted", value=-12.5)["applied"]


def test_the_future_is_refused_and_a_clock_a_little_ahead_is_not(caller: Caller) -> None:
    refused(caller, {"type": "sent", "at": iso_in(60)}, 422, "future_time")
    assert tell(caller, sent(caller), "sent", at=iso_in(2))["applied"]


def test_outcomes_of_what_is_not_remembered_are_404(caller: Caller) -> None:
    refused(caller, {"type": "sent"}, 404, "not_found", "dec_1")
    refused(caller, {"type": "sent"}, 404, "decision_expired", KNOWN_FORM)


def test_what_sent_nothing_has_no_outcomes(caller: Caller) -> None:
    decision = caller.decision(caller.customer(consent=[]))
    assert decision["action"] == "suppress"
    refused(caller, {"type": "sent"}, 409, "nothing_sent", decision["decision_id"])


def test_a_body_that_is_no_json_is_400(caller: Caller) -> None:
    answer: httpx.Response = caller.http.post(f"/v1/decisions/{sent(caller)}/outcomes", content="{")
    problem(answer, 400, "malformed_json")


def test_the_record_shows_how_far_what_was_sent_has_come(caller: Caller) -> None:
    decision_id = sent(caller)

    def shown() -> Any:
        return caller.http.get(f"/v1/decisions/{decision_id}").json()["outcomes"]

    assert shown() == {"stage": "reserved", "told": 0}
    tell(caller, decision_id, "clicked")
    assert (shown()["stage"], shown()["told"]) == ("clicked", 1)
    assert shown()["responded_at"] == shown()["engaged_at"]
    tell(caller, decision_id, "delivered")  # less than two seconds before it is clicked: a scanner did
    assert (shown()["stage"], shown()["told"]) == ("delivered", 2)
    assert "engaged_at" not in shown()
    assert "reward" not in shown(), "its window is open"


def test_the_record_of_what_sent_nothing_has_no_outcomes(caller: Caller) -> None:
    decision = caller.decision("nobody-knows-1", "weekly")
    assert decision["action"] == "suppress"
    assert caller.http.get(f"/v1/decisions/{decision['decision_id']}").json()["outcomes"] is None
