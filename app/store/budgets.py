"""Portions of budgets in the store: one count of leased sends a budget and window, moved by one script.

A lease whose reply was lost is lost until the window ends, and what comes back is sent once and never again: both err
on the side of sending less.
"""

from __future__ import annotations

from typing import NamedTuple

from hiredis import ReplyError

from app.store.keys import budget_window
from app.store.link import Link
from app.store.resp import pack
from app.store.scripts import Script
from app.store.wire import StoreError
from policy.bundle import Budget

LEASE = Script.load("lease.lua")
#: A count outlives its window by this much, so that a process whose clock is behind cannot start it again.
FORGET_AFTER_MS = 86_400_000


class Portion(NamedTuple):
    """What was granted, and how many sends of the window are left for everybody."""

    granted: int
    left: int


class BudgetStore:
    """Leases over the hot connection, since decisions wait for them."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def lease(self, budget: Budget, window: tuple[int, int], wanted: int, deadline: float) -> Portion | None:
        """Lease up to `wanted` sends of a window [start, end) ms (negative: give some back); None when the store did
        not say what it granted. `deadline`: loop time, s."""
        key = budget_window(budget.id, budget.message, window[0])
        args = (wanted, budget.at_most, window[1] + FORGET_AFTER_MS)
        try:
            (reply,) = await self._link.call(pack("EVAL", LEASE.source, 1, key, *args), 1, deadline)
        except StoreError:
            return None
        return None if isinstance(reply, ReplyError) else Portion(int(reply[0]), int(reply[1]))
