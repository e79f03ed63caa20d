"""A delivery of `generic`, signed as Standard Webhooks are."""

from __future__ import annotations

from app.core.webhooks.provider import Trust
from tests.support.webhooks import Sample
from tests.support.webhooks.payloads import payload
from tests.support.webhooks.standard import standard

SAMPLE = Sample(
    body=payload("generic", "batch.json"),
    trust=Trust(secrets=("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",)),
    other_secret="whsec_AAAAAAAAKYqrTwjUPD8ILPZIo2LaLaSw",
    signs_time=True,
)


def signed(body: bytes, secret: str, now_s: float) -> dict[str, str]:
    return standard(body, secret, now_s, "webhook-")
