"""With which plan each shard's events were folded, from which position on; and which lanes were filled from history.

Whoever folds a shard notes its plan before the first event (`note_plan`): a lane lacks what passed before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import ormsgpack
from redis.asyncio import Redis

from app.core.features.backfill import Change, Lanes, Missing, digest_of, lanes_of
from app.core.features.plan import FoldPlan
from app.store.archive_positions import order
from app.store.keys import CTL_BACKFILLED, CTL_FOLD_PLANS, Keys
from app.store.link import Link
from app.store.resp import pack
from app.store.round_trips import asked
from app.store.scripts import Script
from app.store.servers import together

NOTE = Script.load("note_plan.lua")
#: Changes of plan that a shard keeps: a release that changes features is one.
CHANGES_MAX = 100


async def note_plan(link: Link, keys: Keys, plan: FoldPlan, held: Iterable[tuple[int, int]]) -> None:
    """Note that shards, each held by a token, are folded with a plan from their positions on. Of one that is held by
    somebody else by now nothing is noted, and its commit fails as well. Raises StoreError, ReplyError."""
    lanes = lanes_of(plan)
    digest = digest_of(lanes).encode()
    calls = [pack("EVAL", NOTE.source, 1, keys.worker(shard), token, digest, CHANGES_MAX) for shard, token in held]
    if calls:
        # Before any shard names it: they may lie at other servers, which answer beside this one.
        await asked(link, [pack("HSETNX", CTL_FOLD_PLANS, digest, ormsgpack.packb(lanes))])
        await asked(link, calls)


def changes_of(noted: bytes | None, plans: Mapping[str, Lanes]) -> list[Change]:
    """A shard's changes of plan, by digest. One whose plan is not known folds nothing. Raises ValueError."""
    pairs = [each.decode().split("@") for each in (noted or b"").split()]
    return [Change(plans.get(digest, {}), order(position)) for digest, position in pairs]


def filled_of(packed: bytes | None) -> dict[str, Missing]:
    """What was filled of a shard's lanes. Raises ValueError."""
    lanes = ormsgpack.unpackb(packed) if packed else {}
    return {name: Missing((at[0], at[1]), kept) for name, (at, kept) in lanes.items()}


class FoldPlans:
    """All of these raise redis errors."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def changes(self) -> dict[int, list[Change]]:
        """Each shard's changes of plan, the oldest first."""
        stored = cast("dict[bytes, bytes]", await self._client.hgetall(CTL_FOLD_PLANS))
        plans = {digest.decode(): ormsgpack.unpackb(lanes) for digest, lanes in stored.items()}
        pipeline = self._client.pipeline(transaction=False)
        for shard in range(self._keys.shards):
            pipeline.hget(self._keys.worker(shard), "plans")
        found: dict[int, list[Change]] = {}
        for shard, noted in enumerate(await pipeline.execute()):
            found[shard] = changes_of(noted, plans)
        return found

    async def filled(self) -> dict[int, dict[str, Missing]]:
        """What was filled of each shard's lanes."""
        stored = cast("dict[bytes, bytes]", await self._client.hgetall(CTL_BACKFILLED))
        found: dict[int, dict[str, Missing]] = {}
        for field, packed in stored.items():
            if field.isdigit():
                found[int(field)] = filled_of(packed)
        return found

    async def began(self, runs: Mapping[int, bytes], now_ms: int) -> dict[int, tuple[bytes, int]]:
        """Note that shards are being filled; what is noted of each: the run (8 bytes), and when it began (Unix ms). It
        is an earlier one where that broke off."""
        if not runs:
            return {}
        pipeline = self._client.pipeline(transaction=False)
        for shard, run in runs.items():
            pipeline.hsetnx(CTL_BACKFILLED, f"run:{shard}", run + b"%d" % now_ms)
        pipeline.hmget(CTL_BACKFILLED, [f"run:{shard}" for shard in runs])
        noted = (await pipeline.execute())[-1]
        return {shard: (each[:8], int(each[8:])) for shard, each in zip(runs, noted, strict=True)}

    async def filled_now(self, lacking: Mapping[int, Mapping[str, Missing]], features: Mapping[str, bytes]) -> None:
        """These lanes of shards are filled, beside those that were, all at once; and what is known of the features."""
        before = await self.filled()
        facts: dict[str, bytes] = {f"feature:{name}": told for name, told in features.items()}
        for shard, lanes in lacking.items():
            of_shard = {**before.get(shard, {}), **lanes}
            facts[str(shard)] = ormsgpack.packb({name: [list(at), kept] for name, (at, kept) in of_shard.items()})
        stored = [word for pair in facts.items() for word in pair]
        done = [f"run:{shard}" for shard in lacking]
        await together(self._client, ("HSET", CTL_BACKFILLED, *stored), ("HDEL", CTL_BACKFILLED, *done))

    async def features(self) -> dict[str, dict[str, object]]:
        """`name@version` → what is known of its filling: its definition, when, and since when its events are whole."""
        stored = cast("dict[bytes, bytes]", await self._client.hgetall(CTL_BACKFILLED))
        marked = {field.decode(): packed for field, packed in stored.items() if field.startswith(b"feature:")}
        return {name.removeprefix("feature:"): ormsgpack.unpackb(packed) for name, packed in marked.items()}
