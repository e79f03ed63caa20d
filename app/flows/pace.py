"""How fast batches may go: as fast as they can while nobody waits for an answer, gently while somebody does.

A batch has nobody waiting for any one line; whoever sent a single request is waiting for it. So the lines of all
batches of a process share one small number of places, which shrinks as soon as a single request is seen and is given
no new line while many are in flight. Lines are not counted among the requests in flight: they are never the reason why
a single request is shed, and are held back before one is (`app.admission`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

#: Lines at once while nobody waits: enough that they share writes, replies and model runs, and no more than single
#: requests fill a turn of the loop with (4 ms, `app.admission.CALM_TURN_S`): the first of these waits until it ends.
LINES_ALONE = 24
#: Lines at once while somebody does. Beside 100 to 300 single requests a second, one line at once gets as much done as
#: two (800 to 1,000 a second) and delays the median request by 0.4 ms instead of 1; beside 600, 700 lines against 820.
LINES_BESIDE_OTHERS = 1
#: After this long without a single request nobody is waiting any more. A decision in flight is seen for sure: it takes
#: longer than the time between two lines.
ALONE_AFTER_S = 1.0
#: Single requests in flight above which no line begins: half of what admission lets in without looking.
CROWD = 8
#: But one begins after this long: a batch slows down to a crawl under a crowd, and does not stop.
CRAWL_S = 0.05
LOOK_EVERY_S = 0.005


class Pace:
    """The places of all batches of a process: `await enter()`, decide a line, `leave()`."""

    def __init__(self, in_flight: Callable[[], int], now_s: Callable[[], float]) -> None:
        """`in_flight()`: single requests being decided now."""
        self.batches = 0  # under way
        self._in_flight = in_flight
        self._now_s = now_s
        self._lines = 0
        self._left = asyncio.Event()
        self._seen_s = float("-inf")  # when a single request was last seen
        self._entered_s = float("-inf")

    async def enter(self) -> None:
        """Wait for a place."""
        while not (has_place := self._has_place()) or self._is_crowded():
            if has_place:
                await asyncio.sleep(LOOK_EVERY_S)
            else:
                self._left.clear()
                await self._left.wait()
        self._lines += 1
        self._entered_s = self._now_s()

    def leave(self) -> None:
        """Give the place back."""
        self._lines -= 1
        self._left.set()

    def _has_place(self) -> bool:
        now_s = self._now_s()
        if self._in_flight():
            self._seen_s = now_s
        return self._lines < (LINES_ALONE if now_s - self._seen_s > ALONE_AFTER_S else LINES_BESIDE_OTHERS)

    def _is_crowded(self) -> bool:
        return self._in_flight() >= CROWD and self._now_s() - self._entered_s < CRAWL_S
