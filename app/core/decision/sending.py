"""When each candidate may be sent: at once, only later, or not in time (the first half of step `limits`).

A window is what is permitted (`policy.hours`), cut at the end of the message's validity, and never longer than an
answer may be acted upon. Nothing here looks at contacts: limits are counted in the windows that are found here.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from app.core.decision.eligible import Pool
from app.core.decision.exclusion import Excluded
from app.core.decision.situation import Situation
from policy.bundle import Placement
from policy.codes import Exclusion
from policy.hours import Hours, Opening, choices, longest_wait_ms, next_opening

#: How long an answer may be acted upon. Journey tools hand over within minutes; an hour covers a slow queue and
#: rarely reaches into another calendar day, in which the reservation would have to count as well.
SEND_WITHIN_MS = 3_600_000
NEVER = Excluded(Exclusion.QUIET_HOURS, ("never",))


class SendWindow(NamedTuple):
    """When the message may be sent: from, until (Unix ms, both included), and on what basis the window was chosen."""

    not_before_ms: int
    not_after_ms: int
    basis: str


class Windows(NamedTuple):
    """The windows of a pool. A position is in one of `own`, `waiting`, `excluded`, or it takes `usual`."""

    usual: SendWindow | None  # from now; None: nothing may be sent now
    own: dict[int, SendWindow]  # from now, of those whose validity ends before the usual window does
    waiting: dict[int, SendWindow]  # only time stands against these: when it will not
    excluded: dict[int, Excluded]  # no permitted time within the placement's longest wait and their validity


def windows(placement: Placement, situation: Situation, pool: Pool) -> Windows:
    """Find a window for every candidate of the pool."""
    hours_to_meet = choices(situation.bundle, placement, situation.region, situation.facts.best_hours)
    if not hours_to_meet:
        now_ms = situation.facts.now_ms
        usual = SendWindow(now_ms, now_ms + SEND_WITHIN_MS, "immediate")
        return Windows(usual, _clipped(placement, pool, usual), {}, {})
    found = Windows(None, {}, {}, dict.fromkeys(pool.positions, NEVER))
    for hours in hours_to_meet:
        found = _within(hours, placement, situation, pool)
        if len(found.excluded) < len(pool.positions):
            break  # the next ones are for where a preference would leave nothing at all
    return found


def _within(hours: Hours, placement: Placement, situation: Situation, pool: Pool) -> Windows:
    """The windows that these hours leave."""
    now_ms = situation.now_ms
    opening = next_opening(hours, situation.zones(), now_ms, longest_wait_ms(placement), SEND_WITHIN_MS)
    if opening is None:
        return Windows(None, {}, {}, dict.fromkeys(pool.positions, NEVER))
    first = _window(opening, hours)
    clipped = _clipped(placement, pool, first)
    if opening.start_ms == now_ms:
        return Windows(first, clipped, {}, {})
    found = Windows(None, {}, {}, {})
    for position in pool.positions:
        window = clipped.get(position, first)
        if window.not_before_ms <= window.not_after_ms:
            found.waiting[position] = window
        else:
            found.excluded[position] = NEVER
    return found


def _window(opening: Opening, hours: Hours) -> SendWindow:
    last_ms = min(opening.start_ms + SEND_WITHIN_MS, opening.end_ms - 1)
    return SendWindow(opening.start_ms, last_ms, hours.basis)


def _clipped(placement: Placement, pool: Pool, usual: SendWindow) -> dict[int, SendWindow]:
    """Windows of candidates whose validity ends before the usual window does; empty ones where it ends before it."""
    ends = _ends_of_validity(placement)
    if not ends:
        return {}
    return {
        position: usual._replace(not_after_ms=until_ms - 1)
        for position, until_ms in ends
        if until_ms <= usual.not_after_ms and position in pool.positions
    }


@lru_cache(maxsize=1024)
def _ends_of_validity(placement: Placement) -> tuple[tuple[int, int], ...]:
    """(position, end of validity in ms) of the placement's candidates that have one."""
    return tuple(
        (position, candidate.message.valid_until_ms)
        for position, candidate in enumerate(placement.candidates)
        if candidate.message.valid_until_ms is not None
    )
