"""A delivery of Mailtrap: nine events, signed over the raw body."""

from __future__ import annotations

import hmac

from app.core.webhooks.provider import Trust
from tests.support.webhooks import Sample
from tests.support.webhooks.payloads import payload

SAMPLE = Sample(
    body=payload("mailtrap", "batch.json"),
    trust=Trust(secrets=("8d9a3b0c5e7f41d2a6b8c0e1f2a3b4c5",)),
    other_secret="00000000000000000000000000000000",
)


def signed(body: bytes, secret: str, now_s: float) -> dict[str, str]:
    del now_s  # no time is signed
    return {"mailtrap-signature": hmac.digest(secret.encode(), body, "sha256").hex()}
