"""What Mailtrap is taken by, and how its deliveries come apart."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from app.core.webhooks.provider import Delivery, Said, Trust, Unreadable, Untrusted
from app.core.webhooks.providers.mailtrap import OUTCOMES, PROVIDER
from policy.codes import OutcomeType, SuppressionReason
from tests.support.webhooks.mailtrap import SAMPLE, signed
from tests.support.webhooks.payloads import payload

NOW_S = 1_498_100_000.0
SECRET = SAMPLE.trust.secrets[0]
BASIC = "hooks:correct horse"


def delivery(body: bytes, **headers: str) -> Delivery:
    return Delivery(body, {name.replace("_", "-"): value for name, value in headers.items()}, NOW_S)


def event(**said: Any) -> dict[str, Any]:
    return {"event": "delivery", "timestamp": 1498093527, "email": "jane@example.com", **said}


def read(**said: Any) -> Said:
    (found,) = PROVIDER.read(event(**said))
    return found


def basic(credentials: str) -> str:
    return "Basic " + base64.b64encode(credentials.encode()).decode()


def test_lines_and_an_object_say_the_same() -> None:
    lines = PROVIDER.items(delivery(payload("mailtrap", "lines.txt")))
    whole = PROVIDER.items(delivery(payload("mailtrap", "batch.json")))
    assert list(lines) == list(whole)[:3]


def test_one_line_is_one_event() -> None:
    assert PROVIDER.items(delivery(orjson.dumps(event()))) == [event()]


def test_an_object_is_read_whatever_its_line_breaks() -> None:
    body = orjson.dumps({"events": [event(), event()]}, option=orjson.OPT_INDENT_2)
    assert len(PROVIDER.items(delivery(b"\r\n" + body + b"\n"))) == 2


def test_a_broken_line_is_rejected_alone() -> None:
    body = orjson.dumps(event()) + b"\n{broken\n" + orjson.dumps(event(event="open"))
    first, broken, last = PROVIDER.items(delivery(body))
    assert [PROVIDER.read(each)[0].type for each in (first, last)] == [OutcomeType.DELIVERED, OutcomeType.OPENED]
    with pytest.raises((LookupError, TypeError, ValueError, AttributeError)):
        PROVIDER.read(broken)


@pytest.mark.parametrize("body", [b"", b"no json", b'{"events": 1}', b'"event"', b"{"])
def test_what_is_neither_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        PROVIDER.items(delivery(body))


def test_a_signed_webhook_needs_its_signature() -> None:
    PROVIDER.verify(delivery(SAMPLE.body, **signed(SAMPLE.body, SECRET, NOW_S)), SAMPLE.trust)
    with pytest.raises(Untrusted):
        PROVIDER.verify(delivery(SAMPLE.body), SAMPLE.trust)


def test_an_unsigned_webhook_is_taken_by_basic_credentials() -> None:
    trust = Trust(basic=(BASIC,))
    PROVIDER.verify(delivery(SAMPLE.body, authorization=basic(BASIC)), trust)
    for wrong in (basic("hooks:wrong"), "Basic ?", ""):
        with pytest.raises(Untrusted):
            PROVIDER.verify(delivery(SAMPLE.body, authorization=wrong), trust)
    assert PROVIDER.statuses.challenge  # credentials in an address are not sent before a 401 asks for them


def test_a_wrong_signature_is_not_mended_by_right_credentials() -> None:
    trust = Trust(secrets=(SECRET,), basic=(BASIC,))
    PROVIDER.verify(delivery(SAMPLE.body, authorization=basic(BASIC)), trust)
    headers = {**signed(SAMPLE.body, "wrong", NOW_S), "authorization": basic(BASIC)}
    with pytest.raises(Untrusted):
        PROVIDER.verify(Delivery(SAMPLE.body, headers, NOW_S), trust)


def test_the_space_in_a_soft_bounce_may_be_an_underscore() -> None:
    assert read(event="soft_bounce").type is read(event="soft bounce").type is OutcomeType.BOUNCED_SOFT


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"response_code": 550}, OutcomeType.BOUNCED_HARD),
        ({"response_code": "550"}, OutcomeType.BOUNCED_HARD),
        ({}, OutcomeType.BOUNCED_HARD),
        ({"response_code": 452}, OutcomeType.BOUNCED_SOFT),
        ({"response": "bounced (452 4.2.2 over quota)"}, OutcomeType.BOUNCED_SOFT),
    ],
)
def test_a_bounce_is_hard_unless_the_server_only_ever_put_it_off(said: dict[str, Any], kind: OutcomeType) -> None:
    assert read(event="bounce", **said).type is kind


def test_the_decision_is_found_among_variables_that_are_no_texts() -> None:
    decision = "dec_01119bf0c5f4001a2b3c4d5e6f00"
    assert read(custom_variables={"testing": True, "tries": 3, "decision_id": decision}).decision_id == decision
    assert read(custom_variables={"decision_id": 7}).decision_id is None
    assert read(custom_variables=[]).decision_id is None  # how some write an empty one
    assert read(event="click", url=f"https://shop.example.com/?did={decision}").decision_id == decision


def test_a_rejection_copies_the_suppression_that_it_names() -> None:
    assert read(event="reject", reason="recipient is on the suppression list: hard_bounce").suppressed is (
        SuppressionReason.HARD_BOUNCE
    )
    assert read(event="reject", reason="unverified domain").suppressed is None
    assert read(event="soft bounce", reason="spam complaint").suppressed is None  # it was tried


def test_every_event_of_the_table_is_in_a_payload() -> None:
    told = {each["event"] for each in orjson.loads(payload("mailtrap", "batch.json"))["events"]}
    assert told == set(OUTCOMES)
