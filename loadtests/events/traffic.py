"""What is sent: customers, batches of events that no one has sent before, decisions."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from typing import Any

from loadtests.driver import http_request

CUSTOMERS = 5_000
BATCH = 100  # events a request
SEED = 20_261_124
CATEGORIES = tuple(f"category-{number}" for number in range(9))


def key(number: int) -> str:
    return f"b{number:05d}"


def person(customer: str) -> dict[str, Any]:
    """A line of `/v1/customers/bulk`: consents to everything, nothing else is known."""
    said = {"state": "granted", "source": "signup_form", "basis": "consent", "at": "2026-01-01T00:00:00Z"}
    purposes = ("marketing", "personalisation")
    return {
        "customer": customer,
        "region": "DE",
        "timezone": "Europe/Berlin",
        "consent": [{"purpose": purpose, "channel": "*", **said} for purpose in purposes],
    }


def event(customer: str, name: str, event_id: str, chance: random.Random) -> dict[str, Any]:
    """One event that happens when it is received."""
    if name == "bought":
        properties: dict[str, Any] = {"order": f"o{event_id}", "revenue": round(chance.random() * 200, 2)}
    else:
        properties = {
            "product": f"p{chance.randint(1, 2000)}",
            "category": chance.choice(CATEGORIES),
            "price": round(chance.random() * 100, 2),
        }
    return {"event": name, "customer": customer, "id": event_id, "properties": properties}


class Batches:
    """Requests of `BATCH` events, prepared before anything is measured. Each event has an id of its own and a customer
    at random: 8 of 10 are views, 13 of 100 additions, the rest orders."""

    def __init__(self) -> None:
        self._chance = random.Random(SEED)
        self._ids = itertools.count()

    def prepare(self, count: int) -> list[bytes]:
        """The whole bytes of so many requests."""
        return [http_request("/v1/events", self._body()) for _ in range(count)]

    def _body(self) -> bytes:
        chance = self._chance
        names = chance.choices(("viewed", "added", "bought"), (80, 13, 7), k=BATCH)
        events = [event(key(chance.randrange(CUSTOMERS)), name, f"e{next(self._ids)}", chance) for name in names]
        return json.dumps(events, separators=(",", ":")).encode()

    def single(self, customer: str) -> bytes:
        """A request with one view."""
        body = json.dumps(event(customer, "viewed", f"e{next(self._ids)}", self._chance)).encode()
        return http_request("/v1/events", body)


def decisions() -> Iterator[bytes]:
    """Requests for decisions, for customers at random, without end."""
    chance = random.Random(SEED)
    while True:
        yield decision(key(chance.randrange(CUSTOMERS)))


def decision(customer: str, *, dry: bool = False) -> bytes:
    body = {"customer": customer, "placements": ["offer"], **({"dry_run": True} if dry else {})}
    return http_request("/v1/decide", json.dumps(body).encode())
