"""What each kind of caller sends, to the byte, and what its answer says was done.

Customers, placements and keys are those of the deployment that is driven (`Deployment`). What an ESP tells is about
what was sent in this run, so its webhooks begin when the first decision has said `send`.
"""

from __future__ import annotations

import itertools
import random
import uuid
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from loadtests.mix.schedule import Kind
from loadtests.outcomes.traffic import about, signature

BATCH_LINES, SDK_MESSAGES, WEBHOOK_ITEMS = 100, 20, 50
SENDS_KEPT = 20_000  # an ESP tells of what was sent lately
CATEGORIES = tuple(f"category-{number}" for number in range(9))
#: Names and properties of Segment's e-commerce specification, and how often of 100.
ACTIONS = (("Product Viewed", 80), ("Product Added", 13), ("Order Completed", 7))
VERSION = "2.4.0"  # of segment-analytics-python, whose requests these are


class Request(NamedTuple):
    """A POST."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Done:
    """What an answer says: things done, by the name under which they are counted on the other end."""

    counts: dict[str, int] = field(default_factory=dict)
    rungs: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Deployment:
    """Whom to ask about, for what, as whom."""

    customers: Sequence[str]
    placements: Sequence[str]  # that may be asked for alone, the mail's first
    key: str | None  # of the API
    signing: EllipticCurvePrivateKey | None  # SendGrid's half; without it no webhooks are sent

    def kinds(self) -> tuple[Kind, ...]:
        return tuple(kind for kind in Kind if kind is not Kind.WEBHOOKS or self.signing is not None)


def address(customer: str) -> str:
    """The address that a made-up customer has."""
    return f"{customer}@example.com"


class Traffic:
    """Requests and their answers. One for all connections: Locust's run in one thread."""

    def __init__(self, on: Deployment, seed: int) -> None:
        self._on = on
        self._chance = random.Random(seed)
        self._run = uuid.uuid4().hex[:8]  # ids of an earlier run would be repeats
        self._ids = itertools.count()
        self._sent: deque[tuple[str, str]] = deque(maxlen=SENDS_KEPT)
        bearer = {"Authorization": f"Bearer {on.key}"} if on.key else {}
        self._json = {"Content-Type": "application/json", **bearer}
        self._lines = {"Content-Type": "application/x-ndjson", **bearer}
        basic = b64encode(f"{on.key or 'write-key'}:".encode()).decode()
        self._segment = {
            "Content-Type": "application/json",
            "User-Agent": f"analytics-python/{VERSION}",
            "Authorization": f"Basic {basic}",
        }
        self._make: dict[Kind, Callable[[], Request | None]] = {
            Kind.DECIDE: self._decide,
            Kind.BATCH: self._batch,
            Kind.EVENTS: self._events,
            Kind.WEBHOOKS: self._webhooks,
        }

    def request(self, kind: Kind) -> Request | None:
        """The next of a kind; None for a webhook while nothing was sent."""
        return self._make[kind]()

    def done(self, kind: Kind, body: bytes) -> Done:
        """What a 200 says. Raises ValueError for an answer that is none, which is a failure like any other status."""
        match kind:
            case Kind.DECIDE:
                return self._decided([body])
            case Kind.BATCH:
                return self._decided(body.splitlines())
            case Kind.EVENTS:
                said = orjson.loads(body)
                return Done({"events": _number(said, "accepted"), "events rejected": len(said.get("rejected", ()))})
            case Kind.WEBHOOKS:
                said = orjson.loads(body)
                return Done({"outcomes": _number(said, "accepted") - _number(said, "duplicates")})

    def _asked(self) -> dict[str, Any]:
        """Nearly all of a journey tool's questions are about its channel; the rest is asked by a site."""
        placements = self._on.placements
        placement = (
            placements[0]
            if len(placements) == 1 or self._chance.random() < 0.8
            else self._chance.choice(placements[1:])
        )
        return {"customer": self._chance.choice(self._on.customers), "placements": [placement]}

    def _decide(self) -> Request:
        return Request("/v1/decide", self._json, orjson.dumps(self._asked()))

    def _batch(self) -> Request:
        lines = b"\n".join(orjson.dumps(self._asked()) for _ in range(BATCH_LINES))
        return Request("/v1/decide/batch", self._lines, lines)

    def _decided(self, answers: Sequence[bytes]) -> Done:
        done = Done({"decisions": 0, "decisions to repeat": 0})
        for answer in answers:
            said = orjson.loads(answer)
            if not isinstance(said, dict) or "decisions" not in said:
                raise ValueError("an answer without decisions")
            (made,) = said["decisions"]
            done.counts["decisions to repeat" if made["retryable"] else "decisions"] += 1
            done.rungs[made["rung"]] = done.rungs.get(made["rung"], 0) + 1
            if made["action"] == "send":
                self._sent.append((said["customer"], made["decision_id"]))
        return done

    def _events(self) -> Request:
        now = datetime.now(tz=UTC).isoformat(timespec="milliseconds")
        body = {"batch": [self._message(now) for _ in range(SDK_MESSAGES)], "sentAt": now}
        return Request("/v1/batch", self._segment, orjson.dumps(body))

    def _message(self, now: str) -> dict[str, Any]:
        chance, number = self._chance, next(self._ids)
        (name,) = chance.choices([name for name, _ in ACTIONS], [often for _, often in ACTIONS])
        if name == "Order Completed":
            properties: dict[str, Any] = {
                "order_id": f"{self._run}-{number}",
                "revenue": round(chance.random() * 200, 2),
            }
        else:
            properties = {
                "product_id": f"p{chance.randint(1, 2000)}",
                "category": chance.choice(CATEGORIES),
                "price": round(chance.random() * 100, 2),
            }
        user = chance.choice(self._on.customers)
        return {
            "integrations": {},
            "anonymousId": f"visitor-{user}",
            "properties": properties,
            "timestamp": now,
            "context": {"library": {"name": "analytics-python", "version": VERSION}},
            "userId": user,
            "type": "track",
            "event": name,
            "messageId": f"{self._run}-{number:032d}",
        }

    def _webhooks(self) -> Request | None:
        if not self._sent or self._on.signing is None:
            return None
        told = [self._told() for _ in range(WEBHOOK_ITEMS)]
        body = orjson.dumps(told)
        headers = {"Content-Type": "application/json", **signature(self._on.signing, body)}
        return Request("/v1/webhooks/sendgrid", headers, body)

    def _told(self) -> dict[str, Any]:
        customer, decision = self._chance.choice(self._sent)
        return about(address(customer), decision, f"{self._run}-{next(self._ids)}", self._chance)


def _number(said: Any, name: str) -> int:
    value = said.get(name, 0) if isinstance(said, dict) else None
    if not isinstance(value, int):
        raise ValueError(f"an answer without `{name}`")
    return value
