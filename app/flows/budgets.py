"""Sends over all customers together, counted exactly: each process leases portions of a budget and spends from them.

Spending is a decrement in memory, before the commit; so a budget costs a decision no round trip while a portion lasts.
The sum of all portions never exceeds the budget, whatever happens: a process that dies takes its portion with it until
the window ends, a lease of unknown fate is lost, and a commit of unknown fate counts as spent. A send that may fall
into two windows is taken from both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.core.decision.commit import Committed, NewContact, Outcome, Unknown
from app.core.decision.limits import SEND_WITHIN_MS
from app.ending import end_task
from policy.bundle import Budget, Bundle, Placement
from policy.calendar import period
from policy.control import Control

if TYPE_CHECKING:  # handed in by the composition root
    from app.store.budgets import Portion

    Lease = Callable[[Budget, tuple[int, int], int, float], Awaitable[Portion | None]]

#: Nobody takes more than this part of what is left at once, so that the end of a budget is shared out finely.
SHARE_OF_LEFT = 4
#: A portion is meant to last about this long at the rate at which the last one was spent.
PORTION_LASTS_S = 2.0
FIRST_PORTION = 16
#: A spent budget is asked for again this often: another process may have given something back.
ASK_AGAIN_S = 1.0
#: A portion that nobody touched for this long goes back while others may want it.
IDLE_S = 2.0
LEASE_WITHIN_S = 1.0


@dataclass(slots=True, eq=False)
class _Purse:
    """This process's portion of one budget in one window."""

    budget: Budget
    window: tuple[int, int]  # [start, end) in Unix ms
    left: int = 0
    spent: int = 0  # since the last lease, to know how fast it goes
    left_for_all: int | None = None  # as of the last lease
    asked_at_s: float = -1e9
    used_at_s: float = 0.0
    leasing: asyncio.Task[None] | None = None


