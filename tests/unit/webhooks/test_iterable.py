"""Iterable: a header that is compared whole, machines, and what was unsubscribed."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from app.core.webhooks.provider import Aside, Delivery, Said, Trust, Untrusted
from app.core.webhooks.providers.iterable import BOUNCE, OUTCOMES, PROVIDER
from policy.codes import OutcomeType, SuppressionReason
from tests.support.webhooks.payloads import PAYLOADS

TOKEN = "J1qK1c18UUGJFAzz9xnH56584l4"
DECISION = "dec_01119bf0c5f4001a2b3c4d5e6f00"


def read(name: str, **fields: Any) -> Said:
    fields = {"createdAt": "2016-12-02 20:21:04 +00:00", "messageId": "d0aa7801f91f4824997a631f3ed583c3", **fields}
    (found,) = PROVIDER.read({"email": "jane@example.com", "eventName": name, "dataFields": fields})
    return found


def verify(authorization: str, trust: Trust) -> None:
    PROVIDER.verify(Delivery(b"{}", {"authorization": authorization}, 0.0), trust)


def test_the_whole_header_is_compared() -> None:
    trust = Trust(secrets=("rotated", TOKEN))
    verify(TOKEN, trust)
    verify("rotated", trust)
    for wrong in (f"Basic {TOKEN}", f"Bearer {TOKEN}", f"OAuth2 {TOKEN}", TOKEN[:-1], TOKEN + "4", "", "ü"):
        with pytest.raises(Untrusted):
            verify(wrong, trust)


def test_oauth2_is_configured_with_its_word() -> None:
    trust = Trust(secrets=(f"OAuth2 {TOKEN}",))
    verify(f"OAuth2 {TOKEN}", trust)
    with pytest.raises(Untrusted):
        verify(TOKEN, trust)


def test_basic_credentials_can_be_a_header_of_ones_own() -> None:
    trust = Trust(basic=("hooks:correct horse",))
    verify("Basic " + base64.b64encode(b"hooks:correct horse").decode(), trust)
    for wrong in ("Basic " + base64.b64encode(b"hooks:wrong").decode(), "hooks:correct horse"):
        with pytest.raises(Untrusted):
            verify(wrong, trust)


@pytest.mark.parametrize(
    ("fields", "machine"),
    [
        ({"isBot": True}, True),
        ({"isBot": "true"}, True),
        ({"proxySource": "Gmail"}, True),
        ({"isBot": False, "proxySource": None}, False),
        ({}, False),
    ],
)
def test_bots_and_proxies_are_machines(fields: dict[str, Any], machine: bool) -> None:
    assert read("emailOpen", **fields).machine is machine


def test_a_bounce_is_hard_where_the_recipients_state_says_so() -> None:
    assert read(BOUNCE, recipientState="HardBounce").type is OutcomeType.BOUNCED_HARD
    for state in ("SoftBounce", "Unknown", None):
        assert read(BOUNCE, recipientState=state).type is OutcomeType.BOUNCED_SOFT


@pytest.mark.parametrize(
    ("fields", "scope"),
    [
        ({"channelIds": [27447], "messageTypeIds": [], "emailListIds": []}, "channel:27447"),
        ({"messageTypeIds": [1, 2]}, "message_type:1,message_type:2"),
        ({"channelIds": [], "messageTypeIds": [], "emailListIds": None}, "all"),
        ({}, "all"),
    ],
)
def test_an_unsubscribe_names_what_it_is_from(fields: dict[str, Any], scope: str) -> None:
    assert read("emailUnSubscribe", **fields).scope == scope


def test_a_reply_by_sms_ends_sms() -> None:
    assert read("emailUnSubscribe", unsubSource="SMS").channel == "sms"
    assert read("emailUnSubscribe", unsubSource="EmailLink").channel == "email"


def test_a_hosted_unsubscribe_is_from_all_and_no_click() -> None:
    hosted = read("hostedUnsubscribeClick", url="https://shop.example.com")
    assert (hosted.type, hosted.scope, hosted.url) == (OutcomeType.UNSUBSCRIBED, "all", None)


def test_a_skip_copies_the_suppression_that_it_names() -> None:
    assert read("emailSendSkip", reason="UserUnsubscribed").suppressed is SuppressionReason.UNSUBSCRIBED
    assert read("emailSendSkip", reason="HardBounce").suppressed is SuppressionReason.HARD_BOUNCE
    assert read("emailSendSkip", reason="DuplicateMarketingMessage").suppressed is None


def test_the_decision_rides_in_the_fields_of_the_send_or_in_the_link() -> None:
    assert read("emailSend", decision_id=DECISION).decision_id == DECISION
    assert read("emailSend", transactionalData={"decision_id": DECISION}).decision_id == DECISION
    assert read("emailClick", linkUrl=f"https://shop.example.com/?did={DECISION}").decision_id == DECISION


def test_events_have_no_id_of_their_own() -> None:
    assert read("emailOpen").event_id is None


def test_what_is_no_email_is_ignored_and_what_is_new_is_kept() -> None:
    for name in ("inAppOpen", "pushSend", "smsReceived", "webPushClick", "embeddedClick", "journeyExit"):
        assert read(name).type is Aside.IGNORED
    assert read("emailTeleport").type is Aside.UNKNOWN


def test_every_event_of_the_table_is_in_a_payload() -> None:
    told = {orjson.loads(each.read_bytes())["eventName"] for each in (PAYLOADS / "iterable").glob("*.json")}
    assert set(OUTCOMES) | {BOUNCE} <= told
