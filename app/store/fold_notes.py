"""What is noted of shards' folding and filling, as server processes read it: over a link, some shards at a time, so
that no decision waits behind it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import ormsgpack
from hiredis import ReplyError

from app.core.features.backfill import Lanes
from app.core.features.unfilled import Noted
from app.store.decisions import milliseconds
from app.store.fold_plans import changes_of, filled_of
from app.store.keys import CTL_BACKFILLED, CTL_FOLD_PLANS, Keys
from app.store.resp import pack
from app.store.wire import Caller, StoreError

#: Shards that are read at once: it keeps the store for some 20 µs.
SHARDS_AT_ONCE = 16

#: A shard as it lies in the store: its plans, whether anything was applied, what was filled of it.
_Stored: TypeAlias = tuple[bytes | None, bool, bytes | None]


class FoldNotes:
    """Reads notes. What is stored as it was is not understood anew: the same object is given out."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._plans: dict[str, Lanes] = {}  # what a digest stands for never changes
        self._stored: dict[int, _Stored] = {}
        self._noted: dict[int, Noted] = {}

    def groups(self) -> list[range]:
        """All shards, in groups that are read at once."""
        shards = self._keys.shards
        return [range(at, min(at + SHARDS_AT_ONCE, shards)) for at in range(0, shards, SHARDS_AT_ONCE)]

    async def read(self, shards: Sequence[int], caller: Caller, deadline: float) -> tuple[int, dict[int, Noted]] | None:
        """The store's clock (Unix ms), and what is noted of each shard, by `deadline` (loop time, s). None: not
        readable now."""
        packed = [pack("HMGET", self._keys.worker(shard), "plans", "position") for shard in shards]
        asked = [pack("TIME"), pack("HMGET", CTL_BACKFILLED, *map(str, shards)), *packed]
        try:
            time, filled, *workers = await _answers(asked, caller, deadline)
            stored = {
                shard: (plans, position not in (None, b"0-0"), of_shard)
                for shard, (plans, position), of_shard in zip(shards, workers, filled, strict=True)
            }
            changed = {shard: each for shard, each in stored.items() if self._stored.get(shard) != each}
            await self._learn_plans(changed.values(), caller, deadline)
            for shard, (plans, passed, of_shard) in changed.items():
                self._noted[shard] = Noted(changes_of(plans, self._plans), filled_of(of_shard), passed)
                self._stored[shard] = stored[shard]
            return milliseconds(time), {shard: self._noted[shard] for shard in shards}
        except (StoreError, ReplyError, ValueError, TypeError, IndexError, AttributeError):
            return None  # away, refused, or not what a worker writes

    async def _learn_plans(self, stored: Iterable[_Stored], caller: Caller, deadline: float) -> None:
        named = {each.partition(b"@")[0].decode() for plans, _, _ in stored for each in (plans or b"").split()}
        unknown = sorted(named - self._plans.keys())
        if not unknown:
            return
        (lanes,) = await _answers([pack("HMGET", CTL_FOLD_PLANS, *unknown)], caller, deadline)
        for digest, packed in zip(unknown, lanes, strict=True):
            if packed is not None:
                self._plans[digest] = ormsgpack.unpackb(packed)


async def _answers(commands: Sequence[bytes], caller: Caller, deadline: float) -> list[Any]:
    """Raises StoreError, and the first refusal as ReplyError."""
    replies = await caller.call(b"".join(commands), len(commands), deadline)
    for reply in replies:
        if isinstance(reply, ReplyError):
            raise reply
    return replies
