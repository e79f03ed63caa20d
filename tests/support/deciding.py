"""Deciding without a server: facts and a request in, decisions, their bytes and their record out.

The way is the product's own, `app.core.decision.replay`, which runs the pure steps in their order.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from app.core.decision.failed import undecided
from app.core.decision.gate import gate
from app.core.decision.ids import base_of
from app.core.decision.record import Asked, Record, encode
from app.core.decision.replay import Replayed, replay
from app.core.decision.score import Scoring
from policy.bundle import Bundle, Placement
from policy.codes import Degraded, Reason
from policy.control import NO_CONTROL, Control
from policy.facts import ConsentEntry, Contact, ContactKind, Facts

#: A Tuesday, 10:00 UTC.
NOW_MS = 1_795_514_400_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
#: What a model says: a probability for each message; or why it says nothing.
Model = Mapping[str, float] | Callable[[str], float] | Degraded


class Decided(NamedTuple):
    """A request, decided."""

    decisions: list[Replayed]
    record: bytes

    @property
    def first(self) -> Any:
        return self.decisions[0].decision


def float32(number: float) -> float:
    """As a model would say it."""
    rounded: float = struct.unpack("f", struct.pack("f", number))[0]
    return rounded


def granted(purpose: str, channel: str = "*", at_ms: int = 0) -> ConsentEntry:
    return ConsentEntry(purpose, channel, "granted", "consent", "signup_form", at_ms)


def denied(purpose: str, channel: str = "*", at_ms: int = 0) -> ConsentEntry:
    return ConsentEntry(purpose, channel, "denied", "consent", "preference_centre", at_ms)


def facts_of(values: Mapping[str, Any] | None = None, **more: Any) -> Facts:
    """A customer of whom `values` are known, who allowed everything, unless `more` says otherwise."""
    usual: dict[str, Any] = {
        "now_ms": NOW_MS, "exists": True, "region": "DE", "timezone": "Europe/Berlin", "language": "de",
        "consent": (granted("marketing"), granted("personalisation")), "values": values or {},
        "as_of_ms": {"crm": NOW_MS, "bank": NOW_MS, "growth": NOW_MS},
    }  # fmt: skip
    return Facts(**(usual | more))


def kind(placement: Placement, message: str) -> ContactKind:
    """The kind of contact that a message of the placement makes."""
    found = next(each.message for each in placement.candidates if each.message.id == message)
    return ContactKind(
        placement.id, placement.channel, placement.klass, found.id, found.category or "", found.campaign or ""
    )


def contact(what: ContactKind, not_before_ms: int, not_after_ms: int | None = None, number: int = 0) -> Contact:
    """A contact at one instant, or at some time in between two."""
    return Contact(number.to_bytes(14, "big"), what, not_before_ms, not_after_ms or not_before_ms)


def decide(
    bundle: Bundle,
    facts: Facts,
    placements: Sequence[str],
    context: Mapping[str, Any] | None = None,
    seed: int = 0,
    model: Model = Degraded.MODEL_MISSING,
    gpc: bool = False,
    control: Control = NO_CONTROL,
    customer: str = "cus_1",
) -> Decided:
    """Decide the placements, in order of importance."""
    asked = Asked(customer, tuple(bundle.placements[name] for name in placements), context or {}, 40, None, gpc)
    base = base_of(0, facts.now_ms, seed)
    blank = tuple(undecided(placement, Reason.DEADLINE) for placement in asked.placements)
    record = Record(base, asked, bundle, facts, seed, blank, (b"",) * len(blank), 0, "rel_test", control)
    decided = replay(record, lambda placement, _, pool: _scoring(model, placement, pool.positions))
    seen = record.situation
    raw = encode(
        base,
        asked,
        seen,
        [each.decision for each in decided],
        [each.answer for each in decided],
        [gate(placement, seen) for placement in asked.placements],
        1234,
        "rel_test",
    )
    return Decided(decided, raw)


def _scoring(model: Model, placement: Placement, positions: Sequence[int]) -> Scoring:
    if isinstance(model, Degraded):
        return Scoring(degraded=model)
    says = model if callable(model) else model.__getitem__
    return Scoring([float32(says(placement.candidates[position].message.id)) for position in positions])
