"""What Mailjet is taken by, and what its events say."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.core.webhooks.provider import Aside, Delivery, Said, Unreadable, Untrusted
from app.core.webhooks.providers.mailjet import EVENTS, PROVIDER
from policy.codes import OutcomeType, SuppressionReason
from tests.support.webhooks.credentials import basic
from tests.support.webhooks.mailjet import SAMPLE
from tests.support.webhooks.payloads import PAYLOADS, payload

DECISION = "dec_01119bf0c5f4001a2b3c4d5e6f00"


def read(name: str, **changes: Any) -> Said:
    (said,) = PROVIDER.read(orjson.loads(payload("mailjet", f"{name}.json")) | changes)
    return said


def test_credentials_in_the_address_prove_it() -> None:
    PROVIDER.verify(Delivery(b"{}", basic(SAMPLE.trust.basic[0]), 0), SAMPLE.trust)
    for headers in (basic(SAMPLE.other_secret), {}, {"authorization": "Basic ?"}, {"authorization": "Basic"}):
        with pytest.raises(Untrusted):
            PROVIDER.verify(Delivery(b"{}", headers, 0), SAMPLE.trust)


def test_events_come_grouped_or_alone() -> None:
    """A list where `Version` of the callback is 2, else a bare object, whatever the documentation says."""
    assert len(PROVIDER.items(Delivery(payload("mailjet", "grouped.json"), {}, 0))) == 4
    (alone,) = PROVIDER.items(Delivery(payload("mailjet", "sent.json"), {}, 0))
    assert [said.type for said in PROVIDER.read(alone)] == [OutcomeType.DELIVERED]
    for body in (b"", b"null", b"1", b'"x"'):
        with pytest.raises(Unreadable):
            PROVIDER.items(Delivery(body, {}, 0))


def test_every_event_has_a_payload() -> None:
    bodies = (orjson.loads(file.read_bytes()) for file in (PAYLOADS / "mailjet").glob("*.json"))
    assert {body["event"] for body in bodies if isinstance(body, dict)} >= set(EVENTS)


def test_sent_means_that_it_arrived() -> None:
    assert read("sent").type is OutcomeType.DELIVERED


@pytest.mark.parametrize(
    ("hard", "error", "expected"),
    [
        (True, "user unknown", OutcomeType.BOUNCED_HARD),
        (False, "quota exceeded", OutcomeType.BOUNCED_SOFT),
        (None, "user unknown", OutcomeType.BOUNCED_SOFT),
        (False, "greylisted", OutcomeType.DEFERRED),
        (True, "greylisted", OutcomeType.BOUNCED_HARD),
        (False, None, OutcomeType.BOUNCED_SOFT),
    ],
)
def test_a_bounce_is_what_it_says(hard: bool | None, error: str | None, expected: OutcomeType) -> None:
    assert read("bounce_hard", hard_bounce=hard, error=error).type is expected


def test_a_block_was_not_tried_but_for_greylisting() -> None:
    assert read("blocked").type is OutcomeType.DROPPED
    assert read("blocked_greylisted").type is OutcomeType.DEFERRED
    assert read("blocked").suppressed is None


def test_an_address_that_mailjet_passes_over_is_passed_over() -> None:
    """It "recently (or repeatedly) bounced", of either kind: marketing stops, and what must be sent does not."""
    assert read("blocked_preblocked").suppressed is SuppressionReason.SOFT_BOUNCES
    assert read("bounce_soft", error="preblocked").suppressed is None


def test_a_number_beyond_what_floats_hold_stays_whole() -> None:
    assert read("unsub").message_id == "20547674933128000"
    assert read("sent", MessageID=2**53 + 1).message_id == str(2**53 + 1)
    assert read("sent", MessageID=None).message_id == "19421777835146490"  # its text


@pytest.mark.parametrize(
    "said",
    [
        {"CustomID": DECISION},
        {"CustomID": f"did:{DECISION}"},
        {"CustomID": "", "Payload": f'{{"decision_id": "{DECISION}"}}'},
        {"Payload": {"decision_id": DECISION}},
    ],
)
def test_the_decision_rides_in_custom_id_or_payload(said: dict[str, Any]) -> None:
    assert read("open", **said).decision_id == DECISION


@pytest.mark.parametrize("text", ["", "helloworld", "{", "null", '{"decision_id": 1}', None])
def test_other_payloads_are_the_senders_own(text: str | None) -> None:
    assert read("open", CustomID=text, Payload=text).decision_id is None


def test_a_list_that_was_left_is_named() -> None:
    assert read("unsub").scope == "1"
    assert read("unsub_of_no_list").scope == "all"
    assert read("unsub", mj_list_id=None).scope == "all"


def test_what_is_not_known_is_kept() -> None:
    assert read("unknown_event").type is Aside.UNKNOWN


@pytest.mark.parametrize("broken", [None, 1, "x", [], {"event": "open"}, {"event": "open", "time": "soon"}])
def test_an_item_that_is_none_cannot_be_read(broken: Any) -> None:
    with pytest.raises((LookupError, TypeError, ValueError, AttributeError)):
        PROVIDER.read(broken)
