"""A delivery of Mandrill: a form, signed over the address and the fields."""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Iterable
from urllib.parse import quote_plus, unquote_plus

from app.core.webhooks.provider import Trust
from tests.support.webhooks import Sample
from tests.support.webhooks.payloads import payload

URL = "https://hooks:correct@shop.example.com/v1/webhooks/mandrill?from=mandrill"
SAMPLE = Sample(
    body=payload("mandrill", "delivered.txt"),
    trust=Trust(secrets=("bwT6RyWiBH8jBOhwqYbWyg",)),
    other_secret="aaT6RyWiBH8jBOhwqYbWyg",
    url=URL,
)


def form(fields: Iterable[tuple[str, str]]) -> bytes:
    return "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in fields).encode()


def signed(body: bytes, secret: str, now_s: float, url: str = URL) -> dict[str, str]:
    """The recipe of Mandrill's guide, step by step."""
    del now_s  # no time is signed
    text = url
    pairs = [tuple(map(unquote_plus, each.split("=", 1))) for each in body.decode().split("&")]
    for name, value in sorted(pairs):
        text += name
        text += value
    signature = b64encode(hmac.digest(secret.encode(), text.encode(), "sha1")).decode()
    return {"content-type": "application/x-www-form-urlencoded", "x-mandrill-signature": signature}
