"""Which features lack events that passed, kept fresh: decisions do not use them.

1. Looked at before the first decision, after every connect, and all shards once in four seconds, some at a time. In
   between nothing is asked, and where no feature lacks anything a decision pays nothing.
2. What cannot be read now stays as it was. Before the first look nothing is known, and every feature is used: features
   are scores, and scores fail open. Consent, suppressions and limits do not depend on them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from app.core.features.unfilled import lacking, wanted_of, whole_from_ms
from app.ending import end_task

if TYPE_CHECKING:  # handed in by the composition root
    from app.core.features.unfilled import Noted
    from app.store.fold_notes import FoldNotes
    from app.store.wire import Caller
    from policy.feature_rules import FeatureRule

log = logging.getLogger("nextbest.features")

#: All shards are looked at anew in this time: a filled feature is used within seconds.
ROUND_S = 4.0
LOOK_TIMEOUT_S = 1.0


class FeatureWatch:
    """Holds in `lacking`, by shard, the features that no decision may use; shards that lack nothing have no entry.
    `start()` on the running loop, `close()`."""

    def __init__(self, rules: Sequence[FeatureRule], notes: FoldNotes, caller: Caller) -> None:
        self.lacking: Mapping[int, frozenset[str]] = {}
        self._wanted = wanted_of(rules)
        self._notes = notes
        self._caller = caller
        self._understood: dict[int, tuple[Noted, Mapping[str, int]]] = {}
        self._told: frozenset[str] = frozenset()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._wanted:
            self._task = asyncio.create_task(self._follow(), name="features")

    async def close(self) -> None:
        await end_task(self._task)

    @property
    def names(self) -> frozenset[str]:
        """The features that lack something in some shard."""
        return frozenset().union(*self.lacking.values())

    async def look(self, caller: Caller | None = None) -> bool:
        """Look at all shards now, over `caller` while the link does not count as connected. Whether all were read."""
        if not self._wanted:
            return True
        seen = [await self._look_at(shards, caller or self._caller) for shards in self._notes.groups()]
        self._tell()
        return all(seen)

    async def _follow(self) -> None:
        groups = self._notes.groups()
        while True:
            for shards in groups:
                await asyncio.sleep(ROUND_S / len(groups))
                await self._look_at(shards, self._caller)
            self._tell()

    async def _look_at(self, shards: Sequence[int], caller: Caller) -> bool:
        deadline = asyncio.get_running_loop().time() + LOOK_TIMEOUT_S
        read = await self._notes.read(shards, caller, deadline)
        if read is None:
            return False
        now_ms, noted = read
        found = {shard: lacking(self._whole_from_ms(shard, each), now_ms) for shard, each in noted.items()}
        if any(found[shard] != self.lacking.get(shard, frozenset()) for shard in shards):
            self.lacking = {shard: names for shard, names in {**self.lacking, **found}.items() if names}
        return True

    def _whole_from_ms(self, shard: int, noted: Noted) -> Mapping[str, int]:
        """Worked out again only where something else is noted."""
        known = self._understood.get(shard)
        if known is None or known[0] is not noted:
            known = self._understood[shard] = (noted, whole_from_ms(self._wanted, noted))
        return known[1]

    def _tell(self) -> None:
        names = self.names
        if names - self._told:
            log.warning(
                "features lack events that passed, and are not used: run `nextbest features backfill`",
                extra={"features": sorted(names)},
            )
        if self._told - names:
            log.warning("features are whole, and used from now on", extra={"features": sorted(self._told - names)})
        self._told = names
