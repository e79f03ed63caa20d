"""Braze: a token, drops that call themselves bounces, and machines that are named in a text."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.core.webhooks.provider import Aside, Delivery, Said, Trust, Unreadable, Untrusted
from app.core.webhooks.providers.braze import OUTCOMES, PREFIX, PROVIDER
from policy.codes import OutcomeType, SuppressionReason
from tests.support.webhooks.payloads import payload

DECISION = "dec_01119bf0c5f4001a2b3c4d5e6f00"
TOKEN = "0p3n5354m3=="


def read(name: str, **properties: Any) -> Said:
    item = {
        "event_type": PREFIX + name,
        "id": "a1234567-89ab-cdef-0123-456789abcdef",
        "time": 1477502783,
        "user": {"user_id": "0123456789abcdef01234567"},
        "properties": {"email_address": "jane@example.com", "dispatch_id": "12345qwert", **properties},
    }
    (found,) = PROVIDER.read(item)
    return found


def verify(authorization: str) -> None:
    PROVIDER.verify(Delivery(b"{}", {"authorization": authorization}, 0.0), Trust(secrets=("rotated", TOKEN)))


def test_the_token_is_a_bearers() -> None:
    verify(f"Bearer {TOKEN}")
    verify("bearer rotated")
    for wrong in (TOKEN, f"Basic {TOKEN}", "Bearer", "Bearer ", "Bearer 0th3r", f"Bearer {TOKEN[:-1]}", ""):
        with pytest.raises(Untrusted):
            verify(wrong)


def test_a_stranger_is_answered_401_since_403_says_nothing_more() -> None:
    assert (PROVIDER.statuses.untrusted, PROVIDER.statuses.challenge) == (401, False)


@pytest.mark.parametrize(
    ("is_drop", "kind"),
    [
        (True, OutcomeType.DROPPED),
        ("true", OutcomeType.DROPPED),
        (False, OutcomeType.BOUNCED_HARD),
        ("false", OutcomeType.BOUNCED_HARD),
        (None, OutcomeType.BOUNCED_HARD),
    ],
)
def test_a_bounce_that_was_never_tried_is_a_drop(is_drop: Any, kind: OutcomeType) -> None:
    assert read("Bounce", is_drop=is_drop).type is kind


def test_a_drop_copies_the_suppression_that_it_names() -> None:
    assert read("Bounce", is_drop=True, bounce_reason="Spam Reporting Address").suppressed is (
        SuppressionReason.COMPLAINT
    )
    assert read("Bounce", is_drop=False, bounce_reason="Spam Reporting Address").suppressed is None
    assert read("Abort", abort_log="out of stock").suppressed is None


@pytest.mark.parametrize("machine_open", ["true", "TRUE", "Apple", "Google", True])
def test_a_machine_is_named_in_a_text(machine_open: Any) -> None:
    assert read("Open", machine_open=machine_open).machine


@pytest.mark.parametrize("machine_open", [None, "", "false", "null", False, 0])
def test_a_person_is_not_named(machine_open: Any) -> None:
    assert not read("Open", machine_open=machine_open).machine


def test_extras_are_json_text_that_rides_on_sends_only() -> None:
    sent = read("Send", message_extras=orjson.dumps({"decision_id": DECISION}).decode())
    assert sent.decision_id == DECISION
    for extras in ("", "{", "[]", '{"decision_id": 7}', None, {"decision_id": "other"}):
        assert read("Send", message_extras=extras).decision_id is None


def test_later_events_are_the_same_mail_by_dispatch_and_user() -> None:
    sent, opened = read("Send"), read("Open")
    assert sent.message_id == opened.message_id is not None
    assert read("Open", dispatch_id=None).message_id is None  # a user alone is no mail
    assert read("Open", dispatch_id="67890qwert").message_id != sent.message_id


def test_a_click_finds_its_decision_in_the_link() -> None:
    assert read("Click", url=f"https://shop.example.com/offer?x=1&did={DECISION}").decision_id == DECISION


def test_what_is_no_email_is_ignored_and_what_is_new_is_kept() -> None:
    assert read("Levitate").type is Aside.UNKNOWN
    (push,) = PROVIDER.read({"event_type": "users.messages.pushnotification.Bounce"})
    assert push.type is Aside.IGNORED


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"events": null}', b'{"events": {}}'])
def test_what_is_no_batch_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        PROVIDER.items(Delivery(body, {}, 0.0))


def test_every_event_of_the_table_is_in_a_payload() -> None:
    told = {each["event_type"] for each in orjson.loads(payload("braze", "batch.json"))["events"]}
    assert {PREFIX + each for each in OUTCOMES} <= told
