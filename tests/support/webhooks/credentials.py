"""Credentials as HTTP Basic carries them: all that providers have who sign nothing."""

from __future__ import annotations

from base64 import b64encode

from app.core.webhooks.provider import Trust
from tests.support.webhooks import Sample


def basic(credentials: str) -> dict[str, str]:
    """The header for `user:password`."""
    return {"authorization": "Basic " + b64encode(credentials.encode()).decode()}


def sample(body: bytes) -> Sample:
    """A delivery that nothing but credentials proves."""
    return Sample(
        body=body, trust=Trust(basic=("hooks:correct horse",)), other_secret="hooks:wrong horse", signs_body=False
    )


def signed(body: bytes, secret: str, now_s: float) -> dict[str, str]:
    """The headers of such a delivery."""
    del body, now_s  # neither is signed
    return basic(secret)
