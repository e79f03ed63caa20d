"""Two customers, who are one person, become one: a saga over several slots of the store, which any process can finish.

    begin    note what shall be, before anything is done
    expect   the winner waits: marketing is suppressed, `merge_pending`
    leave    the loser becomes the winner: whatever is asked or written of it from now on is asked and written of that
    unite    the winner takes in all that the loser held
    repoint  aliases, and customers who had become the loser, point to the winner
    carry    the loser's shard hands over what was folded of its events; identities of both are looked at again
    settle   the winner waits no longer
    strip    what the loser held is deleted there
    end      the note is forgotten

1. Fails closed: from `expect` to `settle` the winner is sent no marketing, and nothing of the loser is deleted before
   the winner has it.
2. Each step is harmless to repeat, also beside another process that is at another step. Whoever dies leaves the note,
   and every process takes up notes that nobody has touched for a while.
3. Pointers are one deep: who becomes a customer who became another one becomes that other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from app.ending import end_task
from app.errors import Problem

if TYPE_CHECKING:  # handed in by the composition root
    from app.store.merge import Merge, MergeStore

log = logging.getLogger("nextbest.merge")

#: A merge takes some milliseconds, and up to two seconds where it waits for the disk.
LEFT_AFTER_MS = 5_000
LOOK_EVERY_S = 2.0
AT_ONCE_MAX = 100
#: How long to wait for a merge that one of the two is part of.
WAIT_S = 0.05
TRIES = 40


class Merges:
    """Merges customers, and finishes merges that others left. One a process: `start()` on the loop, `close()`."""

    def __init__(self, store: MergeStore) -> None:
        self._store = store
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._look_after(), name="merges")

    async def close(self) -> None:
        await end_task(self._task)

    async def merge(self, loser: str, winner: str, who: str, why: str = "") -> str:
        """Let `loser` become `winner`, and return whose all of it is then: who one of them has become already, where
        that is another. Repeating it is harmless.

        Raises Problem `store_unavailable`: the merge may be under way, and will then be finished by some process; and
        `erased`: one of them was, so that there is nothing to merge.
        """
        for _ in range(TRIES):
            became, into = await self._store.became(loser), await self._store.became(winner)
            await self._store.refuse_erased(became, into)
            if became == into:
                # The pointer comes early: it may have been set by somebody who died before the rest was done.
                for under_way in await self._store.under_way(into):
                    await self._finish(under_way)
                if not await self._store.is_expected(loser, into):
                    return into
                became = loser  # the note of it was lost
            merge = await self._store.begin(became, into, who, why)
            if merge is None:
                await asyncio.sleep(WAIT_S)
            elif await self._finish(merge):
                return into
        raise Problem("store_unavailable", "other merges of these customers are under way; try again", retry_after_s=1)

    async def finish_into(self, winner: str) -> None:
        """Finish all merges into a customer that are under way. Raises Problem `store_unavailable`."""
        for merge in await self._store.under_way(winner):
            await self._finish(merge)

    async def finish_what_was_left(self, older_than_ms: int = LEFT_AFTER_MS) -> int:
        """Take up merges that nobody has tried for a while; how many there were."""
        left = await self._store.take_up(older_than_ms, AT_ONCE_MAX)
        for merge in left:
            try:
                if not await self._finish(merge):
                    await self.merge(merge.loser, merge.winner, merge.who, merge.why)
            except Exception as error:  # it is tried again, and must not hold up the others, whatever it met
                said = error.detail if isinstance(error, Problem) else type(error).__name__
                log.warning("a merge could not be finished: %s", said)
        return len(left)

    async def _finish(self, merge: Merge) -> bool:
        """All steps, from the first. False: one of the two became another customer, so that it is given up."""
        store = self._store
        expected = await store.expect(merge)
        if expected:
            left = await store.leave(merge)
            if left is None:
                await store.settle(merge, done=False)
                await store.end(merge)
                return False
            await store.unite(merge, left)
            await store.repoint(merge, left.aliases)
            await store.carry(merge, left.aliases)
            await store.settle(merge)
        if expected is not None:
            await store.strip(merge)
        await store.end(merge)
        return expected is not None

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            with contextlib.suppress(Exception):  # the store is away: the link says so, and the next look tries again
                await self.finish_what_was_left()
