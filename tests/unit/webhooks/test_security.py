"""What no provider's file can skip: every provider of the registry goes through the same cases.

What a provider's proof does not cover stands in one table, with the reason; a provider is in it exactly where its
sample says so.
"""

from __future__ import annotations

import time

import httpx
import pytest

from app.core.webhooks.provider import Trust
from app.core.webhooks.registry import NAMES, provider_of
from tests.support.webhooks import secret_of
from tests.support.webhooks.door import LIMIT_BYTES, Door, proven, sample_of

#: The body is not covered by the proof: what its vendor offers, and what stands in for it.
BODY_NOT_SIGNED = {
    "braze": "a bearer token is all that Currents sends; repeats are known by the event's id",
    "brevo": "credentials are all that Brevo sends",
    "iterable": "a fixed header is all that Iterable sends",
    "mailgun": "only timestamp and token are signed: a token is taken once, for one body",
    "mailjet": "credentials in the address are all that Mailjet sends",
    "postmark": "credentials or a header of one's own are all that Postmark sends",
    "sparkpost": "credentials are all that SparkPost sends",
}
ALL = pytest.mark.parametrize("name", NAMES)
TEN_DAYS_S = 864_000


@pytest.fixture
def door() -> Door:
    return Door()


def refused(answer: httpx.Response, name: str, door: Door) -> None:
    """As unproven, in the way that the provider understands, and with nothing heard."""
    provider = provider_of(name)
    assert provider is not None
    assert answer.status_code == provider.statuses.untrusted, (name, answer.status_code, answer.text)
    assert answer.json()["code"] == "unproven_webhook"
    assert answer.json()["message"] == answer.json()["detail"]
    challenge = answer.headers.get("www-authenticate", "")
    assert challenge.startswith("Basic realm=") or not provider.statuses.challenge
    assert door.taker.heard == []


@ALL
async def test_what_a_provider_sends_is_taken(name: str, door: Door) -> None:
    answer = await door.send(name)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["accepted"] > 0
    assert (body["duplicates"], body["rejected"]) == (0, [])
    assert door.taker.heard


@ALL
async def test_nothing_is_taken_without_proof(name: str, door: Door) -> None:
    refused(await door.post(name, sample_of(name).body, {"content-type": "application/json"}), name, door)


@ALL
async def test_nothing_is_taken_with_the_proof_of_another(name: str, door: Door) -> None:
    refused(await door.send(name, secret=sample_of(name).other_secret), name, door)


@ALL
async def test_nothing_is_taken_where_nothing_is_configured(name: str) -> None:
    door = Door({name: Trust()})
    answer = await door.send(name)
    refused(answer, name, door)
    assert "NEXTBEST_WEBHOOK_" in answer.json()["detail"]


@ALL
async def test_a_changed_body_is_noticed_where_it_is_signed(name: str, door: Door) -> None:
    assert sample_of(name).signs_body == (name not in BODY_NOT_SIGNED), "say so in the table above, with the reason"
    if name in BODY_NOT_SIGNED:
        return
    body, _ = proven(name, sample_of(name).body, secret_of(sample_of(name)), time.time())
    place = body.rindex(b"example.") if b"example." in body else len(body) // 2
    changed = body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]
    refused(await door.send(name, changed=lambda _: changed), name, door)


@ALL
async def test_an_old_delivery_is_noticed_where_its_time_is_signed(name: str, door: Door) -> None:
    answer = await door.send(name, now_s=time.time() - TEN_DAYS_S)
    if sample_of(name).signs_time:
        refused(answer, name, door)
    else:
        assert answer.status_code == 200


@ALL
async def test_a_delivery_from_the_future_is_noticed_where_its_time_is_signed(name: str, door: Door) -> None:
    answer = await door.send(name, now_s=time.time() + TEN_DAYS_S)
    assert answer.status_code == (401 if sample_of(name).signs_time else 200)


@ALL
async def test_either_of_two_secrets_proves_a_delivery_while_one_is_rotated(name: str) -> None:
    sample = sample_of(name)
    if sample.certificate is not None:
        return  # SNS rotates by itself: each message names its certificate
    new = sample.trust._replace(
        secrets=(sample.other_secret, *sample.trust.secrets) if sample.trust.secrets else (),
        basic=(sample.other_secret, *sample.trust.basic) if sample.trust.basic else (),
    )
    door = Door({name: new})
    assert (await door.send(name)).status_code == 200
    assert (await door.send(name, secret=sample.other_secret)).status_code == 200


@ALL
async def test_a_replay_changes_nothing(name: str, door: Door) -> None:
    body, proof = proven(name, sample_of(name).body, secret_of(sample_of(name)), time.time())
    first = (await door.post(name, body, proof)).json()
    again = (await door.post(name, body, proof)).json()
    heard = len(door.taker.heard) // 2
    assert again["duplicates"] == heard > 0
    assert again["accepted"] == first["accepted"] - heard  # pings and the like, which change nothing


@ALL
async def test_a_body_that_is_too_large_is_refused_before_it_is_looked_at(name: str, door: Door) -> None:
    answer = await door.post(name, b" " * (LIMIT_BYTES + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")


@ALL
@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/octet-stream", "application/json; charset=latin-1"]
)
async def test_the_content_type_does_not_matter(name: str, content_type: str, door: Door) -> None:
    assert (await door.send(name, headers={"content-type": content_type})).status_code == 200


@ALL
async def test_a_proof_that_is_not_ascii_is_refused_and_breaks_nothing(name: str, door: Door) -> None:
    body, proof = proven(name, sample_of(name).body, secret_of(sample_of(name)), time.time())
    for header in proof:
        door.taker.heard.clear()
        answer = await door.post(name, body, proof | {header: "v1,\xe9" + proof[header]})
        if header == "authorization" or "signature" in header:
            refused(answer, name, door)
        else:  # some stand beside the proof, and say nothing by themselves
            assert answer.status_code < 500


@ALL
@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b"\xff\xfe", b"[" * 100_000, b'"a"', b"0"])
async def test_no_body_breaks_the_door(name: str, body: bytes, door: Door) -> None:
    bare = await door.post(name, body)
    assert bare.status_code in (400, 401, 406), bare.text
    support_needs_json = name in ("mailgun", "ses", "mandrill")
    if not support_needs_json:
        assert (await door.send(name, body=body)).status_code in (200, 400, 401, 406)


@ALL
async def test_the_provider_is_told_to_come_again_while_the_store_is_away(name: str, door: Door) -> None:
    provider = provider_of(name)
    assert provider is not None
    door.taker.down = True
    answer = await door.send(name)
    assert answer.status_code == provider.statuses.store_down == (429 if name == "brevo" else 503)
    assert int(answer.headers["retry-after"]) > 0


@ALL
async def test_decisions_come_first(name: str, door: Door) -> None:
    door.has_room = False
    answer = await door.send(name)
    assert answer.status_code == (503 if name == "ses" else 429)  # a 4xx is final for SNS
    assert int(answer.headers["retry-after"]) > 0
    assert door.taker.heard == []


@ALL
async def test_consoles_may_look_whether_the_address_is_there(name: str, door: Door) -> None:
    assert (await door.ask("GET", f"/v1/webhooks/{name}")).status_code == 200


async def test_there_is_no_other_provider(door: Door) -> None:
    for method in ("GET", "POST"):
        assert (await door.ask(method, "/v1/webhooks/smtp2go")).status_code == 404
