"""What Mandrill is taken by, and what its events say."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.webhooks.provider import Aside, Delivery, Said, Trust, Unreadable, Untrusted
from app.core.webhooks.providers.mandrill import EVENTS, PROVIDER
from policy.codes import OutcomeType, SuppressionReason
from tests.support.webhooks.credentials import basic
from tests.support.webhooks.mandrill import SAMPLE, URL, form, signed
from tests.support.webhooks.payloads import payload

DECISION = "dec_01119bf0c5f4001a2b3c4d5e6f00"
KEY = SAMPLE.trust.secrets[0]


def guide() -> list[dict[str, Any]]:
    """The events of Mandrill's guide."""
    return list(PROVIDER.items(Delivery(payload("mandrill", "all_of_the_guide.txt"), {}, 0)))


def event(kind: str, **changes: Any) -> dict[str, Any]:
    return next(each for each in guide() if each.get("event") == kind) | changes


def read(kind: str, **changes: Any) -> Said:
    (said,) = PROVIDER.read(event(kind, **changes))
    return said


def trusted(body: bytes, headers: dict[str, str], trust: Trust = SAMPLE.trust, url: str = URL) -> bool:
    try:
        PROVIDER.verify(Delivery(body, headers, 0, url), trust)
    except Untrusted:
        return False
    return True


def test_the_signature_covers_the_address_letter_by_letter() -> None:
    """Query, credentials and the slash at the end belong to it: behind a proxy the address must be configured."""
    headers = signed(SAMPLE.body, KEY, 0)
    assert trusted(SAMPLE.body, headers)
    for other in (URL + "/", URL.replace("https", "http"), URL.replace("hooks:correct@", ""), URL.split("?")[0], ""):
        assert not trusted(SAMPLE.body, headers, url=other)
        assert trusted(SAMPLE.body, signed(SAMPLE.body, KEY, 0, other), url=other)


def test_any_of_several_keys_signs() -> None:
    assert trusted(SAMPLE.body, signed(SAMPLE.body, KEY, 0), Trust(secrets=("old", KEY)))
    assert not trusted(SAMPLE.body, signed(SAMPLE.body, SAMPLE.other_secret, 0))


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=20), min_size=1, max_size=6))
def test_fields_are_signed_decoded_and_in_their_order(fields: dict[str, str]) -> None:
    for order in (list(fields.items()), list(reversed(fields.items()))):
        body = form(order)
        assert trusted(body, signed(body, KEY, 0))
        assert not trusted(body + b"x", signed(body, KEY, 0))


def test_everybodys_key_signs_an_empty_batch_and_nothing_else() -> None:
    """Mandrill posts an empty batch when an address is entered, before it tells the key."""
    empty = payload("mandrill", "validation.txt")
    assert trusted(empty, signed(empty, "test-webhook", 0))
    assert trusted(empty, signed(empty, KEY, 0))
    assert PROVIDER.items(Delivery(empty, {}, 0)) == []
    for other in (
        SAMPLE.body,
        form([("mandrill_events", "[]"), ("mandrill_events", "[{}]")]),
        form([("mandrill_events", "[]"), ("more", "[{}]")]),
        form([("more", "[]")]),
    ):
        assert not trusted(other, signed(other, "test-webhook", 0))
    assert not trusted(empty, signed(empty, "another", 0))


@pytest.mark.parametrize("body", [b"", b"x", b"mandrill_events=%ff", b"\xff=1", b"&".join([b"a=1"] * 20)])
def test_what_is_no_form_is_not_trusted_and_not_readable(body: bytes) -> None:
    assert not trusted(body, {"x-mandrill-signature": "x"})
    with pytest.raises(Unreadable):
        PROVIDER.items(Delivery(body, {}, 0))


@pytest.mark.parametrize("value", ["", "{}", "null", "GARBAGE", "[" * 50])
def test_a_field_without_a_list_is_unreadable(value: str) -> None:
    with pytest.raises(Unreadable):
        PROVIDER.items(Delivery(form([("mandrill_events", value)]), {}, 0))
    with pytest.raises(Unreadable, match="5000"):
        PROVIDER.items(Delivery(form([("mandrill_events", orjson.dumps([0] * 5001).decode())]), {}, 0))


def test_credentials_alone_prove_it_where_no_key_is_configured() -> None:
    trust = Trust(basic=("hooks:correct",))
    assert trusted(SAMPLE.body, basic("hooks:correct"), trust)
    assert not trusted(SAMPLE.body, basic("hooks:wrong"), trust)
    assert not trusted(SAMPLE.body, basic("hooks:correct"), SAMPLE.trust)  # where one is, they do not
    assert not trusted(SAMPLE.body, {})
    assert not trusted(SAMPLE.body, {"x-mandrill-signature": "ÄÄÄ"})


def test_every_event_has_a_payload() -> None:
    told = {each.get("event") for each in guide()} | {"delivered", "inbound"}
    assert set(EVENTS) <= told


