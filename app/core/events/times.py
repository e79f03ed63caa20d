"""When an event happened, by clocks that may be wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from app.core.events.event import Misfit, Misfits

#: An event may be ahead of the store's clock by so much, and then happened now: clocks that are set by the network are
#: within seconds, and a day's error (a wrong zone) must be seen.
AHEAD_MS_MAX = 5 * 60_000
TEXT_LENGTH_MAX = 40


def instant_ms(said: Any, zoned: bool) -> int | None:
    """Unix ms of an ISO 8601 text; None of what is absent (null, or empty, as careless clients send it). A text without
    zone is UTC, or refused where `zoned`. Raises ValueError, also of numbers: seconds or milliseconds, who knows."""
    if said is None or said == "":
        return None
    if not isinstance(said, str) or len(said) > TEXT_LENGTH_MAX:
        raise ValueError("not a time")
    moment = datetime.fromisoformat(said)
    if moment.tzinfo is None:
        if zoned:
            raise ValueError("no zone")
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def occurred_at_ms(at: Any, sent_at: Any, received_at_ms: int, zoned: bool) -> int | Misfit:
    """When it happened on our clock: as much before it was received as it happened before it was sent, which leaves out
    what the sender's clock is wrong by (https://segment.com/docs/connections/spec/common/#timestamps). Without a time
    it happened when it was received; without a usable time of sending its own clock is believed."""
    try:
        when = instant_ms(at, zoned)
    except (ValueError, OverflowError):
        return Misfit(Misfits.BAD_TIME, f"its time is not ISO 8601{' with a zone' if zoned else ''}")
    if when is None:
        return received_at_ms
    sent = _sent_at_ms(sent_at)
    if sent is not None:
        when = received_at_ms - (sent - when)
    if when <= received_at_ms:
        return when
    if when - received_at_ms > AHEAD_MS_MAX:
        return Misfit(Misfits.AHEAD, f"its time lies more than {AHEAD_MS_MAX // 60_000} minutes ahead")
    return received_at_ms


def _sent_at_ms(said: Any) -> int | None:
    """A time of sending that cannot be read corrects nothing."""
    try:
        return instant_ms(said, zoned=False)
    except (ValueError, OverflowError):
        return None
