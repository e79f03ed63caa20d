"""Pauses after what happened: a purchase, a complaint, a series of messages that nobody looked at.

A pause holds for every message whose sending would begin before it ends; at its end, to the millisecond, it is over.
It begins at the outcome, and with the last outcome that fits. An outcome of no known contact (a purchase in a shop)
fits every cooldown of its type: nobody can say what it was an answer to.

A series of ignored contacts (`after: ignored`, `times: 3`) are the last three that fit and were sent, none of them
opened, clicked or answered, and nothing bought since the first of them. The pause is counted from the last of them.
When it is over one more message may go out; if that is ignored too, it begins again. Contacts stand in the order of the
latest time at which they were sent, so that one more contact never ends a pause or brings its end forward.

Weakness: what was sent a minute ago counts as ignored until somebody looks at it, so the pause begins with the sending
of the third. An open that comes later ends it at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from operator import attrgetter

from policy.bundle import Bundle, Cooldown, Placement
from policy.codes import OutcomeType
from policy.facts import Contact, ContactKind, PastOutcome
from policy.limits import fits

#: The authored `after` that is no outcome but the lack of any.
IGNORED = "ignored"
_NOT_AFTER = attrgetter("not_after_ms")


def pauses(
    bundle: Bundle, placement: Placement, outcomes: Sequence[PastOutcome], contacts: Sequence[Contact], now_ms: int
) -> dict[int, int]:
    """Cooldowns of the placement that have begun and are not over at `now_ms`: index → when each is (Unix ms).

    Args:
        contacts: those that count, in order of time.
    """
    ends: dict[int, int] = {}
    for what, kind, at_ms in outcomes:
        for cooldown in _begun_by(bundle, what, kind):
            if cooldown.index in placement.cooldowns:
                ends[cooldown.index] = max(ends.get(cooldown.index, 0), at_ms + cooldown.for_s * 1000)
    for cooldown in _of_series(bundle, placement):
        since = end_of_series(cooldown, contacts, outcomes, now_ms)
        if since is not None:
            ends[cooldown.index] = since + cooldown.for_s * 1000
    return {index: end_ms for index, end_ms in ends.items() if end_ms > now_ms}


def end_of_series(
    cooldown: Cooldown, contacts: Sequence[Contact], outcomes: Sequence[PastOutcome], now_ms: int
) -> int | None:
    """When the last of the `times` contacts went out, where all of them were ignored; None where they were not, or
    there are not so many yet."""
    over = [each for each in contacts if _is_over(each, now_ms) and _fits(cooldown, each.kind)]
    series = sorted(over, key=_NOT_AFTER)[-cooldown.times :]
    if len(series) < cooldown.times or any(each.engaged for each in series):
        return None
    if _converted_since(cooldown, outcomes, series[0].not_after_ms):
        return None
    return series[-1].not_after_ms


def _is_over(contact: Contact, now_ms: int) -> bool:
    """Whether it was surely sent, or may have been and no longer will be."""
    return contact.not_before_ms <= now_ms and (contact.confirmed or contact.not_after_ms < now_ms)


def _converted_since(cooldown: Cooldown, outcomes: Sequence[PastOutcome], since_ms: int) -> bool:
    return any(
        what == OutcomeType.CONVERTED and at_ms >= since_ms and (kind is None or _fits(cooldown, kind))
        for what, kind, at_ms in outcomes
    )


@lru_cache(maxsize=65536)  # as many as (outcome, placement, message) that happened
def _begun_by(bundle: Bundle, outcome: str, kind: ContactKind | None) -> tuple[Cooldown, ...]:
    return tuple(each for each in bundle.cooldowns if each.after == outcome and (kind is None or _fits(each, kind)))


@lru_cache(maxsize=1024)
def _of_series(bundle: Bundle, placement: Placement) -> tuple[Cooldown, ...]:
    return tuple(bundle.cooldowns[index] for index in placement.cooldowns if bundle.cooldowns[index].after == IGNORED)


@lru_cache(maxsize=65536)
def _fits(cooldown: Cooldown, kind: ContactKind) -> bool:
    return fits(cooldown.classes, cooldown.match, kind)
