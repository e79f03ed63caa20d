"""Room for what nobody waits for: bodies of events and webhooks are taken while decisions do not suffer by it.

They are refused before decisions are late: when too many bytes are being worked on, or when so many decisions are in
flight that one more would wait. What is taken is worked off in small pieces, with decisions in between; all requests of
a process take turns, so that it is one such piece between two decisions, however many come at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from app.admission import Rank
from app.errors import Problem

#: Bytes of bodies that a process works on at once; parsed, they take some five times as much memory.
BYTES_AT_ONCE = 48 * 1024 * 1024
#: Between two pieces decisions under way are waited for, so long at a time and so many times: a decision takes some
#: 2 ms, and what nobody waits for waits a second without anybody noticing.
WAY_S, WAY_MADE_MAX = 0.001, 4


def decisions_first() -> Problem:
    """What is refused for the decisions' sake."""
    return Problem("rate_limited", "decisions come first: send it again", retry_after_s=1)


class Room:
    """The room of one process, shared by all that make way for decisions."""

    def __init__(self, takes: Callable[[Rank], bool], in_flight: Callable[[], int]) -> None:
        """`takes(rank)`: whether there is room for something of this rank beside decisions; `in_flight()`: decisions
        being made now."""
        self._takes = takes
        self._in_flight = in_flight
        self._bytes = 0
        self.turn = asyncio.Lock()  # of those who work on pieces

    def check(self, rank: Rank = Rank.EVENTS) -> None:
        """Raises Problem `rate_limited` where decisions would suffer."""
        if not self._takes(rank):
            raise decisions_first()

    def hold(self, size: int) -> None:
        """So many bytes more are being worked on; negative: fewer. Raises Problem `rate_limited`."""
        if size > 0 and self._bytes + size > BYTES_AT_ONCE:
            raise Problem("rate_limited", "too much is being worked on: send it again", retry_after_s=1)
        self._bytes += size

    async def make_way(self, pause_s: float = 0.0) -> None:
        """Let decisions that are being made be finished, as far as they are in a moment."""
        await asyncio.sleep(pause_s)
        for _ in range(WAY_MADE_MAX):
            if not self._in_flight():
                return
            await asyncio.sleep(WAY_S)

    async def step_back(self) -> None:
        """The same, and leave the processor for a moment. What works with the store between two such pauses would
        otherwise keep two cores busy for as long as there is of it, and decisions would wait for one of them. Not to be
        called in one's `turn`: others wait for that."""
        await self.make_way(WAY_S)
