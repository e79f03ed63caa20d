"""What the standard job is: its customers, the order in which they are asked for, and its requests.

The peers do the same job, so their parts of it (rules, messages) are here too; the project's own are in
`loadtests/standard/bundle`. Standard library only: a peer's own environment imports this.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BUNDLE = Path(__file__).parent / "bundle"
MODEL = BUNDLE / "registry" / "standard" / "1" / "model.onnx"

CUSTOMERS = 20_000
STEP = 7_919  # prime, so the walk visits every customer before any twice, and neighbours in time lie far apart
SEED = 20_240_117  # any number, for ever the same
ATTRIBUTES = tuple(f"f{i}" for i in range(20))
MESSAGE_FEATURES = tuple(f"m{i}" for i in range(4))
MESSAGES = 20
CATEGORIES = 4

#: CEL, as in the bundle; message i holds rules i mod 8 and 3i mod 8.
RULES = (
    "customer.f3 > 0.1",
    'customer.f5 >= 0.05 || context.language == "de"',
    'context.language in ["en", "de", "fr"]',
    'customer.lifecycle != "churned"',
    "customer.f7 < 0.95 && customer.f9 > 0.01",
    "customer.f18 >= 0.0",
    "customer.f1 > 0.9 || customer.f2 > 0.001",
    'customer.lifecycle == "active" && customer.f11 < 0.99',
)


def walk() -> Iterator[int]:
    """Customers in the order in which they are asked for, once round."""
    return ((STEP * n) % CUSTOMERS for n in range(CUSTOMERS))


def attributes(count: int = CUSTOMERS, names: tuple[str, ...] = ATTRIBUTES) -> Iterator[dict[str, float]]:
    """Each customer's numbers, uniform in [0, 1) with four decimals."""
    chance = random.Random(SEED)
    for _ in range(count):
        yield {name: chance.randrange(10_000) / 10_000 for name in names}


def customer(key: str, numbers: dict[str, float]) -> dict[str, Any]:
    """A line of `/v1/customers/bulk`."""
    granted = {"state": "granted", "source": "signup_form", "basis": "consent", "at": "2026-01-01T00:00:00Z"}
    return {
        "customer": key,
        "attributes": {**numbers, "lifecycle": "active"},
        "region": "DE",
        "language": "de",
        "consent": [
            {"purpose": "marketing", "channel": "email", **granted},
            {"purpose": "personalisation", "channel": "*", **granted},
        ],
    }


def decide_body(key: str) -> bytes:
    """The body of `POST /v1/decide`."""
    context = {"language": "de", "region": "DE"}
    return json.dumps({"customer": key, "placements": ["standard"], "context": context}, separators=(",", ":")).encode()