def test_the_history_of_a_mail_is_not_counted_again() -> None:
    """`msg.opens` and `msg.clicks` list every look so far, with each event."""
    (said,) = PROVIDER.read(event("spam"))
    assert said.type is OutcomeType.COMPLAINED


def test_the_time_is_the_events_and_not_the_sendings() -> None:
    assert read("open").at_ms == 1_420_303_407_000


def test_a_robot_is_a_machine() -> None:
    assert not read("open").machine
    assert read("open", user_agent_parsed={"type": "robot"}).machine
    assert read("click", user_agent_parsed={"type": "Robot"}).machine
    assert not read("click", user_agent_parsed=None).machine


def test_the_decision_rides_in_metadata_of_any_type() -> None:
    ours: list[Any] = [{"decision_id": DECISION, "n": 1}, {"decision_id": DECISION, "deep": {"a": []}}]
    for metadata in ours:
        assert read("open", msg=event("open")["msg"] | {"metadata": metadata}).decision_id == DECISION
    others: list[Any] = [[], None, {"decision_id": 111}, {"decision_id": None}]
    for metadata in others:
        assert read("open", msg=event("open")["msg"] | {"metadata": metadata}).decision_id is None
    assert read("send", msg=event("send")["msg"] | {"tags": [f"did:{DECISION}"]}).decision_id == DECISION
    assert read("click", url=f"https://shop.example.com/?did={DECISION}").decision_id == DECISION


def test_the_mail_servers_words_are_those_of_the_last_attempt() -> None:
    deferred = event("deferral")
    deferred["msg"]["smtp_events"].append({"diag": "421 4.7.0 Try again later", "type": "deferred"})
    (said,) = PROVIDER.read(deferred)
    assert (said.reason, said.smtp_code) == ("421 4.7.0 Try again later", "421")


REASONS = {
    "hard-bounce": SuppressionReason.HARD_BOUNCE,
    "spam": SuppressionReason.COMPLAINT,
    "unsub": SuppressionReason.UNSUBSCRIBED,
    "custom": SuppressionReason.MANUAL,
    "soft-bounce": None,
    "something": None,
    None: None,
}


@pytest.mark.parametrize("reason", REASONS)
def test_a_rejection_copies_what_the_list_says(reason: str | None) -> None:
    said = read("reject", msg=event("reject")["msg"] | {"reject": {"reason": reason}})
    assert (said.type, said.suppressed) == (OutcomeType.DROPPED, REASONS[reason])
    assert read("reject", msg=event("reject")["msg"] | {"reject": None}).suppressed is None


@pytest.mark.parametrize("kind", ["blacklist", "denylist"])
def test_what_mandrill_will_not_send_to_is_stopped(kind: str) -> None:
    entry = {"email": "jane@example.com", "reason": "unsub", "expired": False}
    for action in ("add", "change"):
        (said,) = PROVIDER.read({"type": kind, "action": action, "reject": entry, "ts": 1420303407})
        assert (said.type, said.suppressed) == (OutcomeType.DROPPED, SuppressionReason.UNSUBSCRIBED)
        assert said.recipient == "jane@example.com"
        assert said.at_ms == 1_420_303_407_000


@pytest.mark.parametrize(
    "item",
    [
        {"type": "blacklist", "action": "remove", "reject": {"email": "jane@example.com", "reason": "unsub"}},
        {"type": "blacklist", "action": "add", "reject": {"email": "jane@example.com", "reason": "soft-bounce"}},
        {
            "type": "blacklist",
            "action": "add",
            "reject": {"email": "j@example.com", "reason": "unsub", "expired": True},
        },
        {"type": "whitelist", "action": "add", "entry": {"email": "jane@example.com"}},
        {"type": "allowlist", "action": "add", "entry": {"email": "jane@example.com"}},
    ],
)
def test_a_list_lifts_nothing(item: dict[str, Any]) -> None:
    (said,) = PROVIDER.read(item)
    assert said.type is Aside.IGNORED


def test_what_is_not_known_is_kept() -> None:
    assert [said.type for said in PROVIDER.read({"event": "teleport"})] == [Aside.UNKNOWN]
    assert [said.type for said in PROVIDER.read({"type": "greylist", "action": "add"})] == [Aside.UNKNOWN]
    assert [said.type for said in PROVIDER.read({"event": "inbound", "msg": {}})] == [Aside.IGNORED]
    assert [said.type for said in PROVIDER.read({})] == [Aside.UNKNOWN]


@pytest.mark.parametrize("broken", [None, 1, "x", [], {"event": "open"}, {"event": "open", "msg": None, "ts": 1}])
def test_an_item_that_is_none_cannot_be_read(broken: Any) -> None:
    with pytest.raises((LookupError, TypeError, ValueError, AttributeError)):
        PROVIDER.read(broken)
