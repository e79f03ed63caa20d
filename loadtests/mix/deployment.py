"""What is driven: its placements, asked of itself, and customers, given or made."""

from __future__ import annotations

import json
import os
from base64 import b64decode
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key

from loadtests.mix.traffic import Deployment, address

KEY, SIGNING_KEY = "NEXTBEST_KEY", "NEXTBEST_SENDGRID_SIGNING_KEY"
BULK_LINES = 500
GRANTED = {"state": "granted", "source": "load_test", "basis": "consent", "at": "2026-01-01T00:00:00Z"}


class CannotDrive(SystemExit):
    """Why there is nothing to drive, in words, with the remedy."""


def find(url: str, customers: str) -> Deployment:
    """Asks the server at `url` what it serves. `customers`: a file of keys, or how many to make. Raises CannotDrive."""
    if not url:
        raise CannotDrive("say what to drive: `--host http://127.0.0.1:8000`")
    key = os.environ.get(KEY) or None
    headers = {"authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(base_url=url, headers=headers, timeout=30) as client:
        bundle = _json(client, "/v1/bundle")
        placements = _placements(bundle)
        keys = _made(client, int(customers), bundle) if customers.isdigit() else _read(Path(customers))
    return Deployment(keys, placements, key, _signing())


def _json(client: httpx.Client, path: str) -> Any:
    try:
        answer = client.get(path)
    except httpx.HTTPError as error:
        raise CannotDrive(f"{client.base_url} does not answer: {error}") from error
    if answer.status_code in (401, 403):
        raise CannotDrive(f"{path} needs a key: set {KEY} to one with the scopes decide, collect and read")
    if answer.status_code != 200:
        raise CannotDrive(f"{path} answered {answer.status_code}: is this a nextbest server?")
    return answer.json()


def _placements(bundle: Any) -> tuple[str, ...]:
    """Marketing's, mail first: they are what journey tools ask for, and what an ESP tells of."""
    found = sorted(_marketing(bundle), key=lambda each: each["channel"] != "email")
    if not found:
        raise CannotDrive("the bundle has no marketing placement to ask for")
    return tuple(each["id"] for each in found)


def _marketing(bundle: Any) -> list[dict[str, Any]]:
    return [each for each in bundle["placements"] if each["class"] == "marketing"]


def _read(path: Path) -> tuple[str, ...]:
    try:
        keys = tuple(path.read_text(encoding="utf-8").split())
    except OSError as error:
        raise CannotDrive(f"{path} cannot be read ({error.strerror}): a file of customer keys, one a line") from error
    if not keys:
        raise CannotDrive(f"{path} holds no customer key")
    return keys


def _made(client: httpx.Client, count: int, bundle: Any) -> tuple[str, ...]:
    purposes = {"personalisation", *(each["purpose"] for each in _marketing(bundle))}
    keys = tuple(f"load{number:05d}" for number in range(count))
    lines = [json.dumps(person(key, sorted(purposes))) for key in keys]
    for piece in _pieces(lines, BULK_LINES):
        answer = client.post("/v1/customers/bulk", content="\n".join(piece))
        if answer.status_code != 200 or answer.json().get("rejected", True):
            told = f"{answer.status_code} {answer.text[:300]}"
            raise CannotDrive(f"customers could not be made; give a file of keys with `--customers`: {told}")
    return keys


def person(key: str, purposes: Sequence[str]) -> dict[str, Any]:
    """A line of `/v1/customers/bulk`: consents to all these purposes on every channel, and has an address."""
    return {
        "customer": key,
        "region": "DE",
        "timezone": "Europe/Berlin",
        "language": "de",
        "identities": {"email_sha256": sha256(address(key).encode()).hexdigest()},
        "consent": [{"purpose": purpose, "channel": "*", **GRANTED} for purpose in purposes],
    }


def _pieces(lines: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (lines[begin : begin + size] for begin in range(0, len(lines), size))


def _signing() -> EllipticCurvePrivateKey | None:
    told = os.environ.get(SIGNING_KEY)
    if not told:
        return None
    try:
        key = load_der_private_key(b64decode(told, validate=True), None)
    except ValueError:
        key = None
    if not isinstance(key, EllipticCurvePrivateKey):
        raise CannotDrive(f"{SIGNING_KEY} is no Base64 of an EC private key in PKCS #8 DER")
    return key
