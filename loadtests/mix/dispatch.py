"""Hands each request to a waiting connection at the instant it is due.

One greenlet wakes by a timer with nanosecond resolution (gevent's own is a millisecond's) and never waits for answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import gevent  # type: ignore[import-untyped]  # it ships no types
from gevent import get_hub
from gevent.queue import SimpleQueue  # type: ignore[import-untyped]  # it ships no types

from loadtests.clock import Timer, now_ns
from loadtests.mix.schedule import Arrival, Kind
from loadtests.standard.machine import own_cpu_s

READ = 1  # libev's


class Due:
    """Where connections of one kind wait for their turn."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[int] = SimpleQueue()

    def put(self, due_ns: int) -> None:
        self._queue.put(due_ns)

    def get(self) -> tuple[int, bool]:
        """When the next request was due; and whether it had to wait because all connections were busy."""
        behind = not self._queue.empty()
        return self._queue.get(), behind

    def left(self) -> int:
        """Requests that fell due and that nobody could send."""
        return int(self._queue.qsize())


class Dispatcher:
    """Runs the plan."""

    def __init__(self, kinds: Sequence[Kind]) -> None:
        self.due = {kind: Due() for kind in kinds}
        self.counts: Counter[Kind] = Counter()
        self.begin_ns = 0
        self.cpu_share = 0.0  # of a core, that this process used from the first instant of the plan to the last
        self._timer = Timer()
        self._greenlet: gevent.Greenlet | None = None

    def start(self, plan: Iterator[Arrival], in_s: float) -> None:
        """`in_s`: until the first instant of the plan, for the connections to be there."""
        self.begin_ns = now_ns() + int(in_s * 1e9)
        self._greenlet = gevent.spawn(self._run, plan)

    def stop(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill()
            self._greenlet = None

    def _run(self, plan: Iterator[Arrival]) -> None:
        watcher = get_hub().loop.io(self._timer.fd, READ)
        gevent.sleep(max(self.begin_ns - now_ns(), 0) / 1e9)
        began_cpu_s = own_cpu_s()
        try:
            for arrival in plan:
                due_ns = self.begin_ns + int(arrival.due_s * 1e9)
                if due_ns > now_ns():
                    self._timer.set(due_ns)
                    get_hub().wait(watcher)
                    self._timer.clear()
                self.counts[arrival.kind] += 1
                self.due[arrival.kind].put(due_ns)
        finally:
            self.cpu_share = (own_cpu_s() - began_cpu_s) / (max(now_ns() - self.begin_ns, 1) / 1e9)
            watcher.stop()
            watcher.close()
