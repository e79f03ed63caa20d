"""What operators say about every decision, kept fresh: polled, swapped as a whole, and stale when it cannot be read.

1. What was turned is in force in this process within a second of the answer to whoever turned it: the switches are
   polled every 400 ms, and read again before such an answer leaves this process.
2. Fails closed. Facts older than five seconds are `stale`, by a timer and not by the poll, which may hang; before the
   first poll they are stale too. What was off stays off until a whole reading says otherwise.
3. What variants earned fails open: what was read last stays.
4. Until when events are complete comes with the same poll, where a feature has a contract that asks for it. What was
   read last stays, and grows old by itself: features then count as stale.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from app.core.features.watermarks import NO_WATERMARKS
from app.ending import end_task
from policy.control import STALE_AFTER_S, Control

if TYPE_CHECKING:  # handed in by the composition root
    from collections.abc import Sequence

    from app.store.control import ControlStore, Polled
    from app.store.wire import Caller
    from policy.control import Switch

log = logging.getLogger("nextbest.control")

POLL_EVERY_S = 0.4  # from start to start: two polls and a slow answer fit into a second
POLL_TIMEOUT_S = 1.0
#: All shards' counts are read anew in this time, a group of shards after the other.
EARNED_EVERY_S = 1.5


class ControlWatch:
    """Holds the control facts of this process in `current`. Make it on the running loop; `start()`, `close()`."""

    def __init__(self, store: ControlStore) -> None:
        self.current = Control(stale=True)
        self.watermarks = NO_WATERMARKS
        self.failure = "they have not been read yet"
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._read_at_s = self._loop.time()  # when what is known now was asked for
        self._stale_timer: asyncio.TimerHandle | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks.append(asyncio.create_task(self._follow_switches(), name="switches"))
        if self._store.compared:
            self._tasks.append(asyncio.create_task(self._follow_earned(), name="earned"))

    async def close(self) -> None:
        for task in self._tasks:
            await end_task(task)
        if self._stale_timer is not None:
            self._stale_timer.cancel()

    @property
    def age_s(self) -> float:
        """How old the control facts are."""
        return self._loop.time() - self._read_at_s

    @property
    def findings(self) -> list[str]:
        """What is wrong, for readiness."""
        if not self.current.stale:
            return []
        return [f"the kill switches cannot be read ({self.failure}): marketing is suppressed"]

    async def poll(self, wire: Caller | None = None) -> Polled:
        """Read the switches now. Replies come in the order of the questions, so whatever was turned before this was
        called is in force when it returns, and no earlier reading comes after it."""
        asked_at_s = self._loop.time()
        polled = await self._store.poll(asked_at_s + POLL_TIMEOUT_S, wire)
        self._take(polled, asked_at_s)
        return polled

    def _take(self, polled: Polled, asked_at_s: float) -> None:
        if polled.watermarks != self.watermarks:
            self.watermarks = self.watermarks.raised_to(polled.watermarks)
        current, switches = self.current, polled.switches
        if polled.failure:
            self.failure = polled.failure
            read = {(switch.kind, switch.name) for switch in switches}
            switches += tuple(switch for switch in current.switches if (switch.kind, switch.name) not in read)
        else:
            self._is_fresh(asked_at_s)
        stale = current.stale and bool(polled.failure)
        if switches != current.switches:
            _log(current.switches, switches)
        if switches != current.switches or stale is not current.stale:
            self.current = current._replace(switches=switches, stale=stale)

    def _is_fresh(self, asked_at_s: float) -> None:
        self._read_at_s = asked_at_s
        if self._stale_timer is not None:
            self._stale_timer.cancel()
        self._stale_timer = self._loop.call_at(asked_at_s + STALE_AFTER_S, self._is_stale)

    def _is_stale(self) -> None:
        self.current = self.current._replace(stale=True)
        log.warning("the kill switches cannot be read (%s): marketing is suppressed", self.failure)

    async def _follow_switches(self) -> None:
        while True:
            next_s = self._loop.time() + POLL_EVERY_S
            polled = await self.poll()
            for switch in polled.switches:
                if not switch.in_force(polled.now_ms):
                    await self._store.end(switch, polled.now_ms, self._loop.time() + POLL_TIMEOUT_S)
            await asyncio.sleep(next_s - self._loop.time())

    async def _follow_earned(self) -> None:
        groups = self._store.shard_groups()
        while True:
            sums = [0] * (2 * len(self._store.compared))
            for shards in groups:
                await asyncio.sleep(EARNED_EVERY_S / len(groups))
                counts = await self._store.earned(shards, self._loop.time() + POLL_TIMEOUT_S)
                if counts is None:
                    break
                sums = [so_far + count for so_far, count in zip(sums, counts, strict=True)]
            else:
                self._learn(sums)

    def _learn(self, sums: Sequence[int]) -> None:
        """Variants that nobody was sent have no entry: their prior speaks."""
        pairs = zip(self._store.compared, sums[::2], sums[1::2], strict=True)
        earned = {variant: (responses, sends) for variant, responses, sends in pairs if responses or sends}
        if earned != self.current.earned:
            self.current = self.current._replace(earned=earned)


def _log(before: Sequence[Switch], after: Sequence[Switch]) -> None:
    """What changed, without who and why: that is in the history."""
    was, now = ([f"{each.kind}/{each.name}" for each in switches] for switches in (before, after))
    for state, names in (("off", set(now) - set(was)), ("on again", set(was) - set(now))):
        if names:
            log.warning("switched %s: %s", state, ", ".join(sorted(names)))
