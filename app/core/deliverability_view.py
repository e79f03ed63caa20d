"""How a judgement of the deliverability watch is shown: a document for programs, lines of metrics. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from app.core.deliverability import Judgement
from policy.codes import SwitchKind
from policy.control import Switch
from policy.rates import Measured, measured
from policy.watch import WATCH, Counts, Kind, Row, rate_of

#: Looks come every ten seconds: from then on nobody watches.
STALE_AFTER_MS = 60_000
NEVER = "nobody has looked yet: an event worker does, every ten seconds, where the bundle has a `watch`"
STALE = "nobody has looked for a minute: see that an event worker runs"
#: Shares that no rule is about, shown all the same.
DELIVERED, SOFT_BOUNCED = "delivered", "soft_bounced"


class Braked(NamedTuple):
    """A message that the watch switched off, and that is off."""

    message: str
    at_ms: int
    why: str


def braked_by_watch(switches: Iterable[Switch], now_ms: int) -> list[Braked]:
    """What the watch switched off, of all that is off."""
    return [
        Braked(switch.name, switch.at_ms, switch.why)
        for switch in switches
        if switch.kind is SwitchKind.MESSAGE and switch.by == WATCH and switch.in_force(now_ms)
    ]


def state_of(row: Row, braked: Iterable[str], at_least: int) -> str:
    """`braked`, `alert`, `few` (too few mails for a rate to mean something) or `ok`."""
    if row.cell.message in braked:
        return "braked"
    if row.alerts:
        return "alert"
    return "few" if row.counts.tried < at_least else "ok"


def shares(counts: Counts) -> dict[str, Measured]:
    """All rates of one line."""
    found = {kind.value: rate_of(counts, kind) for kind in Kind}
    delivered, soft = measured(counts.delivered, counts.tried), measured(counts.soft_bounced, counts.tried)
    return {DELIVERED: delivered, **found, SOFT_BOUNCED: soft}


def view(judgement: Judgement | None, braked: Sequence[Braked], now_ms: int) -> dict[str, Any]:
    """The answer of `GET /v1/deliverability`, and of the command."""
    brakes = [_brake(each) for each in braked]
    if judgement is None:
        return {"judged_at": None, "stale": True, "note": NEVER, "window_s": None, "at_least": None, "limits": {},
                "rows": [], "left_out": 0, "brakes": brakes}  # fmt: skip
    stale = now_ms - judgement.at_ms > STALE_AFTER_MS
    names = {each.message for each in braked}
    return {
        "judged_at": _iso(judgement.at_ms),
        "stale": stale,
        "note": STALE if stale else None,
        "window_s": judgement.window_ms // 1000,
        "at_least": judgement.at_least,
        "limits": {kind: {"alert": alert, "brake": brake} for kind, (alert, brake) in judgement.limits.items()},
        "rows": [_row(row, state_of(row, names, judgement.at_least)) for row in judgement.rows],
        "left_out": judgement.left_out,
        "brakes": brakes,
    }


def _row(row: Row, state: str) -> dict[str, Any]:
    return {
        **row.cell._asdict(),
        "state": state,
        "alerts": [kind.value for kind in row.alerts],
        "counts": row.counts._asdict(),
        "rates": {name: _rate(found) for name, found in shares(row.counts).items()},
    }


def _rate(found: Measured) -> Mapping[str, float | int | None]:
    known = found.of > 0
    low, high = (round(found.low, 6), round(found.high, 6)) if known else (None, None)
    return {"rate": round(found.rate, 6) if known else None, "low": low, "high": high, "of": found.of}


def _brake(braked: Braked) -> dict[str, str]:
    lift = f"PUT /v1/switches/message/{braked.message}"
    return {"message": braked.message, "at": _iso(braked.at_ms), "why": braked.why, "lift": lift, "scope": "admin"}


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