class Budgets:
    """This process's portions of the bundle's budgets."""

    def __init__(self, bundle: Bundle, lease: Lease) -> None:
        self._budgets = bundle.budgets
        self._by_message: dict[str, list[Budget]] = {}
        for budget in bundle.budgets:
            self._by_message.setdefault(budget.message, []).append(budget)
        self._lease = lease
        self._purses: dict[tuple[int, int], _Purse] = {}
        self._now_s = asyncio.get_running_loop().time
        self._tidying: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._budgets:
            self._tidying = asyncio.create_task(self._tidy_for_ever())

    async def close(self) -> None:
        """Give back what is left."""
        await end_task(self._tidying)
        await asyncio.gather(*(self._give_back(purse) for purse in self._purses.values()))

    async def seen(self, control: Control, placements: Sequence[Placement], now_ms: int, deadline: float) -> Control:
        """The control facts with the budgets of these placements that have no room left. One more round trip where a
        portion has just run out; a store that does not answer by `deadline` (loop time, s) grants nothing."""
        exhausted = set()
        for index in dict.fromkeys(index for placement in placements for index in placement.budgets):
            for purse in self._touched(self._budgets[index], now_ms, now_ms + SEND_WITHIN_MS):
                if purse.left < 1 and not await self._has_room(purse, deadline):
                    exhausted.add(index)
        return control._replace(exhausted=frozenset(exhausted)) if exhausted else control

    def spend(self, contacts: Sequence[NewContact]) -> bool:
        """Take one send for every contact from every budget that counts it, or nothing, and say False."""
        purses = list(self._counting(contacts)) if self._budgets else []
        for taken, purse in enumerate(purses):
            if purse.left < 1:
                for earlier in purses[:taken]:
                    earlier.left += 1
                return False
            purse.left -= 1
        for purse in purses:
            purse.spent += 1
            purse.used_at_s = self._now_s()
            if purse.left * 2 < purse.spent:
                self._start_lease(purse)
        return True

    def settle(self, contacts: Sequence[NewContact], outcome: Outcome) -> None:
        """Put back what was taken for a commit that certainly did not happen; one of unknown fate counts as spent."""
        if self._budgets and not isinstance(outcome, Committed | Unknown):
            for purse in self._counting(contacts):
                purse.left += 1
                purse.spent -= 1

    def _counting(self, contacts: Sequence[NewContact]) -> Iterator[_Purse]:
        for contact, *_ in contacts:
            for budget in self._by_message.get(contact.kind.message, ()):
                yield from self._touched(budget, contact.not_before_ms, contact.not_after_ms)

    def _touched(self, budget: Budget, not_before_ms: int, not_after_ms: int) -> Iterator[_Purse]:
        """The purse of every window that a send in [`not_before_ms`, `not_after_ms`] may fall into."""
        unit = budget.window.unit or "day"  # lint gives every budget a calendar window
        window = period(unit, budget.window.zone, not_before_ms)
        while window[0] <= not_after_ms:
            key = (budget.index, window[0])
            purse = self._purses.get(key)
            if purse is None:
                purse = self._purses[key] = _Purse(budget, window)
            yield purse
            window = period(unit, budget.window.zone, window[1])

    async def _has_room(self, purse: _Purse, deadline: float) -> bool:
        """Whether a send can be spent now. Waits for a portion until `deadline`, and again where others who waited took
        it; where the budget was spent a moment ago, only asks, and does not wait."""
        while purse.left < 1:
            now_s = self._now_s()
            if purse.left_for_all == 0 and not _is_running(purse.leasing):
                if now_s - purse.asked_at_s > ASK_AGAIN_S:
                    self._start_lease(purse)
                return False
            if now_s >= deadline:
                return False
            await asyncio.wait((self._start_lease(purse),), timeout=deadline - now_s)
        return True

    def _start_lease(self, purse: _Purse) -> asyncio.Task[None]:
        leasing = purse.leasing
        if leasing is None or leasing.done():
            leasing = purse.leasing = asyncio.create_task(self._lease_portion(purse))
        return leasing

    async def _lease_portion(self, purse: _Purse) -> None:
        now_s = self._now_s()
        wanted = self._wanted(purse, now_s)
        purse.asked_at_s = now_s
        portion = await self._lease(purse.budget, purse.window, wanted, now_s + LEASE_WITHIN_S)
        if portion is not None:
            purse.left += portion.granted
            purse.left_for_all = portion.left
            purse.spent = 0
            purse.used_at_s = self._now_s()

    def _wanted(self, purse: _Purse, now_s: float) -> int:
        left_for_all = purse.budget.at_most if purse.left_for_all is None else purse.left_for_all
        rate = purse.spent / max(now_s - purse.asked_at_s, 0.001)
        return max(1, min(-(-left_for_all // SHARE_OF_LEFT), max(FIRST_PORTION, int(rate * PORTION_LASTS_S))))

    async def _tidy_for_ever(self) -> None:
        """Idle portions go back while the budget is nearly spent: another process may have customers for them."""
        while True:
            await asyncio.sleep(IDLE_S / 2)
            for key, purse in list(self._purses.items()):
                idle = self._now_s() - purse.used_at_s > IDLE_S
                scarce = purse.left_for_all is not None and purse.left_for_all < max(purse.budget.at_most // 10, 100)
                if idle and scarce and purse.left:
                    await self._give_back(purse)
                if idle and not purse.left and self._now_s() - purse.asked_at_s > 60:
                    del self._purses[key]

    async def _give_back(self, purse: _Purse) -> None:
        """Once: a lease that may have come back already must not come back again."""
        left, purse.left = purse.left, 0
        if left:
            portion = await self._lease(purse.budget, purse.window, -left, self._now_s() + LEASE_WITHIN_S)
            purse.left_for_all = None if portion is None else portion.left


def _is_running(task: asyncio.Task[None] | None) -> bool:
    return task is not None and not task.done()
