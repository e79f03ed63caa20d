"""Step `limits`: when each candidate of the pool may be sent, and what stands against it then. What remains is
admissible.

The order of checks; the first that applies is the candidate's code:

1. `quiet_hours`, no permitted time within the placement's longest wait
2. `limit_reached`
3. `cooldown`
4. `excluded_by`
5. `fatigue`
6. `budget_exhausted`
7. `quiet_hours`, nothing but the time of day: it waits

Every check looks at the time at which the candidate would be sent, so that one which must wait for the morning is
measured by what will hold in the morning. Closed: contacts and outcomes were read, or there is no decision to make.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from app.core.decision.eligible import Pool
from app.core.decision.exclusion import Excluded
from app.core.decision.ids import reserved_at_ms
from app.core.decision.sending import NEVER, SEND_WITHIN_MS, SendWindow, Windows, windows
from app.core.decision.situation import Situation
from policy.bundle import Bundle, Candidate, Placement
from policy.calendar import period
from policy.codes import Exclusion
from policy.confirmation import counting
from policy.cooldowns import pauses
from policy.exclusions import contacts_near, excluding
from policy.facts import Contact
from policy.fatigue import fatigue_score
from policy.limits import reached_limits

_NOTHING: Mapping[int, Any] = MappingProxyType({})


class Admissible(NamedTuple):
    """Positions in `placement.candidates` that may be sent, each with its window, and why others may not."""

    positions: Sequence[int]
    window: SendWindow | None  # of all but those in `clipped`; None: nothing may be sent at the usual time
    clipped: dict[int, SendWindow]
    excluded: dict[int, Excluded]
    waiting: Mapping[int, SendWindow] = _NOTHING  # only the time of day stands against these: when it will not

    def window_of(self, position: int) -> SendWindow:
        """When an admissible position may be sent."""
        window = self.clipped.get(position, self.window)
        if window is None:
            raise KeyError(position)
        return window


def limits(placement: Placement, situation: Situation, pool: Pool, contacts: Sequence[Contact]) -> Admissible:
    """Check every candidate of the pool against everything that binds it.

    Args:
        contacts: the ledger, and what was chosen for more important placements of the same request.
    """
    found = windows(placement, situation, pool)
    usual = found.usual
    counted = counted_contacts(situation, contacts)
    against = None if usual is None else _against(placement, situation, counted, usual)
    if against is None and not (found.own or found.waiting or found.excluded):
        return Admissible(pool.positions, usual, found.own, {})  # nearly always: nobody needs a look of its own
    return _one_by_one(placement, situation, pool, counted, found)


def counted_contacts(situation: Situation, contacts: Sequence[Contact]) -> Sequence[Contact]:
    """Those of the contacts that count: all but reservations that had to be confirmed and were not."""
    return counting(situation.bundle, contacts, situation.now_ms, reserved_at_ms) if contacts else contacts


def _one_by_one(
    placement: Placement, situation: Situation, pool: Pool, contacts: Sequence[Contact], found: Windows
) -> Admissible:
    against: dict[SendWindow, Against | None] = {}
    admissible: list[int] = []
    excluded = dict(found.excluded)
    waiting: dict[int, SendWindow] = {}
    for position in pool.positions:
        later = found.waiting.get(position)
        window = later or found.own.get(position, found.usual)
        if position in excluded or window is None:
            excluded.setdefault(position, NEVER)
            continue
        if window not in against:
            against[window] = _against(placement, situation, contacts, window)
        stands = against[window]
        why = None if stands is None else next(_reasons(placement.candidates[position], stands), None)
        if why is not None:
            excluded[position] = why
        elif later is not None:
            waiting[position] = later
            excluded[position] = Excluded(Exclusion.QUIET_HOURS, ("wait", later.not_before_ms))
        else:
            admissible.append(position)
    return Admissible(admissible, found.usual, found.own, excluded, waiting)


class Against(NamedTuple):
    """What stands against sending in one window, in the order of the checks."""

    reached: Mapping[int, tuple[Contact, ...]]  # limits without room → the contacts that fill them
    pausing: Mapping[int, int]  # cooldowns → when each is over
    near: Mapping[int, tuple[Contact, ...]]  # exclusions → contacts with one of their messages close by
    tired: float | None  # the score, where it forbids marketing
    spent: frozenset[int]  # budgets without room


def _against(
    placement: Placement, situation: Situation, contacts: Sequence[Contact], window: SendWindow
) -> Against | None:
    """None where nothing stands against any candidate; what a placement does not use is not looked at."""
    bundle = situation.bundle
    not_before_ms, not_after_ms = window.not_before_ms, window.not_after_ms
    reached: Mapping[int, tuple[Contact, ...]] = _NOTHING
    pausing: Mapping[int, int] = _NOTHING
    near: Mapping[int, tuple[Contact, ...]] = _NOTHING
    tired = None
    spent: frozenset[int] = frozenset()
    if placement.limits and (contacts or _forbids(bundle, placement)):
        reached = reached_limits(bundle, placement, contacts, not_before_ms, not_after_ms, situation.zones)
    if placement.cooldowns and (contacts or situation.facts.outcomes):
        pausing = _pausing(placement, situation, contacts, not_before_ms)
    if contacts:
        if placement.exclusions:
            near = contacts_near(bundle, placement, contacts, not_before_ms, not_after_ms)
        if placement.fatigue is not None:
            score = fatigue_score(placement.fatigue, contacts, not_before_ms)
            tired = score if score >= placement.fatigue.limit else None
    if placement.budgets and situation.control.exhausted:
        spent = _spent(placement, situation, not_before_ms)
    if reached or pausing or near or tired is not None or spent:
        return Against(reached, pausing, near, tired, spent)
    return None


def _reasons(candidate: Candidate, against: Against) -> Iterator[Excluded]:
    """Everything that stands against the candidate, in the order of the checks."""
    for index in candidate.limits:
        if index in against.reached:
            counted = tuple(contact.decision for contact in against.reached[index])
            yield Excluded(Exclusion.LIMIT_REACHED, ("limit", index, counted))
    for index in candidate.cooldowns:
        if index in against.pausing:
            yield Excluded(Exclusion.COOLDOWN, ("cooldown", index, against.pausing[index]))
    for index in candidate.exclusions:
        other = excluding(against.near.get(index, ()), candidate.message.id)
        if other is not None:
            yield Excluded(Exclusion.EXCLUDED_BY, ("exclusion", index, other.kind.message, other.decision))
    if against.tired is not None:
        yield Excluded(Exclusion.FATIGUE, ("fatigue", against.tired))
    for index in candidate.budgets:
        if index in against.spent:
            yield Excluded(Exclusion.BUDGET_EXHAUSTED, ("budget", index))


def _pausing(
    placement: Placement, situation: Situation, contacts: Sequence[Contact], not_before_ms: int
) -> dict[int, int]:
    """Cooldowns in which a message sent from `not_before_ms` on would begin."""
    begun = pauses(situation.bundle, placement, situation.facts.outcomes, contacts, situation.now_ms)
    return {index: over_ms for index, over_ms in begun.items() if not_before_ms < over_ms}


def _spent(placement: Placement, situation: Situation, not_before_ms: int) -> frozenset[int]:
    """Budgets without room at `not_before_ms`. Nobody knows yet what will be left of a window that begins after all
    those in which one could send now; the customer is then decided anew."""
    latest_ms = situation.now_ms + SEND_WITHIN_MS
    spent = situation.control.exhausted.intersection(placement.budgets)
    if not_before_ms <= latest_ms:
        return spent
    windows_of = {index: situation.bundle.budgets[index].window for index in spent}
    return frozenset(
        index for index, of in windows_of.items() if not_before_ms < period(of.unit or "day", of.zone, latest_ms)[1]
    )


@lru_cache(maxsize=1024)
def _forbids(bundle: Bundle, placement: Placement) -> bool:
    """Whether some limit of the placement leaves room for no contact at all (`at_most: 0`)."""
    return any(bundle.limits[index].at_most == 0 for index in placement.limits)


__all__ = ["SEND_WITHIN_MS", "Admissible", "SendWindow", "counted_contacts", "limits"]
