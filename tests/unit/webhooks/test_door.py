"""The door itself: what is answered, what is shown, and that one bad item loses no other."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from app import keys_file
from app.core.webhooks.provider import Trust
from app.http.auth import Authenticator
from app.serve import CannotServe, serve
from app.settings import Settings
from app.webhook_settings import read_webhook_settings
from policy.codes import OutcomeType
from tests.support.webhooks import secret_of
from tests.support.webhooks.door import Door, proven, sample_of
from tests.support.webhooks.mailgun import signed_body

DECISION = "dec_0110197a1c2b3c4d5e6f70819200"
CLICKED = {
    "type": "clicked",
    "timestamp": "2026-01-05T09:12:00Z",
    "data": {
        "recipient": "Jane@Example.com",
        "decision_id": DECISION,
        "url": "https://shop.example.com/?e=jane%40example.com",
        "reason": "said jane@example.com",
        "smtp_code": "250",
    },
}


def outcomes(*events: Any) -> bytes:
    return json.dumps(list(events)).encode()


@pytest.fixture
def door() -> Door:
    return Door()


async def test_one_bad_item_loses_no_other(door: Door) -> None:
    bad: list[Any] = [None, {}, 7, "x", [], {"type": None}, {"type": "clicked"}, {"type": "bounced"}]
    body = outcomes(CLICKED, *bad, {"type": "delivered", "data": {"recipient": "john@example.com"}})
    answer = (await door.send("generic", body)).json()
    assert answer["accepted"] == 2
    assert [each["index"] for each in answer["rejected"]] == list(range(1, 9))
    assert {each["code"] for each in answer["rejected"]} == {"malformed_item"}
    assert answer["rejected"][-1]["detail"] == "say `bounced_hard` (final: suppresses) or `bounced_soft`"
    assert len(door.taker.heard) == 2


async def test_bad_items_of_a_real_batch_lose_no_other(door: Door) -> None:
    """A null in an array makes others fail the whole post, and then everything comes again for hours."""
    items = json.loads(sample_of("sendgrid").body)
    body = json.dumps([None, {}, *items, {"event": "bounce", "timestamp": "soon"}]).encode()
    answer = (await door.send("sendgrid", body)).json()
    assert (answer["accepted"], [each["index"] for each in answer["rejected"]]) == (11, [0, 1, 13])


async def test_what_is_not_known_is_accepted_counted_and_kept_without_whom_it_names(door: Door) -> None:
    unknown = {"type": "newsletter.read", "data": {"recipient": "jane@example.com", "note": "Jane Doe", "n": 5}}
    answer = (await door.send("generic", outcomes(unknown, CLICKED))).json()
    assert (answer["accepted"], answer["rejected"]) == (2, [])
    assert door.counts == {("generic", "unknown"): 1, ("generic", "accepted"): 1}
    (puzzle,) = door.store.puzzles
    assert (puzzle.code, puzzle.raw_type) == ("unknown", "newsletter.read")
    assert "jane" not in repr(puzzle).lower()
    assert "'n': 5" in repr(puzzle.item)


async def test_what_was_understood_is_shown_to_whoever_asks_and_names_nobody(door: Door) -> None:
    ping = {"type": "webhook.test"}
    answer = await door.send("generic", outcomes(CLICKED, ping, None, {"type": "odd"}), query="?echo=true")
    clicked, ignored, unknown = answer.json()["outcomes"]
    assert "jane" not in answer.text.lower()
    assert {name: clicked[name] for name in ("type", "raw_type", "provider", "occurred_at", "decision_id")} == {
        "type": "clicked",
        "raw_type": "clicked",
        "provider": "generic",
        "occurred_at": "2026-01-05T09:12:00.000Z",
        "decision_id": DECISION,
    }
    assert clicked["recipient_hash"] == "8c87b489ce35cf2e2f39f80e282cb2e804932a56a213983eeeb428407d43b52d"
    assert (clicked["machine"], clicked["reason"], clicked["smtp_code"]) == (False, "said …", "250")
    assert clicked["url"] == "https://shop.example.com/"
    assert clicked["event_id"].startswith("generic:msg_")
    assert (ignored["type"], unknown["type"], unknown["raw_type"]) == ("ignored", "unknown", "odd")


async def test_nothing_is_shown_to_who_does_not_ask(door: Door) -> None:
    assert set((await door.send("generic")).json()) == {"accepted", "duplicates", "rejected"}


@pytest.fixture
def guarded(tmp_path: Path) -> tuple[Door, str, str]:
    """A door of a server with keys, one that reads, and one that does not."""
    file = tmp_path / "keys.jsonl"
    reads, collects = (keys_file.add(file, [scope])[1] for scope in ("read", "collect"))
    return Door(authenticator=Authenticator(file)), reads, collects


async def test_only_who_may_read_is_shown_what_was_understood(guarded: tuple[Door, str, str]) -> None:
    door, reads, collects = guarded
    assert (await door.send("generic")).status_code == 200  # the delivery needs no key of ours
    shown = await door.send("generic", query="?echo=true", headers={"x-nextbest-key": reads})
    assert shown.status_code == 200
    assert shown.json()["outcomes"]
    for headers, status, code in (
        ({}, 401, "unauthenticated"),
        ({"x-nextbest-key": "nonsense"}, 401, "unauthenticated"),
        ({"x-nextbest-key": collects}, 403, "forbidden"),
        ({"authorization": f"Bearer {reads}"}, 401, "unauthenticated"),
    ):
        refused = await door.send("generic", query="?echo=true", headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (status, code)


async def test_a_key_of_ours_proves_no_delivery(guarded: tuple[Door, str, str]) -> None:
    door, reads, _ = guarded
    for query in ("", "?echo=true"):
        answer = await door.post("generic", sample_of("generic").body, {"x-nextbest-key": reads}, query)
        assert (answer.status_code, answer.json()["code"]) == (401, "unproven_webhook")


async def test_a_proof_of_mailgun_is_good_for_one_body(door: Door) -> None:
    sample, now_s, token = sample_of("mailgun"), time.time(), "a" * 50
    body = signed_body(sample.body, secret_of(sample), now_s, token)
    assert (await door.post("mailgun", body)).json()["accepted"] == 1
    forged = json.loads(body)
    forged["event-data"] |= {"event": "complained", "recipient": "somebody.else@example.com", "id": "forged"}
    answer = await door.post("mailgun", json.dumps(forged).encode())
    assert (answer.status_code, answer.json()) == (200, {"accepted": 0, "duplicates": 1, "rejected": []})
    assert [each.outcome.type for each in door.taker.heard] == [OutcomeType.DELIVERED]


async def test_a_crash_after_a_proof_of_mailgun_was_seen_loses_nothing(door: Door) -> None:
    body = signed_body(sample_of("mailgun").body, secret_of(sample_of("mailgun")), time.time(), "b" * 50)
    door.taker.down = True
    assert (await door.post("mailgun", body)).status_code == 503
    door.taker.down = False
    assert (await door.post("mailgun", body)).json()["accepted"] == 1


@pytest.mark.parametrize("body", [b"event=bounced&recipient=jane%40example.com&timestamp=1", b"\xff", b"[]"])
async def test_mailgun_is_told_not_to_come_again_with_what_cannot_be_read(body: bytes, door: Door) -> None:
    answer = await door.post("mailgun", body)
    assert (answer.status_code, answer.json()["code"]) == (406, "unreadable_webhook")


async def test_a_subaccounts_event_of_mailgun_is_proven_by_either_key(door: Door) -> None:
    sample = sample_of("mailgun")
    body = json.loads(signed_body(sample.body, secret_of(sample), time.time()))
    proof = body["signature"]
    proof["parent-signature"], proof["signature"] = proof["signature"], "0" * 64
    assert (await door.post("mailgun", json.dumps(body).encode())).status_code == 200


async def test_what_sendgrid_puts_around_events_is_part_of_what_is_signed(door: Door) -> None:
    body, proof = proven("sendgrid", sample_of("sendgrid").body, secret_of(sample_of("sendgrid")), time.time())
    assert b"\r\n" in body
    tidy = json.dumps(json.loads(body)).encode()
    assert (await door.post("sendgrid", tidy, proof)).status_code == 401
    assert (await door.post("sendgrid", body, proof)).status_code == 200


async def test_sendgrid_without_signatures_needs_credentials_that_are_configured() -> None:
    door = Door({"sendgrid": Trust(basic=("hooks:pass",))})
    body = sample_of("sendgrid").body
    assert (await door.post("sendgrid", body, {"authorization": "Basic aG9va3M6cGFzcw=="})).status_code == 200
    assert (await door.post("sendgrid", body, {"authorization": "Basic aG9va3M6b3RoZXI="})).status_code == 401


@pytest.mark.parametrize("basic", [(), ("hooks:pass",)])
async def test_a_public_key_of_sendgrid_is_no_bearer_token(basic: tuple[str, ...]) -> None:
    """It is public: whoever knows it must not pass with it."""
    key = secret_of(sample_of("sendgrid"))
    door = Door({"sendgrid": Trust(secrets=(key,), basic=basic)})
    answer = await door.post("sendgrid", sample_of("sendgrid").body, {"authorization": f"Bearer {key}"})
    assert answer.status_code == 401


async def test_a_delivery_has_at_most_five_thousand_items(door: Door) -> None:
    at_most = await door.send("generic", b"[" + b",".join([b"{}"] * 5_000) + b"]")
    assert len(at_most.json()["rejected"]) == 1_000  # of five thousand: the answer stays small
    assert (await door.send("generic", b"[" + b",".join([b"{}"] * 5_001) + b"]")).status_code == 413


async def test_what_is_nested_beyond_reason_is_refused_and_breaks_nothing(door: Door) -> None:
    deep = b'{"type": "odd", "data": ' + b'{"a":' * 600 + b"1" + b"}" * 600 + b"}"
    assert (await door.send("generic", deep)).status_code == 200
    assert (await door.send("generic", b"[" * 50_000 + b"]" * 50_000)).status_code == 400


def test_settings_are_read_by_provider() -> None:
    settings = read_webhook_settings(
        {
            "NEXTBEST_WEBHOOK_SENDGRID_SECRETS": "new, old",
            "NEXTBEST_WEBHOOK_BREVO_BASIC": "hooks:pass:word",
            "NEXTBEST_WEBHOOK_SES_TOPICS": "arn:aws:sns:eu-west-1:123456789012:mail",
            "NEXTBEST_WEBHOOK_SES_TEST_CERTIFICATE": "/a/file",
            "NEXTBEST_WEBHOOK_MANDRILL_SECRETS": "key",
            "NEXTBEST_WEBHOOK_MANDRILL_URL": "https://mail.example.com/v1/webhooks/mandrill",
            "NEXTBEST_WEBHOOK_POSTMARK_BASIC": " ",
            "NEXTBEST_WEBHOOK_BODY_LIMIT_BYTES": "65536",
            "PATH": "/bin",
        }
    )
    assert settings.trusted["sendgrid"] == Trust(secrets=("new", "old"))
    assert settings.trusted["brevo"] == Trust(basic=("hooks:pass:word",))
    assert settings.trusted["ses"].topics == ("arn:aws:sns:eu-west-1:123456789012:mail",)
    assert settings.urls == {"mandrill": "https://mail.example.com/v1/webhooks/mandrill"}
    assert "postmark" not in settings.trusted


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("NEXTBEST_WEBHOOK_SENDGIRD_SECRETS", "geheim", "no provider `sendgird`"),
        ("NEXTBEST_WEBHOOK_SENDGRID_SECRET", "geheim", "expected _SECRETS"),
        ("NEXTBEST_WEBHOOK_BREVO_BASIC", "geheim", "expected `user:password`"),
    ],
)
def test_a_misspelt_setting_is_named_and_its_value_is_not(name: str, value: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        read_webhook_settings({name: value})
    assert value not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("NEXTBEST_WEBHOOK_SENDGIRD_SECRETS", "there is no provider `sendgird`"),
        ("NEXTBEST_WEBHOOK_SES_TEST_CERTIFICATE", "lets anybody who has its key pass for Amazon"),
    ],
)
def test_a_server_does_not_start_on_settings_that_cannot_be_meant(
    name: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "geheim")
    with pytest.raises(CannotServe, match=says) as caught:
        serve(Settings())
    assert "geheim" not in str(caught.value)
