"""A delivery of MailerSend: one event, signed over the raw body with its escaped slashes."""

from __future__ import annotations

import hmac

from app.core.webhooks.provider import Trust
from tests.support.webhooks import Sample
from tests.support.webhooks.payloads import payload

SAMPLE = Sample(
    body=payload("mailersend", "nested_sent.json"),
    trust=Trust(secrets=("w8Xq2mPzL0cVbN5tRyUi3oKjHgFdSaQe",)),
    other_secret="another-signing-secret",
)


def signed(body: bytes, secret: str, now_s: float) -> dict[str, str]:
    del now_s  # no time is signed
    return {"signature": hmac.digest(secret.encode(), body, "sha256").hex()}
