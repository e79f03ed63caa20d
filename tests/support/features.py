"""A bundle whose placements read features, and customers who did things."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from app.core.events.event import Event
from app.core.features.codec import encode
from app.core.features.history import folded
from app.core.features.live import LiveFeatures, live_features
from app.core.features.plan import FoldPlan
from app.core.features.watermarks import Watermarks
from policy.bundle import Bundle
from policy.compile import load
from tests.support.folding import event

FOLDER = Path(__file__).parent / "feature_bundle"
MINUTE_MS = 60_000
DAY_MS = 1440 * MINUTE_MS
TYPES = ("product_viewed", "product_added", "order_completed")


@cache
def feature_bundle() -> Bundle:
    return load(FOLDER)


@cache
def plan() -> FoldPlan:
    """As a worker of the bundle folds."""
    return FoldPlan.of(feature_bundle())


def live() -> LiveFeatures:
    found = live_features(feature_bundle(), tuple(feature_bundle().placements.values()))
    assert found is not None
    return found


def stored(events: Iterable[Event]) -> dict[bytes, bytes]:
    """What a worker writes of a customer who did this: its groups, by key."""
    state = folded(plan(), events)
    return {
        group.key.encode(): encode(group, held)
        for group, held in zip(plan().groups, state, strict=True)
        if held is not None
    }


def asked_for(groups: dict[bytes, bytes]) -> list[bytes | None]:
    """What the store answers of them to a decision."""
    return [groups.get(group.key.encode()) for group in live().groups]


def viewed(at_ms: int, number: int = 0, **properties: Any) -> Event:
    return event("product_viewed", at_ms, number, **properties)


def added(at_ms: int, number: int = 0, **properties: Any) -> Event:
    return event("product_added", at_ms, number, **properties)


def ordered(at_ms: int, number: int = 0, **properties: Any) -> Event:
    return event("order_completed", at_ms, number, **properties)


def complete_until(ms: int, shard: int = 0, **types_ms: int) -> Watermarks:
    """All events of a shard are complete until then; some types until another time."""
    return Watermarks({name: types_ms.get(name, ms) for name in TYPES}, {shard: ms})
