"""Closing: when a decision's window is over, what it earned is worked out and written down, once.

    which windows closed → conversions that waited → what is known of them → what they earned → write it down, and that
    it is not due any more

The last step is one step of the store. Whoever dies before it leaves the decision due, and whoever works the shard next
comes to the same reward; two that close the same decision at once write it once. So no lease guards it: shards are only
shared out so that the work is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from app.core.due_rewards import Closing
from app.core.rewards import Rule, earned
from app.core.standing import Known as Contact

if TYPE_CHECKING:  # handed in by the composition root
    from app.core.due_rewards import Due, Known
    from app.store.rewards import RewardStore

#: How often due decisions are looked for, in s: windows last days.
LOOK_EVERY_S = 5.0
#: Decisions of one shard that are closed before it is another one's turn.
A_SHARD_MAX = 64
#: Decisions that are read and worked out between two turns of others.
TOGETHER = 16


class Conversions(Protocol):
    """`app.flows.attribute.Attribution`."""

    async def again(self, customers: Iterable[str]) -> bool: ...


class RewardCloser:
    """Closes what is due in the shards that a worker holds. One a process."""

    def __init__(
        self,
        store: RewardStore,
        rules: Mapping[str, Rule],
        count: Callable[[str, int], None],
        trouble: Callable[[str], None],
        conversions: Conversions | None = None,
    ) -> None:
        """`rules`: of placements. `count(result, n)` is for metrics; `trouble(what)` for what went wrong and is tried
        again. `conversions`: who attributes those of the bundle, where it names any."""
        self._store = store
        self._rules = rules
        self._count = count
        self._trouble = trouble
        self._conversions = conversions

    async def run(self, stopped: asyncio.Event, shards: Callable[[], Collection[int]]) -> None:
        """Look until it is stopped. `shards`: those that this process works on."""
        while not stopped.is_set():
            try:
                while not stopped.is_set() and await self.look(sorted(shards())):
                    pass
            except Exception as error:  # the store is away, or refuses: what was not closed is due still
                self._trouble(type(error).__name__)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await stopped.wait()

    async def look(self, shards: Sequence[int]) -> bool:
        """Close what is due in these shards; whether there may be more at once. Raises StoreError, ReplyError."""
        dues = await self._store.due(shards, A_SHARD_MAX)
        again = 0
        for at in range(0, len(dues), TOGETHER):
            again += await self._close(dues[at : at + TOGETHER])
            await asyncio.sleep(0)
        # What stays due was told more of just now: it is looked at in a while, so that this ends.
        return len(dues) > again and len(dues) >= A_SHARD_MAX

    async def _known(self, dues: Sequence[Due]) -> Sequence[Known | None]:
        """What is known of each, with the conversions that can be attributed by now: the last chance that they have."""
        found = await self._store.known(dues)
        if self._conversions is None:
            return found
        customers = dict.fromkeys(each.became or each.customer for each in found if each is not None)
        return await self._store.known(dues) if await self._conversions.again(customers) else found

    async def _close(self, dues: Sequence[Due]) -> int:
        """Close some; how many stay due."""
        closings: list[Closing] = []
        for due, known in zip(dues, await self._known(dues), strict=True):
            placement = None if known is None else await self._store.placement_of(due)
            rule = None if placement is None else self._rules.get(placement)
            if known is None or placement is None or rule is None:  # taken back, erased, or earns nothing any more
                await self._store.forget(due)
                self._count("dropped", 1)
            else:
                found = earned(Contact.of(known.fields).told, rule, due.closed_ms)
                closings.append(Closing(known, found, placement, rule.of))
        said = await self._store.close_all(closings)
        for each, word in zip(closings, said, strict=True):
            if word == "closed":
                self._count("unexposed" if each.earned.reward is None else "rewarded", 1)
            elif word == "erased":
                self._count("dropped", 1)
        return said.count("moved")
