"""Orders, refunds and looks in tests, and rules that say whose they are."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from app.core.decision.ids import base_of, id_at, pack_id
from app.core.events.event import Collected
from app.core.outcomes import Outcome
from app.core.standing import Told, text_of
from policy.codes import OutcomeType
from policy.outcome_rules import Conversion, OutcomeRules

NOW_MS = 1_796_083_200_000
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000


def rules(*ways: str, window_ms: int = 7 * DAY_MS) -> OutcomeRules:
    """One conversion: an order."""
    bought = Conversion(
        "purchase", "bought", "revenue", ways or ("decision_id", "last_click"), window_ms,  # type: ignore[arg-type]  # ways, as their texts
        "returned", "order_id", "total",
    )  # fmt: skip
    return OutcomeRules((bought,), by_event=MappingProxyType({"bought": (bought,), "returned": (bought,)}))


def decided(number: int, at_ms: int = NOW_MS - DAY_MS, shard: int = 0) -> str:
    """A decision's id."""
    return id_at(base_of(shard, at_ms, number), 0)


def told(kind: str, at_ms: int, **more: Any) -> tuple[bytes, bytes]:
    """Field and value of an outcome that was told, as the store keeps it."""
    outcome = Outcome(OutcomeType(kind), at_ms, more.get("value"), more.get("event_id"))
    return outcome.fingerprint(), text_of(Told(kind, at_ms, **more))


def packed(decision: str) -> bytes:
    return pack_id(decision)


def event(kind: str, number: int, customer: str = "cus_1", at_ms: int = NOW_MS, **properties: Any) -> Collected:
    return Collected(customer, kind, 1, at_ms, at_ms + 1_000, number.to_bytes(8, "big"), b"", properties)


def bought(number: int = 1, customer: str = "cus_1", at_ms: int = NOW_MS, **properties: Any) -> Collected:
    return event("bought", number, customer, at_ms, **{"order_id": "A-1", "revenue": 80.0, **properties})


def returned(number: int = 2, customer: str = "cus_1", at_ms: int = NOW_MS + DAY_MS, **properties: Any) -> Collected:
    return event("returned", number, customer, at_ms, **{"order_id": "A-1", **properties})
