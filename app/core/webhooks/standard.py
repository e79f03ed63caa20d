"""Standard Webhooks v1, and Svix's headers for the same scheme.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
https://docs.svix.com/receiving/verifying-payloads/how-manual

`v1,` + Base64 of HMAC-SHA256 over `<id>.<Unix s>.<raw body>`. The header lists several while a secret is rotated;
unknown versions (`v1a,` is ed25519) are passed over. Each attempt is signed anew, so that five minutes are enough.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence

from app.core.webhooks.provider import Delivery, Untrusted
from app.core.webhooks.signatures import (
    WRONG_SIGNATURE,
    check_recent,
    hmac_of,
    is_one_of,
    required,
    signed_time_s,
)

PREFIX = "whsec_"
TOLERANCE_S = 300
FAMILIES = ("webhook-", "svix-")  # of headers
#: A header lists one signature for each secret in use; more are not looked at.
SIGNATURES_MAX = 16


def check_standard(delivery: Delivery, secrets: Sequence[str]) -> None:
    """The delivery is signed with one of the secrets (`whsec_` + Base64; the prefix may be missing). Raises
    Untrusted."""
    family = _family(delivery.headers)
    message_id = required(delivery.headers, family + "id")
    timestamp = required(delivery.headers, family + "timestamp")
    given = required(delivery.headers, family + "signature").split()[:SIGNATURES_MAX]
    if "." in message_id:  # it parts what is signed
        raise Untrusted(f"the `{family}id` header holds a dot")
    signed_s = signed_time_s(timestamp)
    signed = f"{message_id}.{timestamp}.".encode() + delivery.body
    expected = [signature(secret, signed) for secret in secrets]
    proven = [is_one_of(each, expected) for each in given]  # all are compared, whichever it is
    if not any(proven):
        raise Untrusted(WRONG_SIGNATURE)
    check_recent(signed_s, delivery.now_s, TOLERANCE_S)


def message_id(delivery: Delivery) -> str:
    """The id of a verified delivery: the same on every attempt, so that a repeat is known by it."""
    return delivery.headers.get(_family(delivery.headers) + "id", "").strip()


def signature(secret: str, signed: bytes) -> str:
    """`v1,…` of what is signed. Raises Untrusted where the secret is none."""
    return "v1," + b64encode(hmac_of(signing_key(secret), signed)).decode()


def signing_key(secret: str) -> bytes:
    """The bytes of a secret. Raises Untrusted."""
    try:
        return b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError:
        raise Untrusted("the configured secret is not `whsec_` and Base64") from None


def _family(headers: Mapping[str, str]) -> str:
    """Which of the two families of headers a delivery has."""
    return next((family for family in FAMILIES if family + "signature" in headers), FAMILIES[0])
