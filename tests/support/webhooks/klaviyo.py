"""A delivery of Klaviyo: one event, signed with the time behind the body."""

from __future__ import annotations

import hmac
from email.utils import formatdate

from app.core.webhooks.provider import Trust
from tests.support.webhooks import Sample
from tests.support.webhooks.payloads import payload

SAMPLE = Sample(
    body=payload("klaviyo", "unsubscribed.json"),
    trust=Trust(secrets=("endpoint-secret-of-sixteen-or-more",)),
    other_secret="another-secret-of-sixteen-or-more",
    signs_time=True,
)


def signed(body: bytes, secret: str, now_s: float) -> dict[str, str]:
    timestamp = formatdate(now_s, usegmt=True)
    return {
        "klaviyo-timestamp": timestamp,
        "klaviyo-signature": hmac.digest(secret.encode(), body + timestamp.encode(), "sha256").hex(),
        "klaviyo-webhook-id": "01KP4EGG9B0AEF4VJD749M6H9D",
    }
