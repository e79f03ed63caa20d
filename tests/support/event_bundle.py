"""A bundle with events, and the way of one event through the pure steps."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from app.core.events.event import Arrived, Misfit
from app.core.events.quality import Found, Judged, Receipt, judge
from app.core.events.who import unwanted_kinds, who_is_it
from app.core.identity import fallback_key
from policy.bundle import Bundle
from policy.compile import load

FOLDER = Path(__file__).parent / "event_bundle"
HASH_KEY = b"a key that only tests know, 32 characters"
NOW_MS = 1_796_083_200_000  # 2026-12-01T00:00:00Z
RECEIPT = Receipt(NOW_MS, "key_shop", b"01234567")


@cache
def event_bundle() -> Bundle:
    return load(FOLDER)


def judged(arrived: Arrived | Misfit, receipt: Receipt = RECEIPT, index: int = 0) -> Judged:
    """What becomes of an event of somebody whom the store does not know."""
    assert isinstance(arrived, Arrived), arrived
    who = who_is_it(arrived, unwanted_kinds(event_bundle()))
    assert not isinstance(who, Misfit), who
    subject = who.subject
    customer = subject if isinstance(subject, str) else fallback_key(subject.kind, subject.value, HASH_KEY)
    return judge(arrived, Found(who, customer), event_bundle().events, receipt, HASH_KEY, index)


def told(name: str, properties: dict[str, Any] | None = None, **others: Any) -> Arrived:
    """An event of one customer."""
    return Arrived("track", name, (("customer", "cus_1"),), properties or {}, **others)
