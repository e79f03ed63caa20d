"""A delivery of Braze: a batch of one event, with a Bearer token."""

from __future__ import annotations

from app.core.webhooks.provider import Trust
from tests.support.webhooks import Sample
from tests.support.webhooks.payloads import payload

SAMPLE = Sample(
    body=payload("braze", "canvas_delivery.json"),
    trust=Trust(secrets=("0p3n5354m3==",)),
    other_secret="0th3r5354m3==",
    signs_body=False,
)


def signed(body: bytes, secret: str, now_s: float) -> dict[str, str]:
    del body, now_s  # neither is signed
    return {"authorization": f"Bearer {secret}", "braze-currents-version": "1"}
