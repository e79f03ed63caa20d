"""What the profiles of two customers, who are one person, make together. Pure.

A merge never opens anything:

1. Every contact that either was sent counts, and counts once.
2. For each purpose and channel the more restrictive of what both said holds, and every stop of both
   (`policy.consent.merged`, `merged_suppressions`).
3. Pauses are counted from the later outcome.

All else is the winner's; only what it lacks comes from the loser, and is as old as it was there. A trial's arm is the
one that the winner was seen in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

from policy.consent import merged
from policy.facts import ConsentEntry

K = TypeVar("K")
V = TypeVar("V")


class Place(NamedTuple):
    """Where a customer is, as far as that is known."""

    region: str | None
    timezone: str | None


def consent_of_both(
    winner: Iterable[ConsentEntry], loser: Iterable[ConsentEntry], now_ms: int
) -> tuple[ConsentEntry, ...]:
    """What both said, of what has not ended: what has ended says nothing any more, on either side."""
    return merged(_in_force(winner, now_ms), _in_force(loser, now_ms))


def place_of_both(winner: Place, loser: Place) -> Place:
    """The winner's. Its region is filled from the loser; its zone only where both are in one region: limits are counted
    in the zone, and one of another country would count them in the wrong days."""
    region = winner.region or loser.region
    zone = loser.timezone if region == loser.region else None
    return Place(region, winner.timezone or zone)


def later_of_both(winner: Mapping[K, int], loser: Mapping[K, int]) -> dict[K, int]:
    """The later time of each outcome."""
    return {key: max(winner.get(key, 0), loser.get(key, 0)) for key in (*winner, *loser)}


def first_of_both(winner: Mapping[K, V], loser: Mapping[K, V]) -> dict[K, V]:
    """The winner's, and what it lacks from the loser: attributes, preferences, trials; contacts by decision id, since
    of a contact that both hold the winner's says more: outcomes are taken down there."""
    return {**loser, **winner}


def _in_force(entries: Iterable[ConsentEntry], now_ms: int) -> list[ConsentEntry]:
    return [entry for entry in entries if entry.expires_ms is None or now_ms < entry.expires_ms]
