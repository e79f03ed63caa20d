"""Klaviyo: what is signed, in which order, and topics."""

from __future__ import annotations

import hmac
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from app.core.webhooks.provider import Aside, Delivery, Said, Unreadable, Untrusted
from app.core.webhooks.providers.klaviyo import BOUNCED, OUTCOMES, PREFIX, PROVIDER
from policy.codes import OutcomeType
from tests.support.webhooks.klaviyo import SAMPLE, signed
from tests.support.webhooks.payloads import payload

NOW_S = datetime(2026, 4, 13, 22, 50, 30, tzinfo=UTC).timestamp()
HOUR_S = 3600
SECRET = SAMPLE.trust.secrets[0]


def verify(timestamp: str, content: bytes | None = None) -> None:
    content = SAMPLE.body + timestamp.encode() if content is None else content
    headers = {
        "klaviyo-timestamp": timestamp,
        "klaviyo-signature": hmac.digest(SECRET.encode(), content, "sha256").hex(),
    }
    PROVIDER.verify(Delivery(SAMPLE.body, headers, NOW_S), SAMPLE.trust)


def read(name: str, properties: dict[str, Any] | None = None, **item: Any) -> Said:
    attributes = {"timestamp": 1776118606, "event_properties": properties or {}}
    payload = {"data": {"type": "event", "id": "73WCCK7JKtE", "attributes": attributes}}
    (found,) = PROVIDER.read({"topic": PREFIX + name, "external_id": "73WCCK7JKtE", "payload": payload, **item})
    return found


def test_the_body_comes_before_the_time() -> None:
    timestamp = str(int(NOW_S))
    verify(timestamp)
    for content in (timestamp.encode() + SAMPLE.body, SAMPLE.body, SAMPLE.body + b"." + timestamp.encode()):
        with pytest.raises(Untrusted):
            verify(timestamp, content)


@pytest.mark.parametrize(
    "timestamp",
    [
        "Mon, 13 Apr 2026 22:50:12 GMT",
        "2026-04-13T22:50:12.101159+00:00",
        "2026-04-13T22:50:12Z",
        "1776120612",
        "1776120612000",
        "Tue, 14 Apr 2026 03:50:12 GMT",  # as was seen: a local time that calls itself GMT
    ],
)
def test_the_time_is_read_however_it_is_written(timestamp: str) -> None:
    verify(timestamp)


@pytest.mark.parametrize(
    "timestamp",
    [
        "Sat, 11 Apr 2026 22:50:12 GMT",
        "2026-04-12T21:50:12Z",
        "1576120612",
        "2026-04-15T23:50:12Z",
        "soon",
        "7" * 12,
        "7" * 40,
    ],
)
def test_an_old_a_future_and_no_time_are_refused(timestamp: str) -> None:
    with pytest.raises(Untrusted):
        verify(timestamp)


def test_a_body_of_another_webhook_is_not_read() -> None:
    headers = {**signed(SAMPLE.body, SECRET, NOW_S), "klaviyo-webhook-id": "01KP4928STE8FKCWB6WDHZ4ZB7"}
    with pytest.raises(Unreadable):
        PROVIDER.items(Delivery(SAMPLE.body, headers, NOW_S))


def test_events_are_read_without_what_is_about_the_webhook() -> None:
    without: list[dict[str, Any]] = [{}, {"meta": None}, {"meta": []}, {"meta": {"klaviyo_webhook_id": None}}]
    for meta in without:
        body = orjson.dumps({"data": [], **meta})
        assert PROVIDER.items(Delivery(body, {"klaviyo-webhook-id": "01KP4928STE8FKCWB6WDHZ4ZB7"}, NOW_S)) == []


@pytest.mark.parametrize(
    ("properties", "kind"),
    [
        ({"Bounce Type": "Hard"}, OutcomeType.BOUNCED_HARD),
        ({"Bounce Type": "hard bounce"}, OutcomeType.BOUNCED_HARD),
        ({"Bounce Type": "Soft", "Bounce Reason": "550 5.1.1 unknown"}, OutcomeType.BOUNCED_SOFT),
        ({"Bounce Reason": "550 5.1.1 unknown"}, OutcomeType.BOUNCED_HARD),
        ({}, OutcomeType.BOUNCED_SOFT),
    ],
)
def test_hard_or_soft_stands_in_a_property(properties: dict[str, Any], kind: OutcomeType) -> None:
    assert read(BOUNCED, properties).type is kind


@pytest.mark.parametrize(
    ("topic", "kind"),
    [
        (PREFIX + "read_minds", Aside.UNKNOWN),
        (PREFIX + "sent_sms", Aside.IGNORED),
        (PREFIX + "unsubscribed_from_sms_marketing", Aside.IGNORED),
        (PREFIX + "bounced_push", Aside.IGNORED),
        (PREFIX + "submitted_review", Aside.IGNORED),
        ("event:api.viewed_product", Aside.IGNORED),
        ("event:shopify.placed_order", Aside.IGNORED),
    ],
)
def test_topics_that_are_no_mail_change_nothing(topic: str, kind: Aside) -> None:
    assert read("", topic=topic).type is kind


def test_the_address_may_stand_in_the_included_profile_only() -> None:
    profile = {"type": "profile", "id": "01KP4EGHH8QJ3N3AY2Z6V7RMDK", "attributes": {"email": "jane@example.com"}}
    document = {
        "data": {"attributes": {"datetime": "2026-04-13T22:16:46+00:00"}},
        "included": [None, {"type": "metric"}, profile],
    }
    assert read("unsubscribed_from_email_marketing", payload=document).recipient == "jane@example.com"


def test_a_message_is_one_mail_only_with_the_profile() -> None:
    assert read("opened_email", {"$message": "01HZX3QJ0T"}).message_id is None


def test_every_topic_of_the_table_is_read() -> None:
    told = {each["topic"] for each in orjson.loads(payload("klaviyo", "batch.json"))["data"]}
    told |= {each["topic"] for each in orjson.loads(payload("klaviyo", "unsubscribed.json"))["data"]}
    assert {PREFIX + each for each in OUTCOMES} - told == {PREFIX + "email_delivered"}
    assert read("email_delivered").type is OutcomeType.DELIVERED
