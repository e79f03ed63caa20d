"""SES at the door: Amazon is asked for a certificate, and to confirm what is on the list; nobody else is ever asked."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import httpx
import orjson
import pytest

from app.core.webhooks.provider import Aside, Delivery, Trust, Untrusted
from app.core.webhooks.providers.ses import PROVIDER
from app.flows.room import Room
from app.flows.take_webhooks import WebhookTaker
from app.sns_certificates import AmazonUnavailable, Certificates, CertificateUnavailable
from tests.support.webhooks.door import Door, Kept, Remembers
from tests.support.webhooks.hostile import HOSTILE
from tests.support.webhooks.payloads import payload
from tests.support.webhooks.ses import CERTIFICATE_URL, TOPIC, certificate, message, private_key, signed, signed_message

CONFIRMATION = orjson.loads(payload("ses", "subscription_confirmation.json"))
FORGED = {"SubscribeURL": "https://example.com/?Action=ConfirmSubscription"}


class Internet(httpx.AsyncBaseTransport):
    """Everything that can be asked, with a certificate of Amazon at the one address that has one."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url))
        found = certificate() if str(request.url) == CERTIFICATE_URL else b"<ConfirmSubscriptionResponse/>"
        return httpx.Response(200, stream=httpx.ByteStream(found))


class Here:
    """The flow with its real certificates."""

    def __init__(self) -> None:
        self.internet, self.taker = Internet(), Remembers()
        self._flow = WebhookTaker(
            {"ses": Trust(topics=(TOPIC,))},
            self.taker,
            Kept(),
            Certificates(transport=self.internet),
            Room(lambda _: True, lambda: 0),
            lambda _: "other",
            lambda _: SimpleNamespace(source="webhook:ses"),  # type: ignore[arg-type, return-value]  # the one field that is read
            lambda *_: None,
            lambda *_: None,
        )

    async def post(self, fields: dict[str, Any], key: str | None = None) -> Any:
        body = signed_message(fields, key)
        return await self._flow.take(PROVIDER, Delivery(body, signed(body, "", 0), time.time()))


async def test_a_signed_message_is_taken_with_one_look_at_the_certificate() -> None:
    here = Here()
    for _ in range(3):
        await here.post(message(orjson.loads(orjson.loads(payload("ses", "event_open.json"))["Message"])))
    assert len(here.taker.heard) == 3
    assert here.internet.asked == [CERTIFICATE_URL]


@pytest.mark.parametrize("url", HOSTILE)
async def test_a_hostile_address_is_refused_and_never_asked(url: str) -> None:
    here = Here()
    with pytest.raises(Untrusted):
        await here.post(message({}, SigningCertURL=url))
    assert here.internet.asked == []
    assert here.taker.heard == []


async def test_another_topic_is_refused_whoever_signed_it() -> None:
    here = Here()
    other = TOPIC.replace("123456789012", "999999999999")
    for fields in (message({}, TopicArn=other), CONFIRMATION | {"TopicArn": other}):
        with pytest.raises(Untrusted):
            await here.post(fields)
    assert set(here.internet.asked) <= {CERTIFICATE_URL}  # and no subscription was confirmed
    assert here.taker.heard == []


async def test_a_listed_topic_is_confirmed_at_amazon_and_nowhere_else() -> None:
    here = Here()
    tally = await here.post(CONFIRMATION | FORGED)
    assert [line.said.type for line in tally.lines] == [Aside.IGNORED]
    certificate_asked, confirmed = here.internet.asked
    assert certificate_asked == CERTIFICATE_URL
    assert confirmed.startswith("https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&")


async def test_a_confirmation_that_amazon_did_not_sign_is_not_visited() -> None:
    here = Here()
    with pytest.raises(Untrusted):
        await here.post(CONFIRMATION, key=private_key(1))
    assert here.internet.asked == [CERTIFICATE_URL]


async def test_an_ended_subscription_is_not_taken_up_again() -> None:
    here = Here()
    await here.post(orjson.loads(payload("ses", "unsubscribe_confirmation.json")))
    assert here.internet.asked == [CERTIFICATE_URL]


@pytest.mark.parametrize("problem", [CertificateUnavailable, AmazonUnavailable])
async def test_sns_is_told_to_come_again_while_amazon_cannot_be_asked(problem: type[AmazonUnavailable]) -> None:
    class Alone(Door):
        async def _certificate(self, url: str) -> bytes:
            raise problem("Amazon SNS cannot be reached")

    answer = await Alone().send("ses")
    assert answer.status_code == 503  # any 4xx is final
    assert int(answer.headers["retry-after"]) > 0


async def test_an_operator_hears_that_a_topic_was_unsubscribed(caplog: pytest.LogCaptureFixture) -> None:
    here = Here()
    await here.post({**CONFIRMATION, "Type": "UnsubscribeConfirmation", "TopicArn": TOPIC})
    assert [each.getMessage() for each in caplog.records] == [
        "ses says `UnsubscribeConfirmation`: it will send no more"
    ]
    assert here.internet.asked == [CERTIFICATE_URL], "nothing is subscribed again"
