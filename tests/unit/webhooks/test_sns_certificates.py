"""Certificates are fetched from Amazon alone, once, in time, and not more than a certificate has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from app import sns_certificates
from app.core.webhooks.provider import Untrusted
from app.sns_certificates import (
    AmazonUnavailable,
    Certificates,
    CertificateUnavailable,
    certificates_of,
)
from tests.support.webhooks.ses import CERTIFICATE_URL, certificate

OTHER_URL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123abcd.pem"
CONFIRM = "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&TopicArn=t&Token=secret"
TESTING = {"NEXTBEST_TEST_MODE": "true"}


class Amazon(httpx.AsyncBaseTransport):
    """Answers in Amazon's place, and remembers what it was asked."""

    def __init__(self, answer: Callable[[], httpx.Response]) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.under_way = self.under_way_max = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url))
        self.under_way += 1
        self.under_way_max = max(self.under_way, self.under_way_max)
        await asyncio.sleep(0)  # whoever else would ask, does now
        self.under_way -= 1
        return self.answer()


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def says(content: bytes) -> httpx.Response:
    return httpx.Response(200, stream=httpx.ByteStream(content))


def good() -> httpx.Response:
    return says(certificate())


async def test_a_certificate_is_fetched_once_and_kept_for_a_day() -> None:
    amazon, clock = Amazon(good), Clock()
    certificates = Certificates(transport=amazon, clock=clock)
    assert await certificates.of(CERTIFICATE_URL) == certificate()
    clock.now_s += 86_399
    assert await certificates.of(CERTIFICATE_URL) == certificate()
    assert amazon.asked == [CERTIFICATE_URL]
    clock.now_s += 2
    await certificates.of(CERTIFICATE_URL)
    assert len(amazon.asked) == 2
    await certificates.close()


async def test_many_at_once_make_one_fetch() -> None:
    amazon = Amazon(good)
    certificates = Certificates(transport=amazon)
    found = await asyncio.gather(*(certificates.of(url) for url in [CERTIFICATE_URL, OTHER_URL] * 10))
    assert set(found) == {certificate()}
    assert sorted(amazon.asked) == sorted([CERTIFICATE_URL, OTHER_URL])
    assert amazon.under_way_max == 1


