"""What of the events has become visible: counted in the customers' features as decisions read them, and in leases."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import redis

from app.core.features.codec import state_of
from app.core.features.plan import FoldPlan
from app.core.features.read import read
from app.store.keys import Keys
from loadtests.events.traffic import CUSTOMERS, key
from policy.compile import load

SHARDS = 256  # the default of a deployment
COUNT = "events_30d"  # the feature that counts every event
CUSTOMERS_A_PIPELINE = 500
LOOK_S = 0.02
GIVE_UP_S = 120.0


class NotVisible(Exception):
    """Events that were acknowledged did not become visible in time."""


class Visible:
    """Looks into the store."""

    def __init__(self, store: redis.Redis, bundle: Path, customers: Sequence[str] | None = None) -> None:
        """`customers`: whose features are counted; None: those of `loadtests.events.traffic`."""
        self._store = store
        self._customers = customers or [key(number) for number in range(CUSTOMERS)]
        self.keys = Keys(SHARDS)
        self._plan = FoldPlan.of(load(bundle))

    def count(self) -> int:
        """Events that the features of all loaded customers have counted."""
        now_ms = round(time.time() * 1000)
        total = 0
        for begin in range(0, len(self._customers), CUSTOMERS_A_PIPELINE):
            pipeline = self._store.pipeline(transaction=False)
            for name in self._customers[begin : begin + CUSTOMERS_A_PIPELINE]:
                pipeline.hgetall(self.keys.of(name).features)
            for stored in pipeline.execute():
                state = state_of(self._plan, {group.decode(): held for group, held in stored.items()})
                total += read(self._plan, state, now_ms).get(COUNT, 0)
        return total

    def await_applied(self, within_s: float = GIVE_UP_S) -> float:
        """Returns after how many seconds no event waits any more. Raises NotVisible."""
        began = time.monotonic()
        while self.waiting():
            if time.monotonic() - began > within_s:
                raise NotVisible(f"{self.waiting()} shards still hold events that nobody applied")
            time.sleep(LOOK_S)
        return time.monotonic() - began

    def waiting(self) -> int:
        """Shards whose newest event has not been applied."""
        pipeline = self._store.pipeline(transaction=False)
        for shard in range(SHARDS):
            pipeline.xrevrange(self.keys.events(shard), count=1)
            pipeline.hget(self.keys.worker(shard), "position")
        replies = pipeline.execute()
        pairs = zip(replies[::2], replies[1::2], strict=True)
        return sum(1 for newest, position in pairs if newest and _id(newest[0][0]) > _id(position))

    def owners(self) -> dict[int, bytes]:
        """Shard → the worker that holds it now."""
        pipeline = self._store.pipeline(transaction=False)
        pipeline.time()
        for shard in range(SHARDS):
            pipeline.hmget(self.keys.worker(shard), "owner", "until")
        now, *leases = pipeline.execute()
        now_ms = int(now[0]) * 1000 + int(now[1]) // 1000
        return {shard: owner for shard, (owner, until) in enumerate(leases) if owner and until and int(until) > now_ms}

    def await_held(self, least_each: int, workers: int = 1) -> float:
        """Returns after how many seconds every shard is held, by so many workers, each with `least_each` or more.
        Raises NotVisible."""
        began = time.monotonic()
        while True:
            held = list(self.owners().values())
            shares = [held.count(owner) for owner in set(held)]
            if len(held) == SHARDS and len(shares) == workers and min(shares) >= least_each:
                return time.monotonic() - began
            if time.monotonic() - began > GIVE_UP_S:
                raise NotVisible(f"{len(held)} of {SHARDS} shards are held, by {len(shares)} workers")
            time.sleep(LOOK_S)

    def bytes_of(self, pattern: bytes) -> int:
        """Memory of all keys of a pattern, with the keys."""
        names = list(self._store.scan_iter(pattern, count=5_000))
        return sum(self._sizes(names))

    def _sizes(self, names: Iterable[bytes]) -> list[int]:
        pipeline = self._store.pipeline(transaction=False)
        for name in names:
            pipeline.memory_usage(name, samples=0)
        return [size or 0 for size in pipeline.execute()]


def _id(stream_id: bytes | None) -> tuple[int, int]:
    """A stream id as it compares; nothing is before everything."""
    milliseconds, _, number = (stream_id or b"0-0").partition(b"-")
    return int(milliseconds), int(number or 0)
