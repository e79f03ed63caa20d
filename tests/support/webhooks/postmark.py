"""A delivery of Postmark, with HTTP Basic."""

from __future__ import annotations

from app.core.webhooks.provider import Trust
from tests.support.webhooks import Sample
from tests.support.webhooks.credentials import basic
from tests.support.webhooks.payloads import payload

SAMPLE = Sample(
    body=payload("postmark", "bounce.json"),
    trust=Trust(basic=("hooks:correct horse",)),
    other_secret="hooks:wrong horse",
    signs_body=False,
)


def signed(body: bytes, secret: str, now_s: float) -> dict[str, str]:
    del body, now_s  # neither is signed
    return basic(secret)
