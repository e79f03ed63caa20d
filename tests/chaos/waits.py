"""Who was not let run, when, and for how long: what the machine owes to each answer that came late.

A share of the machine's worst moment for all answers says nothing on a machine that is shared: it is either too much or
not enough. So each answer is looked at by itself. While it was on its way

- its server was ready to run and was not let run for as long as Linux says of its loop's thread
  (`/proc/<pid>/schedstat`, https://docs.kernel.org/scheduler/sched-stats.html): written when a thread comes to run, so
  that a server that answered has all of it written down;
- the callers' own loop was late by as much as a tick in it was.

A server that blocks its own loop, or waits for a lock, a disk or the store, is let run: it moves neither.
Elsewhere than on Linux nothing is known of servers, and nothing is owed.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import NamedTuple

from tests.support.history import Span
from tests.support.lateness import waited_ms

#: Between two looks at servers, and two ticks of the callers' loop. An answer may be owed what lies just beside it.
LOOK_EVERY_S, TICK_EVERY_S = 0.01, 0.005
#: A tick is late from this on; less is what any timer is.
LATE_MS = 1.0


class Look(NamedTuple):
    at_s: float  # Unix
    waited_ms: float  # since the process began


class Waits:
    """Times are Unix seconds, what is owed in ms."""

    def __init__(self) -> None:
        self._looks: dict[int, dict[int, list[Look]]] = {}  # server → process → looks, in order
        self._late: list[tuple[Span, float]] = []  # of the callers' loop, in order

    def looked(self, server: int, pid: int, look: Look) -> None:
        self._looks.setdefault(server, {}).setdefault(pid, []).append(look)

    def ticked_late(self, between: Span, late_ms: float) -> None:
        self._late.append((between, late_ms))

    def of_server_ms(self, server: int, at: Span) -> float:
        """What a server was kept from running in that time; of several processes the one that waited longest, since
        nobody tells which of them answered."""
        return max((_grown(looks, at) for looks in self._looks.get(server, {}).values()), default=0.0)

    def of_callers_ms(self, at: Span) -> float:
        first = bisect_left(self._late, at.start, key=lambda each: each[0].end)
        met = 0.0
        for between, late_ms in self._late[first:]:
            if between.start > at.end:
                break
            met += late_ms
        return met


def _grown(looks: list[Look], at: Span) -> float:
    """From the last look before it began to the first one after it ended."""
    begun = bisect_right(looks, at.start, key=lambda each: each.at_s) - 1
    ended = bisect_left(looks, at.end, key=lambda each: each.at_s)
    # What it waited before it was looked at for the first time is what it waited while it started.
    return looks[min(ended, len(looks) - 1)].waited_ms - looks[max(begun, 0)].waited_ms


@asynccontextmanager
async def watched(pids: Callable[[], Iterable[Iterable[int]]]) -> AsyncIterator[Waits]:
    """Watch the processes of each server, and the loop that this runs in. `pids` is asked at every look, since
    processes end and others take their place."""
    waits, stop = Waits(), threading.Event()
    thread = threading.Thread(target=_look, args=(waits, pids, stop), daemon=True)
    ticking = asyncio.create_task(_tick(waits))
    thread.start()
    try:
        yield waits
    finally:
        stop.set()
        ticking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ticking
        await asyncio.to_thread(thread.join)  # whose last look is after the last answer


def _look(waits: Waits, pids: Callable[[], Iterable[Iterable[int]]], stop: threading.Event) -> None:
    last = False
    while not last:
        last = stop.wait(LOOK_EVERY_S)
        for server, processes in enumerate(pids()):
            for pid in processes:
                if (waited := waited_ms(pid)) is not None:
                    waits.looked(server, pid, Look(time.time(), waited))


async def _tick(waits: Waits) -> None:
    while True:
        begun_s = time.time()
        await asyncio.sleep(TICK_EVERY_S)
        ended_s = time.time()
        late_ms = (ended_s - begun_s - TICK_EVERY_S) * 1000
        if late_ms > LATE_MS:
            waits.ticked_late(Span(begun_s, ended_s), late_ms)
