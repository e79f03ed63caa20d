"""What is sent: customers with addresses, decisions, and batches of signed SendGrid events about what was sent."""

from __future__ import annotations

import itertools
import json
import random
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from loadtests.driver import http_request

CUSTOMERS = 5_000
BATCH = 100  # events a request
SEED = 20_261_124
PATH = "/v1/webhooks/sendgrid"


def key(number: int) -> str:
    return f"b{number:05d}"


def address(number: int) -> str:
    return f"b{number:05d}@example.com"


def person(number: int) -> dict[str, Any]:
    """A line of `/v1/customers/bulk`: consents to everything, and has an address."""
    said = {"state": "granted", "source": "signup_form", "basis": "consent", "at": "2026-01-01T00:00:00Z"}
    purposes = ("marketing", "personalisation")
    return {
        "customer": key(number),
        "region": "DE",
        "timezone": "Europe/Berlin",
        "identities": {"email_sha256": sha256(address(number).encode()).hexdigest()},
        "consent": [{"purpose": purpose, "channel": "*", **said} for purpose in purposes],
    }


def decision(number: int) -> bytes:
    return http_request("/v1/decide", json.dumps({"customer": key(number), "placements": ["offer"]}).encode())


def decisions() -> Iterator[bytes]:
    """Requests for decisions, for customers at random, without end."""
    chance = random.Random(SEED)
    while True:
        yield decision(chance.randrange(CUSTOMERS))


def new_key() -> EllipticCurvePrivateKey:
    """A webhook's own."""
    return generate_private_key(SECP256R1())


def public(key: EllipticCurvePrivateKey) -> str:
    """What the server is told: the public half, as SendGrid shows it."""
    return b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


class Batches:
    """Requests of `BATCH` events, as SendGrid sends and signs them, about sends at random: half delivered, a third
    opened, the rest clicked; one in a thousand bounced softly. Each has an id of its own."""

    def __init__(self, key: EllipticCurvePrivateKey, sent: Sequence[tuple[int, str]]) -> None:
        """`sent`: number of the customer and decision id of each send."""
        self._sent = sent
        self._chance = random.Random(SEED)
        self._ids = itertools.count()
        self._key = key

    def prepare(self, count: int) -> list[bytes]:
        """The whole bytes of so many requests."""
        return [self._request() for _ in range(count)]

    def _request(self) -> bytes:
        body = json.dumps([self._event() for _ in range(BATCH)], separators=(",", ":")).encode()
        headers = "".join(f"{name}: {value}\r\n" for name, value in signature(self._key, body).items())
        return http_request(PATH, body).replace(b"\r\n\r\n", f"\r\n{headers}\r\n".encode(), 1)

    def _event(self) -> dict[str, Any]:
        number, decision_id = self._chance.choice(self._sent)
        return about(address(number), decision_id, f"bench-{next(self._ids)}", self._chance)


def signature(key: EllipticCurvePrivateKey, body: bytes) -> dict[str, str]:
    """The headers of a body that is signed now."""
    signed_at = str(int(time.time()))
    made = b64encode(key.sign(signed_at.encode() + body, ECDSA(SHA256()))).decode()
    prefix = "X-Twilio-Email-Event-Webhook"
    return {f"{prefix}-Signature": made, f"{prefix}-Timestamp": signed_at}


def about(email: str, decision_id: str, event_id: str, chance: random.Random) -> dict[str, Any]:
    """An event of a mail that was sent for a decision."""
    (name,) = chance.choices(("delivered", "open", "click", "bounce"), (500, 333, 166, 1))
    said: dict[str, Any] = {
        "email": email,
        "event": name,
        "timestamp": int(time.time()),
        "sg_event_id": event_id,
        "sg_message_id": f"m{decision_id}.filterdrecv-1",
        "category": ["offer"],
        "decision_id": decision_id,
        "useragent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130",
    }
    if name == "click":
        said["url"] = f"https://shop.example.com/p/{chance.randint(1, 500)}"
    if name == "bounce":
        said |= {"type": "blocked", "reason": "450 4.2.2 mailbox full", "status": "4.2.2"}
    return said
