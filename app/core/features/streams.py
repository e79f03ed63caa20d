"""What a shard's worker made of its stream, from the rows that passed: repeats dropped, who became whom.

A row is `Passed`-like: `shard`, `position`, `appended_ms`, `customer`, `type`, `message_id`, `once`. Rows of one shard
come in the order of their positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

#: Types that begin so are the worker's own, and no events.
OWN = "$"
CARRY, TAKE_IN = "$carry", "$take_in"
#: A worker knows ids for 72 hours after a generation of up to 18 hours has closed: within that, a repeat is one here as
#: it was there.
REMEMBERED_MS = 90 * 3_600_000

Order = tuple[int, int]  # of a position: ms and number


class Identified(Protocol):
    """What tells repeats."""

    @property
    def appended_ms(self) -> int: ...
    @property
    def message_id(self) -> int: ...
    @property
    def once(self) -> int | None: ...


class Repeats:
    """The ids of one shard's rows. Two generations, of which the older one is forgotten: so a row is remembered for
    `REMEMBERED_MS` at least and for twice as long at most."""

    __slots__ = ("_before", "_now", "_since_ms")

    def __init__(self) -> None:
        self._now: set[int] = set()
        self._before: set[int] = set()
        self._since_ms = 0

    def is_one(self, row: Identified) -> bool:
        """Whether the shard has had this message, or what may happen only once; it has now."""
        if row.appended_ms - self._since_ms >= REMEMBERED_MS:
            self._before = self._now if row.appended_ms - self._since_ms < 2 * REMEMBERED_MS else set()
            self._now, self._since_ms = set(), row.appended_ms
        ids = (row.message_id,) if row.once is None else (row.message_id, row.once)
        if any(each in self._now or each in self._before for each in ids):
            return True
        self._now.update(ids)
        return False

    def forget(self, row: Identified) -> None:
        """It was put aside: when it comes again, mended, it counts."""
        self._now.discard(row.message_id)
        if row.once is not None:
            self._now.discard(row.once)


class Carry(NamedTuple):
    """A customer became another one: from this position of its shard on, its events are the other one's."""

    winner: str
    after: Order
    at_ms: int


class Absorbed(NamedTuple):
    """From `at_ms` on, what had been the customer's counts for somebody else."""

    customer: str
    at_ms: int


def absorbed(carries: Mapping[str, Carry]) -> dict[str, list[Absorbed]]:
    """For everybody who others became: who, and since when, in one step or several."""
    found: dict[str, list[Absorbed]] = {}
    for loser, carry in carries.items():
        at_ms, winner, met = carry.at_ms, carry.winner, {loser}
        while winner not in met:
            found.setdefault(winner, []).append(Absorbed(loser, at_ms))
            met.add(winner)
            onwards = carries.get(winner)
            if onwards is None:
                break
            at_ms, winner = max(at_ms, onwards.at_ms), onwards.winner
    return found
