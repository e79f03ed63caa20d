"""Standard Webhooks, signed from its specification and apart from the code under test."""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from hashlib import blake2b


def standard(body: bytes, secret: str, now_s: float, family: str = "webhook-", message_id: str = "") -> dict[str, str]:
    """The headers. The id is the body's own, so that sending it again is a repeat."""
    message_id = message_id or f"msg_{blake2b(body, digest_size=8).hexdigest()}"
    timestamp = str(int(now_s))
    key = b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, "sha256")
    return {
        f"{family}id": message_id,
        f"{family}timestamp": timestamp,
        f"{family}signature": f"v1,{b64encode(digest).decode()}",
    }
