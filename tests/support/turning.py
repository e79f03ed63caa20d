"""A server's loop in virtual time: what `app.admission` and `app.http.line` do with a load, without a machine.

Each turn takes what it works on: a refusal a little, each of a decision's three stretches of work a third of what the
decision costs. Between two stretches a decision waits for the store. What has arrived by the end of a turn is read in
the next one, as the real loop does.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush

from app.admission import Admission
from app.http.line import Line

STRETCHES = 3


@dataclass(eq=False)
class Asked:
    """A request: when it was due and its budget, in seconds."""

    loop: Loop
    due_s: float
    budget_s: float
    disconnected: bool = False
    stretches: int = 0

    def begin(self) -> None:
        self.loop.ready.append(self)

    def refuse(self) -> None:
        self.loop.admission.in_flight -= 1
        self.loop.refused(self)


@dataclass
class Timer:
    at_s: float
    callback: Callable[[], None]
    is_cancelled: bool = False

    def cancel(self) -> None:
        self.is_cancelled = True


@dataclass
class Loop:
    """A process with one processor, of which it gets a share."""

    patience_s: float = 0.04
    cost_s: float = 0.0002
    refusal_s: float = 0.000_012
    turn_s: float = 0.000_005  # of a turn without any work
    store_s: float = 0.0005
    processor: float = 1.0  # the share of it that others leave
    now_s: float = 0.0
    worked_s: float = 0.0
    ready: deque[Asked] = field(default_factory=deque)
    in_time: list[Asked] = field(default_factory=list)
    late: list[Asked] = field(default_factory=list)
    answered: list[Asked] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)  # of those, from when they were due
    refusals_s: list[float] = field(default_factory=list)  # how long each took
    longest_turn_s: float = 0.0
    most_begun: int = 0  # under way at once

    def __post_init__(self) -> None:
        self._soon: list[Callable[[], None]] = []
        self._timers: list[Timer] = []
        self._stored: list[tuple[float, int, Asked]] = []
        self._arrivals: deque[tuple[float, float]] = deque()
        self.admission = Admission(None, self.patience_s, lambda: self.now_s, lambda: self.worked_s)
        self.line = Line(self.admission, self)

    def run(self, arrivals: Iterable[tuple[float, float]]) -> None:
        """`arrivals`: (when, budget), by time. Until all are answered."""
        self._arrivals.extend(arrivals)
        while self._arrivals or self._soon or self.ready or self._stored:
            begun_s = self.now_s
            self._turn()
            self.most_begun = max(self.most_begun, self.admission.in_flight - self.admission.waiting)
            self.longest_turn_s = max(self.longest_turn_s, self.now_s - begun_s)

    def time(self) -> float:
        return self.now_s

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._soon.append(callback)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(self.now_s + delay, callback)
        self._timers.append(timer)
        return timer

    def _turn(self) -> None:
        self._timers = [timer for timer in self._timers if not timer.is_cancelled]
        if not (self._soon or self.ready):  # the loop sleeps until something comes
            comes = [each[0][0] for each in (self._arrivals, self._stored) if each]
            comes += [timer.at_s for timer in self._timers]
            self.now_s = max(self.now_s, min(comes))
        read_s = self.now_s
        soon, ready = self._soon[:], list(self.ready)
        soon += [timer.callback for timer in self._timers if timer.at_s <= read_s]
        self._timers = [timer for timer in self._timers if timer.at_s > read_s]
        del self._soon[:]
        self.ready.clear()
        self._work(self.turn_s)
        while self._arrivals and self._arrivals[0][0] <= read_s:
            self._arrive(*self._arrivals.popleft(), read_s)
        while self._stored and self._stored[0][0] <= read_s:
            ready.append(heappop(self._stored)[2])
        for callback in soon:
            callback()
        for asked in [*ready, *self.ready]:
            self._stretch(asked)
        self.ready.clear()

    def _arrive(self, due_s: float, budget_s: float, read_s: float) -> None:
        asked = Asked(self, due_s, budget_s)
        deadline = read_s + budget_s
        has_room = self.line.has_room(deadline, budget_s)
        if not has_room:
            self.refused(asked)
            return
        self.admission.in_flight += 1
        if self.line.may_begin():
            self.ready.append(asked)
        else:
            self.line.join(asked, deadline)

    def _stretch(self, asked: Asked) -> None:
        self._work(self.cost_s / STRETCHES)
        asked.stretches += 1
        if asked.stretches < STRETCHES:
            heappush(self._stored, (self.now_s + self.store_s, id(asked), asked))
            return
        self.admission.in_flight -= 1
        self.line.go_on()
        self.admission.answered()
        wait_s = self.now_s - asked.due_s
        self.waits_s.append(wait_s)
        self.answered.append(asked)
        (self.in_time if wait_s <= asked.budget_s else self.late).append(asked)

    def refused(self, asked: Asked) -> None:
        self._work(self.refusal_s)
        self.refusals_s.append(self.now_s - asked.due_s)

    def _work(self, seconds: float) -> None:
        self.worked_s += seconds
        self.now_s += seconds / self.processor


def evenly(rate: float, seconds: float, budget_s: float, begin_s: float = 0.0) -> list[tuple[float, float]]:
    """Requests a second, evenly spaced."""
    return [(begin_s + n / rate, budget_s) for n in range(int(rate * seconds))]


def at_random(rate: float, seconds: float, budget_s: float, seed: int) -> list[tuple[float, float]]:
    """Requests a second that know nothing of each other."""
    chance, at_s, found = random.Random(seed), 0.0, []
    while (at_s := at_s + chance.expovariate(rate)) < seconds:
        found.append((at_s, budget_s))
    return found
