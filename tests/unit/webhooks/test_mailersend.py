"""MailerSend's two shapes, its ping, and opens that are told twice."""

from __future__ import annotations

import hmac
from typing import Any

import orjson
import pytest

from app.core.webhooks.provider import Aside, Delivery, Said, Trust, Untrusted
from app.core.webhooks.providers.mailersend import OUTCOMES, PING_SECRET, PROVIDER
from policy.codes import OutcomeType
from tests.support.webhooks.mailersend import SAMPLE, signed
from tests.support.webhooks.payloads import payload

NOW_S = 1_677_540_000.0
SECRET = SAMPLE.trust.secrets[0]
PING = payload("mailersend", "webhook_test.json")


def said(name: str) -> Said:
    (item,) = PROVIDER.items(Delivery(payload("mailersend", name), {}, NOW_S))
    (found,) = PROVIDER.read(item)
    return found


def verify(body: bytes, secret: str, trust: Trust = SAMPLE.trust) -> None:
    PROVIDER.verify(Delivery(body, signed(body, secret, NOW_S), NOW_S), trust)


def flat(kind: str, **data: Any) -> Said:
    document = {
        "type": f"activity.{kind}",
        "created_at": "2025-08-05T21:23:54.000000Z",
        "data": {"id": "6892766a5b66e2daf3dc9155", "email": "jane@example.com", "tags": [], "meta": [], **data},
    }
    (found,) = PROVIDER.read(document)
    return found


def test_both_shapes_say_the_same_of_a_mail() -> None:
    nested, flat = said("nested_sent.json"), said("flat_sent.json")
    for each in (nested, flat):
        assert (each.type, each.raw_type) == (OutcomeType.SENT, "sent")
        assert None not in (each.recipient, each.message_id, each.event_id, each.at_ms)
        assert each.decision_id == "dec_01119bf0c5f4001a2b3c4d5e6f00"


def test_the_ping_is_taken_with_the_public_secret_or_our_own() -> None:
    verify(PING, PING_SECRET)
    verify(PING, SECRET)
    assert said("webhook_test.json").type is Aside.IGNORED  # and it has no `data`


def test_the_public_secret_proves_nothing_else() -> None:
    forged = (
        SAMPLE.body,
        orjson.dumps({"type": "activity.spam_complaint", "data": {"note": "webhook.test"}}),
        orjson.dumps([{"type": "webhook.test"}]),
        b'{"type": "webhook.test"',
        orjson.dumps({"type": "webhook.test", "padding": "x" * 5000}),
    )
    for body in forged:
        with pytest.raises(Untrusted):
            verify(body, PING_SECRET)


def test_a_ping_that_anybody_signed_is_refused() -> None:
    with pytest.raises(Untrusted):
        verify(PING, "anybody's")


def test_slashes_are_verified_as_they_were_escaped() -> None:
    assert rb"\/" in SAMPLE.body
    verify(SAMPLE.body, SECRET)
    unescaped = SAMPLE.body.replace(rb"\/", b"/")
    headers = {"signature": hmac.digest(SECRET.encode(), SAMPLE.body, "sha256").hex()}
    with pytest.raises(Untrusted):
        PROVIDER.verify(Delivery(unescaped, headers, NOW_S), SAMPLE.trust)


@pytest.mark.parametrize("look", ["opened", "clicked"])
def test_a_first_look_counts_once_in_the_flat_shape(look: str) -> None:
    each, first = said(f"flat_{look}.json"), said(f"flat_{look}_unique.json")
    assert each.raw_type != first.raw_type
    assert (each.type, each.event_id) == (first.type, first.event_id)


def test_a_first_look_counts_once_in_the_nested_shape() -> None:
    document = orjson.loads(payload("mailersend", "nested_opened.json"))
    twin = {**document, "type": "activity.opened_unique"}
    twin["data"] = {**document["data"], "type": "opened_unique", "id": "63fd1e05532bd6cc700a793c"}
    twin["data"]["created_at"] = "2023-02-27T21:17:58.000001Z"  # written after the second was over
    assert PROVIDER.read(document)[0].event_id == PROVIDER.read(twin)[0].event_id


def test_looks_apart_are_told_apart() -> None:
    mail = {"email_id": "6892766a8d52ba62543d5e71"}
    seen = {
        flat("opened", **mail).event_id,
        flat("opened", **mail, created_at="2025-08-05T21:23:55.000000Z").event_id,
        flat("opened", email_id="6892766a8d52ba62543d5e72").event_id,
        flat("clicked", **mail).event_id,
        flat("clicked", **mail, meta={"url": "https://shop.example.com/a"}).event_id,
        flat("clicked", **mail, meta={"url": "https://shop.example.com/b"}).event_id,
    }
    assert len(seen) == 6


def test_an_address_in_a_link_is_not_in_the_event_id() -> None:
    clicked = flat("clicked", email_id="1", meta={"url": "https://shop.example.com/?email=jane@example.com"})
    assert "example" not in str(clicked.event_id)


def test_a_time_without_a_zone_is_utc() -> None:
    with_zone = flat("sent", created_at="2025-08-05T22:27:14.000000Z")
    assert flat("sent", created_at="2025-08-05 22:27:14").at_ms == with_zone.at_ms == 1_754_432_834_000


def test_a_hold_is_a_drop_and_its_end_is_nothing() -> None:
    held = said("on_hold_added.json")
    assert (held.type, held.recipient, held.suppressed) == (OutcomeType.DROPPED, "test@example.com", None)
    assert said("on_hold_removed.json").type is Aside.IGNORED


def test_an_event_without_data_is_rejected() -> None:
    with pytest.raises(LookupError):
        PROVIDER.read({"type": "activity.sent", "created_at": "2025-08-05T21:23:54.000000Z"})


def test_a_new_activity_is_kept_as_unknown() -> None:
    assert flat("teleported").type is Aside.UNKNOWN


@pytest.mark.parametrize("kind", sorted(OUTCOMES))
def test_every_event_of_the_table_is_read_in_the_flat_shape(kind: str) -> None:
    assert flat(kind).type is OUTCOMES[kind]
