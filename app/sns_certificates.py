"""Certificates of Amazon SNS: from a file, or fetched from Amazon and kept for a day. Also the one visit that confirms
a subscription. This is all that a webhook ever makes the server ask of another.

Callers hand in addresses that `app.core.webhooks.sns` let pass or built. Whoever sends a webhook can still cause
fetches before anything is proven, so these are few: one at a time, a handful of waiters, a minute's pause for an
address that failed and for all of them after several failures.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from app.core.webhooks.provider import Untrusted
from app.core.webhooks.sns import is_address_of_sns

if TYPE_CHECKING:
    import httpx

CERTIFICATE = "NEXTBEST_WEBHOOK_SES_CERTIFICATE"
TEST_CERTIFICATE = "NEXTBEST_WEBHOOK_SES_TEST_CERTIFICATE"
TEST_MODE = "NEXTBEST_TEST_MODE"

TIMEOUT_S = 5.0  # in all; SNS waits fifteen seconds for our answer
BYTES_MAX = 64 * 1024  # a certificate is about 2 KB
KEPT_S = 86_400.0
REFUSED_S = 60.0  # for which an address that failed is not asked again: SNS comes back after 20 s, three times
FAILURES_MAX = 8  # within REFUSED_S, of all addresses: Amazon signs with one certificate a region
KEPT_MAX = 64  # certificates; Amazon has some thirty regions
WAITERS_MAX = 64


class AmazonUnavailable(Exception):
    """Amazon could not be asked; the text says why. Answer 503, so that SNS comes again."""


class CertificateUnavailable(AmazonUnavailable):
    """The certificate that a message names could not be had."""


class Certificates:
    """Certificates by their address. Used from one event loop; `close` it with it."""

    def __init__(
        self,
        local: Path | None = None,
        stand_in: bytes | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`local`: a file that holds the certificate, or a folder of them under Amazon's names, for servers with no
        way out. `stand_in`: a certificate for tests, which is taken for every one, and nobody is asked then."""
        self._local = local
        self._stand_in = stand_in
        self._transport = transport
        self._clock = clock
        self._client: httpx.AsyncClient | None = None
        self._kept: dict[str, tuple[float, bytes]] = {}  # address → until, PEM
        self._failed: dict[str, float] = {}  # address → until
        self._one_at_a_time = asyncio.Lock()
        self._waiters = 0

    async def of(self, url: str) -> bytes:
        """The certificate at an address, as PEM; it is one of Amazon SNS by its name. Raises CertificateUnavailable
        where it cannot be had, and Untrusted where what is there is no such certificate."""
        if self._stand_in is not None:
            return self._stand_in
        if (kept := self._known(url)) is not None:
            return kept
        if self._waiters >= WAITERS_MAX:
            raise CertificateUnavailable("too many wait for a certificate of Amazon SNS")
        self._waiters += 1
        try:
            async with self._one_at_a_time:
                return self._known(url) or await self._obtained(url)
        finally:
            self._waiters -= 1

    async def visit(self, url: str) -> None:
        """Confirm a subscription at the address that `sns.confirmation_url` built. Raises AmazonUnavailable where
        Amazon did not take it: SNS sends the message again then."""
        if self._stand_in is not None:
            return
        await self._asked(url)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    def _known(self, url: str) -> bytes | None:
        now = self._clock()
        until, pem = self._kept.get(url, (0.0, b""))
        if now < until:
            return pem
        self._failed = {each: until for each, until in self._failed.items() if now < until}
        if url in self._failed or len(self._failed) >= FAILURES_MAX:
            raise CertificateUnavailable("a certificate of Amazon SNS could not be fetched a moment ago")
        return None

    async def _obtained(self, url: str) -> bytes:
        from app.core.webhooks.sns_certificate import check_name

        try:
            pem = await self._local_one(url) or await self._asked(url)
            check_name(pem)
        except (AmazonUnavailable, Untrusted):
            self._failed[url] = self._clock() + REFUSED_S
            raise
        while len(self._kept) >= KEPT_MAX:
            del self._kept[next(iter(self._kept))]
        self._kept[url] = (self._clock() + KEPT_S, pem)
        return pem

    async def _local_one(self, url: str) -> bytes | None:
        """None where there is none: then Amazon is asked."""
        if self._local is None:
            return None
        # The name has the form of Amazon's, which `sns.certificate_url` let pass: it leads nowhere else.
        file = self._local / Path(urlsplit(url).path).name if self._local.is_dir() else self._local
        try:
            return await asyncio.to_thread(file.read_bytes)
        except OSError:
            return None

    async def _asked(self, url: str) -> bytes:
        """What Amazon answers. No redirect is followed, and no more is read than a certificate has."""
        import httpx  # late, like the library of certificates: few deployments ever ask Amazon

        if not is_address_of_sns(url):
            raise CertificateUnavailable("the address is not one of Amazon SNS")
        if self._client is None:
            self._client = httpx.AsyncClient(
                transport=self._transport,
                timeout=TIMEOUT_S,
                follow_redirects=False,
                headers={"accept-encoding": "identity"},  # so that what is read is what was sent, and no bomb
            )
        body = bytearray()
        try:
            async with asyncio.timeout(TIMEOUT_S), self._client.stream("GET", url) as answer:
                if not answer.is_success:
                    raise CertificateUnavailable(f"Amazon SNS answered {answer.status_code}")
                async for piece in answer.aiter_raw():
                    body += piece
                    if len(body) > BYTES_MAX:
                        raise CertificateUnavailable("Amazon SNS answered more than a certificate has")
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as problem:
            # The kind alone: texts of errors repeat the address, and with it the token of a confirmation.
            raise CertificateUnavailable(f"Amazon SNS cannot be reached ({type(problem).__name__})") from None
        return bytes(body)


def certificates_of(environ: Mapping[str, str], loopback: bool) -> Certificates:
    """As configured. `loopback`: whether only this machine can reach the server. Raises ValueError, with the remedy,
    for what must not be: a test certificate outside test mode, test mode where others can reach it, a file that is
    none."""
    local, test = environ.get(CERTIFICATE), environ.get(TEST_CERTIFICATE)
    testing = environ.get(TEST_MODE, "").strip().lower() in ("1", "true", "yes", "on")
    if testing and not loopback:
        raise ValueError(f"{TEST_MODE} is for tests on one machine: unset it, or listen on 127.0.0.1")
    if test and not testing:
        raise ValueError(
            f"{TEST_CERTIFICATE} lets anybody who has its key pass for Amazon: unset it, or set {TEST_MODE}=true on "
            "a machine that tests"
        )
    if local and not Path(local).exists():
        raise ValueError(f"{CERTIFICATE} names a file that does not exist")
    return Certificates(local=Path(local) if local else None, stand_in=_test_certificate(Path(test)) if test else None)


def _test_certificate(file: Path) -> bytes:
    from app.core.webhooks.sns_certificate import certificate_of

    try:
        pem = file.read_bytes()
        certificate_of(pem)
    except (OSError, Untrusted):
        raise ValueError(f"{TEST_CERTIFICATE} names no certificate in PEM") from None
    return pem
