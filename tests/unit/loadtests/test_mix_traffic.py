"""What the mix sends is what those callers send, as the server itself reads it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.core.events import segment
from app.core.events.event import Arrived
from app.core.webhooks.provider import Delivery, Trust
from app.core.webhooks.registry import provider_of
from loadtests.mix import bundle
from loadtests.mix.deployment import CannotDrive, find
from loadtests.mix.schedule import Kind
from loadtests.mix.traffic import BATCH_LINES, SDK_MESSAGES, WEBHOOK_ITEMS, Deployment, Traffic
from loadtests.outcomes.traffic import new_key, public
from policy.compile import load

KEY = new_key()
DECISION = "dec_0110197a1c2b3c4d5e6f70819200"


def traffic(placements: tuple[str, ...] = ("mail", "site")) -> Traffic:
    return Traffic(Deployment(("c1", "c2"), placements, "a key", KEY), 1)


def answer(action: str = "send", **more: object) -> bytes:
    made = {"decision_id": DECISION, "action": action, "rung": "model", "retryable": False, **more}
    return json.dumps({"customer": "c1", "decisions": [made]}).encode()


def test_an_sdk_sends_what_segments_client_sends() -> None:
    request = traffic().request(Kind.EVENTS)
    assert request is not None
    body = json.loads(request.body)
    messages = segment.batch(body)
    assert messages is not None
    understood = [segment.message(each, None, body["sentAt"]) for each in messages]
    assert len(understood) == SDK_MESSAGES
    assert all(isinstance(each, Arrived) for each in understood)
    assert len({each["messageId"] for each in body["batch"]}) == SDK_MESSAGES
    assert request.headers["Authorization"].startswith("Basic ")


def test_an_esp_signs_as_sendgrid_does_and_tells_of_what_was_sent_in_this_run() -> None:
    on = traffic()
    assert on.request(Kind.WEBHOOKS) is None  # nothing was sent yet
    on.done(Kind.DECIDE, answer("suppress"))
    assert on.request(Kind.WEBHOOKS) is None
    on.done(Kind.DECIDE, answer())
    request = on.request(Kind.WEBHOOKS)
    assert request is not None
    headers = {name.lower(): value for name, value in request.headers.items()}
    signed_at = float(headers["x-twilio-email-event-webhook-timestamp"])
    sendgrid = provider_of("sendgrid")
    assert sendgrid is not None
    trust = Trust(secrets=(public(KEY),))
    sendgrid.verify(Delivery(request.body, headers, signed_at, ""), trust)  # raises where it does not hold
    told = json.loads(request.body)
    assert len(told) == WEBHOOK_ITEMS
    assert {each["decision_id"] for each in told} == {DECISION}


def test_a_batch_job_asks_about_many_and_counts_what_it_must_ask_again() -> None:
    on = traffic()
    request = on.request(Kind.BATCH)
    assert request is not None
    assert len(request.body.splitlines()) == BATCH_LINES
    done = on.done(Kind.BATCH, b"\n".join([answer(), answer("suppress", retryable=True, rung="suppress"), answer()]))
    assert done.counts == {"decisions": 2, "decisions to repeat": 1}
    assert done.rungs == {"model": 2, "suppress": 1}


def test_most_decisions_are_about_the_mail() -> None:
    on = traffic()
    asked = [json.loads(request.body)["placements"] for _ in range(500) if (request := on.request(Kind.DECIDE))]
    assert 0.7 < asked.count(["mail"]) / len(asked) < 0.9
    assert ["site"] in asked


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Kind.DECIDE, b'{"type": "about:blank", "status": 500}'),
        (Kind.BATCH, answer() + b'\n{"line": 2, "code": "invalid_request"}'),
        (Kind.EVENTS, b'{"accepted": "20"}'),
        (Kind.EVENTS, b"not JSON"),
        (Kind.WEBHOOKS, b"[]"),
    ],
)
def test_a_200_that_is_no_answer_is_a_failure(kind: Kind, body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # JSON's own, or ours
        traffic().done(kind, body)


def test_the_bundle_of_the_mix_holds_the_standard_job_and_a_site_that_reads_features(tmp_path: Path) -> None:
    made = load(bundle.write(tmp_path / "mix"))
    assert set(made.placements) == {"standard", "site"}
    assert len(made.placements["standard"].candidates) == 20


def test_an_address_that_does_not_answer_is_told_in_words() -> None:
    with pytest.raises(CannotDrive, match="does not answer"):
        find("http://127.0.0.1:9", "10")
    with pytest.raises(CannotDrive, match="say what to drive"):
        find("", "10")
