"""A delivery of Mailgun: the proof stands in the body, and does not cover it."""

from __future__ import annotations

import hmac
from itertools import count

import orjson

from app.core.webhooks.provider import Trust
from tests.support.webhooks import Sample
from tests.support.webhooks.payloads import payload

SAMPLE = Sample(
    body=payload("mailgun", "delivered.json"),
    trust=Trust(secrets=("key-3ax6xnjp29jd6fds4gc373sgvjxteol0",)),
    other_secret="key-00000000000000000000000000000000",
    signs_body=False,
    signs_time=True,
)
_TOKENS = count(1)


def signed_body(body: bytes, secret: str, now_s: float, token: str = "") -> bytes:
    """With a proof made now, with a token of its own."""
    timestamp, token = str(int(now_s)), token or f"{next(_TOKENS):050x}"
    signature = hmac.digest(secret.encode(), (timestamp + token).encode(), "sha256").hex()
    proof = {"timestamp": timestamp, "token": token, "signature": signature}
    return orjson.dumps(orjson.loads(body) | {"signature": proof})


def signed(body: bytes, secret: str, now_s: float) -> dict[str, str]:
    del body, secret, now_s  # all of it is in the body
    return {"content-type": "application/json"}
