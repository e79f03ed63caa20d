"""Step `limits`: a send window for every candidate of the pool, then frequency limits. What remains is admissible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.core.decision.eligible import Pool
from app.core.decision.exclusion import Excluded
from app.core.decision.situation import Situation
from policy.bundle import Message, Placement
from policy.codes import Exclusion
from policy.facts import Contact
from policy.limits import reached_limits

#: How long an answer may be acted upon. Journey tools hand over within minutes; an hour covers a slow queue and
#: rarely reaches into another calendar day, in which the reservation would have to count as well.
SEND_WITHIN_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class SendWindow:
    """When the message may be sent: from, until (Unix ms), and on what basis the window was chosen."""

    not_before_ms: int
    not_after_ms: int
    basis: str


@dataclass(frozen=True, slots=True)
class Admissible:
    """Positions in `placement.candidates` that may be sent, each with its window, and why others may not."""

    positions: list[int]
    windows: dict[int, SendWindow]
    excluded: dict[int, Excluded]


def send_window(message: Message, now_ms: int) -> SendWindow:
    """From now, for as long as an answer may be acted upon and the message is valid."""
    until_ms = now_ms + SEND_WITHIN_MS
    if message.valid_until_ms is not None and message.valid_until_ms <= until_ms:
        until_ms = message.valid_until_ms - 1
    return SendWindow(now_ms, until_ms, "immediate")


def limits(placement: Placement, situation: Situation, pool: Pool, contacts: Sequence[Contact]) -> Admissible:
    """Check every candidate of the pool against every limit that binds it.

    Args:
        contacts: the ledger, and what was chosen for more important placements of the same request.
    """
    admissible = Admissible([], {}, {})
    reached_until: dict[int, dict[int, tuple[Contact, ...]]] = {}
    for position in pool.positions:
        candidate = placement.candidates[position]
        window = send_window(candidate.message, situation.now_ms)
        reached = reached_until.get(window.not_after_ms)
        if reached is None:
            reached = reached_until[window.not_after_ms] = reached_limits(
                situation.bundle, placement, contacts, window.not_before_ms, window.not_after_ms, situation.zones()
            )
        first = next((index for index in candidate.limits if index in reached), None) if reached else None
        if first is None:
            admissible.positions.append(position)
            admissible.windows[position] = window
        else:
            counted = tuple(contact.decision for contact in reached[first])
            admissible.excluded[position] = Excluded(Exclusion.LIMIT_REACHED, ("limit", first, counted))
    return admissible
