"""A delivery of Customer.io: one event, signed with its time."""

from __future__ import annotations

import hmac

from app.core.webhooks.provider import Trust
from tests.support.webhooks import Sample
from tests.support.webhooks.payloads import payload

SAMPLE = Sample(
    body=payload("customerio", "email_sent.json"),
    trust=Trust(secrets=("d2b7e9f0a1c3456789abcdef01234567",)),
    other_secret="ffffffffffffffffffffffffffffffff",
    signs_time=True,
)


def signed(body: bytes, secret: str, now_s: float) -> dict[str, str]:
    timestamp = str(int(now_s))
    content = f"v0:{timestamp}:".encode() + body
    return {
        "x-cio-timestamp": timestamp,
        "x-cio-signature": hmac.digest(secret.encode(), content, "sha256").hex(),
    }
