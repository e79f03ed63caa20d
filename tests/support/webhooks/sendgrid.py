"""A delivery of SendGrid, signed by the documented recipe: the secret of a sample is the public key as SendGrid shows
it, and the private one is looked up by it."""

from __future__ import annotations

from base64 import b64encode

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.core.webhooks.provider import Trust
from tests.support.webhooks import Sample
from tests.support.webhooks.payloads import payload

PRIVATE: dict[str, EllipticCurvePrivateKey] = {}


def public_key() -> str:
    """A new key: Base64 of its SubjectPublicKeyInfo, which stands in the console of a webhook."""
    private = generate_private_key(SECP256R1())
    public = b64encode(private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
    PRIVATE[public] = private
    return public


SAMPLE = Sample(
    body=payload("sendgrid", "each_event.json"),
    trust=Trust(secrets=(public_key(),)),
    other_secret=public_key(),
    signs_time=True,
)


def signed(body: bytes, secret: str, now_s: float) -> dict[str, str]:
    timestamp = str(int(now_s))
    signature = PRIVATE[secret].sign(timestamp.encode() + body, ECDSA(SHA256()))
    return {
        "content-type": "application/json;charset=utf-8",
        "x-twilio-email-event-webhook-signature": b64encode(signature).decode(),
        "x-twilio-email-event-webhook-timestamp": timestamp,
    }
