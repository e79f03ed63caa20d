"""What must still be done after an answer was given: releases of commits of unknown fate, and the log of what was sent
while the store was away. In memory, bounded, tried until done.

A process that dies with work here leaves reservations that nobody uses: limits stay closed, never opened.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from app.core.decision.commit import Committed, Intent
from app.ending import end_task

if TYPE_CHECKING:
    from app.store.decisions import DecisionStore

log = logging.getLogger("nextbest.reconcile")

#: An intent takes about 2 KiB, so this is 20 MiB at the most: a minute of transactional mail at 160 a second.
QUEUE_MAX = 10_000
TRY_TIMEOUT_S = 1.0
RETRY_S = 0.2
#: A commit can be late by its budget, two seconds at the most; after the store's clock was set back, by as much as that
#: was, and what waits behind it shall not.
WAIT_S_MAX = 2.0


class Reconciler:
    """One a process: `start()` on the loop, `close()` at the end, which tries once more to finish."""

    def __init__(self, store: DecisionStore, on_done: Callable[[str], None]) -> None:
        """`on_done(result)` counts: `released`, `absent`, `answered`, `logged`, `dropped`."""
        self._store = store
        self._on_done = on_done
        self._queue: deque[tuple[bool, Intent]] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="reconcile")

    def release_later(self, intent: Intent) -> None:
        """Have a commit of unknown fate taken back. When the queue is full the reservation stays, which is safe."""
        if len(self._queue) >= QUEUE_MAX:
            self._on_done("dropped")
            return
        self._put(True, intent)

    def log_later(self, intent: Intent) -> bool:
        """Have something that is about to be answered written when the store is back; False: the queue is full, and
        the answer must not be a `send` (G4)."""
        if len(self._queue) >= QUEUE_MAX:
            return False
        self._put(False, intent)
        return True

    async def drained(self, timeout_s: float) -> bool:
        """Whether everything was done within `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        return not self._queue

    async def close(self) -> None:
        await self.drained(TRY_TIMEOUT_S)
        if self._queue:
            log.warning("%d releases or late records were not written", len(self._queue))
        await end_task(self._task)

    def _put(self, is_release: bool, intent: Intent) -> None:
        self._queue.append((is_release, intent))
        self._idle.clear()
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            is_release, intent = self._queue[0]
            wait_s = await (self._release(intent) if is_release else self._log(intent))
            if wait_s > 0:
                self._queue.rotate(-1)  # what fails for ever must not hold up the others
                await asyncio.sleep(wait_s)
                continue
            self._queue.popleft()
            if not self._queue:
                self._wake.clear()
                self._idle.set()

    async def _release(self, intent: Intent) -> float:
        """0 when done, else seconds until the next try."""
        try:
            result = await self._store.release(intent, asyncio.get_running_loop().time() + TRY_TIMEOUT_S)
        except Exception:  # whatever the store does, the release is tried again
            return RETRY_S
        if isinstance(result, int):
            return min(result / 1000, WAIT_S_MAX)
        self._on_done(result.decode())
        return 0.0

    async def _log(self, intent: Intent) -> float:
        try:
            outcome = await self._store.commit(intent, asyncio.get_running_loop().time() + TRY_TIMEOUT_S)
        except Exception:  # such as KeyError: before the store was reached once, no kind of contact has its short id
            return RETRY_S
        if not isinstance(outcome, Committed):
            return RETRY_S
        self._on_done("logged")
        return 0.0
