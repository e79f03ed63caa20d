"""Step `limits`: a send window for every candidate of the pool, then frequency limits. What remains is admissible."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from app.core.decision.eligible import Pool
from app.core.decision.exclusion import Excluded
from app.core.decision.situation import Situation
from policy.bundle import Bundle, Placement
from policy.codes import Exclusion
from policy.facts import Contact
from policy.limits import reached_limits

#: How long an answer may be acted upon. Journey tools hand over within minutes; an hour covers a slow queue and
#: rarely reaches into another calendar day, in which the reservation would have to count as well.
SEND_WITHIN_MS = 3_600_000


class SendWindow(NamedTuple):
    """When the message may be sent: from, until (Unix ms), and on what basis the window was chosen."""

    not_before_ms: int
    not_after_ms: int
    basis: str


class Admissible(NamedTuple):
    """Positions in `placement.candidates` that may be sent, each with its window, and why others may not."""

    positions: Sequence[int]
    window: SendWindow  # of all but those in `clipped`
    clipped: dict[int, SendWindow]
    excluded: dict[int, Excluded]

    def window_of(self, position: int) -> SendWindow:
        return self.clipped.get(position, self.window)


def send_window(now_ms: int, valid_until_ms: int | None = None) -> SendWindow:
    """From now, for as long as an answer may be acted upon and the message is valid."""
    until_ms = now_ms + SEND_WITHIN_MS
    if valid_until_ms is not None and valid_until_ms <= until_ms:
        until_ms = valid_until_ms - 1
    return SendWindow(now_ms, until_ms, "immediate")


def limits(placement: Placement, situation: Situation, pool: Pool, contacts: Sequence[Contact]) -> Admissible:
    """Check every candidate of the pool against every limit that binds it.

    Args:
        contacts: the ledger, and what was chosen for more important placements of the same request.
    """
    window = send_window(situation.now_ms)
    clipped = _clipped(placement, pool, window)
    reached = _reached(placement, situation, contacts, window)
    if not reached and not clipped:  # nearly always: nobody's window or limit needs a look of its own
        return Admissible(pool.positions, window, clipped, {})
    reached_in = {window: reached}
    admissible: list[int] = []
    excluded: dict[int, Excluded] = {}
    for position in pool.positions:
        own = clipped.get(position, window)
        if own not in reached_in:
            reached_in[own] = _reached(placement, situation, contacts, own)
        first = next((index for index in placement.candidates[position].limits if index in reached_in[own]), None)
        if first is None:
            admissible.append(position)
        else:
            counted = tuple(contact.decision for contact in reached_in[own][first])
            excluded[position] = Excluded(Exclusion.LIMIT_REACHED, ("limit", first, counted))
    return Admissible(admissible, window, clipped, excluded)


def _clipped(placement: Placement, pool: Pool, window: SendWindow) -> dict[int, SendWindow]:
    """Windows of candidates whose validity ends before the usual window does."""
    return {
        position: send_window(window.not_before_ms, until_ms)
        for position, until_ms in _ends_of_validity(placement)
        if until_ms <= window.not_after_ms and position in pool.positions
    }


@lru_cache(maxsize=1024)
def _ends_of_validity(placement: Placement) -> tuple[tuple[int, int], ...]:
    """(position, end of validity in ms) of the placement's candidates that have one."""
    return tuple(
        (position, candidate.message.valid_until_ms)
        for position, candidate in enumerate(placement.candidates)
        if candidate.message.valid_until_ms is not None
    )


def _reached(
    placement: Placement, situation: Situation, contacts: Sequence[Contact], window: SendWindow
) -> dict[int, tuple[Contact, ...]]:
    if not placement.limits or (not contacts and not _forbids(situation.bundle, placement)):
        return {}
    return reached_limits(
        situation.bundle, placement, contacts, window.not_before_ms, window.not_after_ms, situation.zones
    )


@lru_cache(maxsize=1024)
def _forbids(bundle: Bundle, placement: Placement) -> bool:
    """Whether some limit of the placement leaves room for no contact at all (`at_most: 0`)."""
    return any(bundle.limits[index].at_most == 0 for index in placement.limits)
