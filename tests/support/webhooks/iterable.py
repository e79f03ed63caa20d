"""A delivery of Iterable: one event, with a fixed header that is compared as a whole."""

from __future__ import annotations

from app.core.webhooks.provider import Trust
from tests.support.webhooks import Sample
from tests.support.webhooks.payloads import payload

SAMPLE = Sample(
    body=payload("iterable", "email_send.json"),
    trust=Trust(secrets=("J1qK1c18UUGJFAzz9xnH56584l4",)),
    other_secret="K1qK1c18UUGJFAzz9xnH56584l4",
    signs_body=False,
)


def signed(body: bytes, secret: str, now_s: float) -> dict[str, str]:
    del body, now_s  # neither is signed
    return {"authorization": secret}
