"""The line of decisions: a bounded number is begun in each turn of the loop, the others wait, most urgent first.

In one turn the loop reads whatever has arrived, then works on it. Under overload that is more than can be answered, and
if all of it were begun, every decision under way would share the processor with it and come late. So a turn begins as
much as takes some two milliseconds (`Admission.at_once`). Decisions under way get on in every turn, since what they
wait for is read in every turn too. Who waits in line waits for nothing but the processor, which is how its wait can be
foreseen, and refused where it would be too long.

The most urgent goes first: who brings two seconds lets those pass who have forty milliseconds, so a burst of patient
requests keeps nobody else waiting.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable
from itertools import count
from typing import Protocol

from app.admission import Admission


class Waiting(Protocol):
    """A request that can be begun later."""

    disconnected: bool  # nobody waits for its answer any more

    def begin(self) -> None: ...
    def refuse(self) -> None: ...


class Line:
    """The line of a process."""

    def __init__(
        self, admission: Admission, call_soon: Callable[[Callable[[], None]], object], now_s: Callable[[], float]
    ) -> None:
        """`call_soon` runs something in the next turn of the loop; `now_s` is the loop's clock."""
        self._admission = admission
        self._call_soon = call_soon
        self._now_s = now_s
        self._left = admission.at_once  # that may still be begun in this turn
        self._turn_comes = False
        self._is_blocked = False  # by decisions under way
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
        """A decision under way has ended: another may begin."""
        if self._is_blocked:
            self._is_blocked = False
            self._admission.line_resumed()
            self._come_back()

    def _come_back(self) -> None:
        if not self._turn_comes:
            self._turn_comes = True
            self._call_soon(self._turn)

    def _turn(self) -> None:
        """A new turn: begin who waits, as far as there are places."""
        self._turn_comes = False
        admission, waiting = self._admission, self._waiting
        self._left = admission.at_once
        if not waiting:
            return
        admission.turned()
        now_s = self._now_s()
        while waiting and self._left and not self._is_full():
            urgency, _, request = waiting.pop()
            admission.waiting -= 1
            if request.disconnected or admission.is_too_late(-urgency - now_s):
                request.refuse()
            else:
                self._left -= 1
                request.begin()
        if not waiting:
            admission.line_ended()
        elif self._is_full():
            self._is_blocked = True
        else:
            self._come_back()

    def _is_full(self) -> bool:
        return self._admission.in_flight - self._admission.waiting >= self._admission.begun_max
