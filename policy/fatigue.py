"""Fatigue: how much marketing a customer got of late, and how little of it they cared for.

    score = Σ over marketing contacts (contact + (engagement, if opened, clicked or answered)) × 2^(−age / half_life)

and never under 0. A contact of the future counts as one of now: it is as good as sent. As a limit, the score keeps all
marketing back from `limit` on. As a factor of arbitration, the same sum over the contacts of a message's category (of
the message itself, where it has none) gives 1 / (1 + score / limit): 1 for what the customer has not seen, 1/2 at the
limit.

This is exponential decay written with a half-life (https://en.wikipedia.org/wiki/Exponential_decay#Half-life). What is
left of a contact is rounded to 2^−30 and summed as whole numbers: neither the order of contacts nor the machine makes a
difference, so a record decides again to the same bytes.

Weaknesses. Opens are counted by pixels that some mail programs fetch unseen and others never: engagement is a hint, not
a fact. What nobody reported back counts as ignored, so without outcomes the score is one of contacts alone. Engagement
of long ago makes up for contacts of today only as far as both have faded. With `contact + engagement` under 0 one more
contact that was opened makes room.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import exp2

from policy.bundle import Candidate, Fatigue
from policy.facts import Contact

_UNIT = 30  # weights are whole multiples of 2^−30


def fatigue_score(fatigue: Fatigue, contacts: Iterable[Contact], at_ms: int) -> float:
    """The score of a customer with these contacts at `at_ms`, at least 0. `contacts`: those that count."""
    sent = engaged = 0
    for contact in contacts:
        if contact.kind.klass == "marketing":
            weight = _weight(fatigue, contact, at_ms)
            sent += weight
            engaged += weight * contact.engaged
    return _score(fatigue, sent, engaged)


def fatigue_factors(
    fatigue: Fatigue, contacts: Sequence[Contact], now_ms: int, candidates: Sequence[Candidate]
) -> list[float]:
    """For each candidate, in order, what its score is multiplied with: in (0, 1], 1 where nothing like it was sent.

    Args:
        contacts: those that count (`policy.confirmation`).
    """
    sent: dict[tuple[str, str], int] = {}
    engaged: dict[tuple[str, str], int] = {}
    for contact in contacts:
        kind = contact.kind
        if kind.klass == "marketing":
            key = _subject(kind.category, kind.message)
            weight = _weight(fatigue, contact, now_ms)
            sent[key] = sent.get(key, 0) + weight
            engaged[key] = engaged.get(key, 0) + weight * contact.engaged
    lowered = {key: 1.0 / (1.0 + _score(fatigue, sent[key], engaged[key]) / fatigue.limit) for key in sent}
    return [lowered.get(subject, 1.0) for subject in _subjects(tuple(candidates))]


@lru_cache(maxsize=4096)
def _subjects(candidates: tuple[Candidate, ...]) -> tuple[tuple[str, str], ...]:
    """Looked up as a whole: the same candidates are asked about again and again."""
    return tuple(_subject(candidate.message.category or "", candidate.message.id) for candidate in candidates)


def _subject(category: str, message: str) -> tuple[str, str]:
    """What makes two messages alike: their category; a message without one is only like itself."""
    return (category, "") if category else ("", message)


def _weight(fatigue: Fatigue, contact: Contact, at_ms: int) -> int:
    """How much of a contact is left, in units of 2^−30."""
    age_ms = at_ms - contact.not_before_ms
    if age_ms <= 0:
        return 1 << _UNIT
    return round(exp2(_UNIT - age_ms / (fatigue.half_life_s * 1000)))


def _score(fatigue: Fatigue, sent: int, engaged: int) -> float:
    return max(0.0, (fatigue.contact * sent + fatigue.engagement * engaged) / (1 << _UNIT))