async def test_not_more_than_a_few_wait() -> None:
    never = asyncio.Event()

    class Slow(Amazon):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await never.wait()
            return await super().handle_async_request(request)

    certificates = Certificates(transport=Slow(good))
    waiting = [asyncio.create_task(certificates.of(CERTIFICATE_URL)) for _ in range(sns_certificates.WAITERS_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(CertificateUnavailable, match="too many"):
        await certificates.of(CERTIFICATE_URL)
    never.set()
    assert set(await asyncio.gather(*waiting)) == {certificate()}


REDIRECT = httpx.Response(302, headers={"location": "http://169.254.169.254/latest/meta-data"})


@pytest.mark.parametrize(
    "answer",
    [
        lambda: REDIRECT,
        lambda: httpx.Response(404),
        lambda: httpx.Response(500),
    ],
)
async def test_neither_redirects_nor_errors_are_taken(answer: Callable[[], httpx.Response]) -> None:
    amazon = Amazon(answer)
    with pytest.raises(CertificateUnavailable):
        await Certificates(transport=amazon).of(CERTIFICATE_URL)
    assert amazon.asked == [CERTIFICATE_URL]


async def test_no_more_is_read_than_a_certificate_has() -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 4096
            yield b"-" * 4096

    with pytest.raises(CertificateUnavailable, match="more than a certificate has"):
        await Certificates(transport=Amazon(lambda: httpx.Response(200, content=endless()))).of(CERTIFICATE_URL)
    assert sent <= sns_certificates.BYTES_MAX + 4096


async def test_a_slow_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sns_certificates, "TIMEOUT_S", 0.01)

    async def drips() -> AsyncIterator[bytes]:
        yield certificate()[:100]
        await asyncio.Event().wait()

    certificates = Certificates(transport=Amazon(lambda: httpx.Response(200, content=drips())))
    async with asyncio.timeout(1):
        with pytest.raises(CertificateUnavailable, match="cannot be reached"):
            await certificates.of(CERTIFICATE_URL)


async def test_a_certificate_of_another_name_is_not_taken() -> None:
    amazon = Amazon(lambda: says(certificate(name="example.com")))
    with pytest.raises(Untrusted):
        await Certificates(transport=amazon).of(CERTIFICATE_URL)


async def test_what_failed_is_not_asked_again_for_a_minute() -> None:
    amazon, clock = Amazon(lambda: httpx.Response(404)), Clock()
    certificates = Certificates(transport=amazon, clock=clock)
    for _ in range(3):
        with pytest.raises(CertificateUnavailable):
            await certificates.of(CERTIFICATE_URL)
    assert len(amazon.asked) == 1
    amazon.answer = good
    clock.now_s += 61
    assert await certificates.of(CERTIFICATE_URL) == certificate()


async def test_invented_addresses_cause_a_handful_of_fetches() -> None:
    """Whoever posts to us may name any address that looks like Amazon's; what is known goes on being served."""
    amazon = Amazon(good)
    certificates = Certificates(transport=amazon)
    await certificates.of(CERTIFICATE_URL)
    amazon.answer = lambda: httpx.Response(404)
    for number in range(50):
        with pytest.raises(CertificateUnavailable):
            await certificates.of(f"https://sns.us-west-2.amazonaws.com/SimpleNotificationService-{number:x}.pem")
    assert len(amazon.asked) == 1 + sns_certificates.FAILURES_MAX
    assert await certificates.of(CERTIFICATE_URL) == certificate()


@pytest.mark.parametrize("url", ["https://example.com/x.pem", "http://sns.us-west-2.amazonaws.com/", "https://[::1"])
async def test_nobody_but_amazon_is_asked(url: str) -> None:
    amazon = Amazon(good)
    with pytest.raises(CertificateUnavailable):
        await Certificates(transport=amazon).of(url)
    with pytest.raises(AmazonUnavailable):
        await Certificates(transport=amazon).visit(url)
    assert amazon.asked == []


async def test_a_subscription_is_confirmed_by_one_visit() -> None:
    amazon = Amazon(lambda: says(b"<ConfirmSubscriptionResponse/>"))
    await Certificates(transport=amazon).visit(CONFIRM)
    assert amazon.asked == [CONFIRM]


async def test_a_visit_that_fails_says_so_without_the_token() -> None:
    def unreachable() -> httpx.Response:
        raise httpx.ConnectError(f"no route to {CONFIRM}")

    with pytest.raises(AmazonUnavailable) as raised:
        await Certificates(transport=Amazon(unreachable)).visit(CONFIRM)
    assert "secret" not in str(raised.value)


async def test_a_local_certificate_needs_no_way_out(tmp_path: Path) -> None:
    amazon = Amazon(good)
    file = tmp_path / "sns.pem"
    file.write_bytes(certificate())
    assert await Certificates(local=file, transport=amazon).of(CERTIFICATE_URL) == certificate()
    assert await Certificates(local=file, transport=amazon).of(OTHER_URL) == certificate()
    assert amazon.asked == []


async def test_a_folder_holds_certificates_under_amazons_names(tmp_path: Path) -> None:
    amazon = Amazon(good)
    (tmp_path / CERTIFICATE_URL.rpartition("/")[2]).write_bytes(certificate())
    certificates = Certificates(local=tmp_path, transport=amazon)
    await certificates.of(CERTIFICATE_URL)
    assert amazon.asked == []
    await certificates.of(OTHER_URL)
    assert amazon.asked == [OTHER_URL]


async def test_a_test_certificate_stands_in_for_all_and_nobody_is_asked(tmp_path: Path) -> None:
    file = tmp_path / "test.pem"
    file.write_bytes(certificate(name="test"))
    certificates = certificates_of({**TESTING, "NEXTBEST_WEBHOOK_SES_TEST_CERTIFICATE": str(file)}, loopback=True)
    assert await certificates.of(CERTIFICATE_URL) == certificate(name="test")
    await certificates.visit(CONFIRM)


def test_a_test_certificate_is_refused_outside_test_mode(tmp_path: Path) -> None:
    file = tmp_path / "test.pem"
    file.write_bytes(certificate())
    setting = {"NEXTBEST_WEBHOOK_SES_TEST_CERTIFICATE": str(file)}
    for mode in ({}, {"NEXTBEST_TEST_MODE": ""}, {"NEXTBEST_TEST_MODE": "false"}):
        with pytest.raises(ValueError, match="NEXTBEST_TEST_MODE=true"):
            certificates_of(setting | mode, loopback=True)
    with pytest.raises(ValueError, match=r"127\.0\.0\.1"):
        certificates_of(setting | TESTING, loopback=False)
    with pytest.raises(ValueError, match=r"127\.0\.0\.1"):
        certificates_of(TESTING, loopback=False)


def test_settings_that_name_no_certificate_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="NEXTBEST_WEBHOOK_SES_CERTIFICATE"):
        certificates_of({"NEXTBEST_WEBHOOK_SES_CERTIFICATE": str(tmp_path / "none")}, loopback=True)
    (tmp_path / "x").write_text("no certificate")
    with pytest.raises(ValueError, match="no certificate in PEM"):
        certificates_of({**TESTING, "NEXTBEST_WEBHOOK_SES_TEST_CERTIFICATE": str(tmp_path / "x")}, loopback=True)


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.eu-west-1.amazonaws.com/a.pem", "https://sns.eu-west-1.amazonaws.com.example.com/a.pem",
        "https://sns.eu-west-1.amazonaws.com:6379/a.pem", "https://user@sns.eu-west-1.amazonaws.com/a.pem",
        "https://s3.eu-west-1.amazonaws.com/a.pem", "https://169.254.169.254/latest/meta-data", "https://[::1/a.pem",
        "file:///etc/passwd", "",
    ],
)  # fmt: skip
async def test_whoever_hands_in_another_address_nobody_is_asked(url: str) -> None:
    """The last look stands by itself: no caller's mistake before it leads to another machine."""
    amazon = Amazon(good)
    with pytest.raises(CertificateUnavailable, match="not one of Amazon SNS"):
        await Certificates(transport=amazon).of(url)
    assert amazon.asked == []
