"""Decisions for one customer take turns inside a process: together they would only make each other's commits fail."""

from __future__ import annotations

import asyncio
from collections import deque


class Turns:
    """First come, first served, for each customer. Costs two dictionary operations when nobody else is there."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    def try_take(self, customer: str) -> bool:
        """Take the turn where nobody has it. A turn taken must be given back."""
        if customer in self._waiting:
            return False
        self._waiting[customer] = deque()
        return True

    async def wait(self, customer: str, deadline: float) -> bool:
        """Wait for the turn after those who came before; False when the deadline (loop time, s) came first."""
        queue = self._waiting.get(customer)
        if queue is None:
            return self.try_take(customer)
        loop = asyncio.get_running_loop()
        mine: asyncio.Future[None] = loop.create_future()
        queue.append(mine)
        timer = loop.call_at(deadline, _give_up, mine)
        try:
            await mine
        except TimeoutError:
            return False
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled() and mine.exception() is None:
                self.give_back(customer)  # the turn had come already
            raise
        finally:
            timer.cancel()
        return True

    def give_back(self, customer: str) -> None:
        """Let the next one in."""
        queue = self._waiting[customer]
        while queue:
            following = queue.popleft()
            if not following.done():
                following.set_result(None)
                return
        del self._waiting[customer]


def _give_up(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_exception(TimeoutError())
