"""The line of decisions: a bounded number is begun together, the others wait, most urgent first.

In one turn the loop reads whatever has arrived, then works on it. Under overload that is more than can be answered, and
if all of it were begun, every decision under way would share the processor with it and come late. So a batch is begun
(`Admission.at_once`), and the next one when no more than a batch is under way. A turn then takes as long as one step of
one batch: short enough for what is refused meanwhile; and work costs less the more of it is done together. Who waits in
line waits for nothing but the processor, which is how its wait can be foreseen, and refused where it would be too long.

The most urgent goes first: who brings two seconds lets those pass who have forty milliseconds, so a burst of patient
requests keeps nobody else waiting.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable
from itertools import count
from typing import Protocol

from app.admission import BATCH_S, BATCHES, Admission

#: Between two looks at whether decisions under way wait for the store; and two looks between which nothing was done for
#: them lie no further apart than this. The loop's clock counts milliseconds.
LOOK_EVERY_S, CALM_S = 0.001, 0.0025


class Waiting(Protocol):
    """A request that can be begun later."""

    disconnected: bool  # nobody waits for its answer any more

    def begin(self) -> None: ...
    def refuse(self) -> None: ...


class Later(Protocol):
    """Something that will run."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """What a line needs of the loop. Its time stands still within a turn."""

    def time(self) -> float: ...
    def call_soon(self, callback: Callable[[], None]) -> object: ...
    def call_later(self, delay: float, callback: Callable[[], None]) -> Later: ...


class Line:
    """The line of a process."""

    def __init__(self, admission: Admission, loop: Clock) -> None:
        self._admission = admission
        self._loop = loop
        self._batch = self._left = admission.at_once  # begun together; that may still be begun in this turn
        self._turn_comes = False
        self._next_look: Later | None = None  # where decisions under way are waited for
        self._looked_s = self._begun_s = 0.0  # when the line was last looked at, and when a batch of it was begun
        self._numbers = count()  # of equally urgent ones the first goes first
        #: (-deadline, -number, request), sorted: the most urgent last, since taking from the end is cheap.
        self._waiting: list[tuple[float, int, Waiting]] = []

    def may_begin(self) -> bool:
        """Take a place of this turn, if there is one."""
        if not self._left or self._waiting or self._admission.in_flight >= self._admission.begun_max:
            return False
        self._left -= 1
        if not self._turn_comes:  # once a turn
            self._come_back()
        return True

    def has_room(self, deadline: float, budget_s: float) -> bool:
        """Whether a request with this deadline (loop time) would be answered in time, if it joined now."""
        behind = bisect_left(self._waiting, (-deadline,))  # those at the same instant go first
        return self._admission.has_room(budget_s, len(self._waiting) - behind)

    def join(self, request: Waiting, deadline: float) -> None:
        """Wait for a place."""
        if not self._waiting:
            self._admission.line_began()
            self._come_back()
        insort(self._waiting, (-deadline, -next(self._numbers), request))
        self._admission.waiting += 1

    def go_on(self) -> None:
        """A decision under way has ended: a batch may begin."""
        if self._next_look is not None and self._admission.under_way <= self._batch:
            self._next_look.cancel()
            self._next_look = None
            self._come_back()

    def _come_back(self) -> None:
        if not self._turn_comes:
            self._turn_comes = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """A new turn: begin who waits, as far as there are places."""
        self._turn_comes = False
        self._next_look = None
        self._batch = self._left = self._admission.at_once
        if not self._waiting:
            return
        if self._may_begin_batch():
            self._begin_batch()
        if self._waiting:
            self._next_look = self._loop.call_later(LOOK_EVERY_S, self._turn)
        else:
            self._admission.line_ended()

    def _may_begin_batch(self) -> bool:
        """Whether the batches before it are answered, all but one. Those that wait for a slow store are no reason to
        wait: there was nothing to do for them between two looks, for longer than a batch takes."""
        admission, now_s = self._admission, self._loop.time()
        is_calm = now_s - self._looked_s < CALM_S
        self._looked_s = now_s
        if admission.under_way <= self._batch:
            admission.batch_begins()
            return True
        if is_calm and now_s - self._begun_s > BATCH_S and admission.under_way < admission.begun_max:
            admission.line_resumed()
            if admission.under_way > BATCHES * self._batch:  # a slow store indeed: as many as the time had room for
                self._left = int(self._batch * min(2.0, (now_s - self._begun_s) / BATCH_S))
            return True
        return False

    def _begin_batch(self) -> None:
        admission, waiting, now_s = self._admission, self._waiting, self._loop.time()
        self._begun_s = now_s
        self._left = min(self._left, admission.begun_max - admission.under_way)
        while waiting and self._left > 0:
            urgency, _, request = waiting.pop()
            admission.waiting -= 1
            if request.disconnected or admission.is_too_late(-urgency - now_s):
                request.refuse()
            else:
                self._left -= 1
                request.begin()
