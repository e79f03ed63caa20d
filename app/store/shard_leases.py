"""Who works which shard: leases with fencing tokens, and the workers that share them.

All times are the store's. A lease lives in its shard's slot, beside what it guards; the list of workers only tells how
many shares there are to make, so that a wrong look at it costs time and never exactness.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from app.store.keys import CTL_EVENTS_CONSUMED, CTL_WORKERS, Keys
from app.store.link import Link
from app.store.resp import pack
from app.store.round_trips import asked, ms_of
from app.store.scripts import Script
from app.store.seen_events import Generations, unpacked

LEASE_SHARD = Script.load("lease_shard.lua")
#: Held leases are renewed every second: two renewals may fail.
LEASE_MS = 3_000
#: A worker that gave no sign of life for so long has no share any more.
ALIVE_MS = 3_000


@dataclass(slots=True)
class Held:
    """A shard that this process works on, and how far that is."""

    shard: int
    token: int
    position: bytes  # the last entry that was applied
    generations: Generations
    archived: bytes = b""  # the last entry that is in the archive; empty: no archiver has ever run
    trimmed: bytes = b""  # up to where the stream was trimmed by this process
    applied_until_ms: int = 0  # everything received until then is applied


class ShardLeases:
    """The leases of one process. All of these raise StoreError and ReplyError."""

    def __init__(self, link: Link, keys: Keys, owner: str) -> None:
        self._link = link
        self._keys = keys
        self._owner = owner.encode()

    @property
    def shards(self) -> int:
        return self._keys.shards

    async def announce(self) -> None:
        """From now on somebody reads the streams: nothing in them is trimmed unread."""
        await asked(self._link, [pack("SET", CTL_EVENTS_CONSUMED, 1)])

    async def alive(self) -> list[bytes]:
        """Say that this worker lives; all that do, sorted."""
        (time,) = await asked(self._link, [pack("TIME")])
        now_ms = ms_of(time)
        *_, living = await asked(
            self._link,
            [
                pack("ZADD", CTL_WORKERS, now_ms, self._owner),
                pack("ZREMRANGEBYSCORE", CTL_WORKERS, "-inf", now_ms - 20 * ALIVE_MS),
                pack("EXPIRE", CTL_WORKERS, 3600),
                pack("ZRANGEBYSCORE", CTL_WORKERS, now_ms - ALIVE_MS, "+inf"),
            ],
        )
        return sorted(living)

    def quota(self, living: Sequence[bytes]) -> int:
        """How many shards are this worker's share; all shares together are all shards."""
        rank = living.index(self._owner) if self._owner in living else 0
        shards, workers = self._keys.shards, max(1, len(living))
        return shards // workers + (rank < shards % workers)

    async def free(self, among: Sequence[int]) -> list[int]:
        """Shards that nobody holds, in an order of this worker's own: others begin elsewhere."""
        questions = [pack("HMGET", self._keys.worker(shard), "until", "owner") for shard in among]
        time, *held = await asked(self._link, [pack("TIME"), *questions])
        now_ms = ms_of(time)
        found = [
            shard
            for shard, (until, owner) in zip(among, held, strict=True)
            if until is None or int(until) <= now_ms or owner == self._owner
        ]
        return sorted(found, key=lambda shard: blake2b(b"%b %d" % (self._owner, shard), digest_size=8).digest())

    async def take(self, shards: Sequence[int]) -> list[Held]:
        """Take them; those that nobody else took first."""
        replies = await self._lease([(shard, 0) for shard in shards], LEASE_MS)
        return [
            Held(shard, int(reply[0]), reply[1], unpacked(reply[2]), reply[3])
            for shard, reply in zip(shards, replies, strict=True)
            if reply is not None
        ]

    async def renew(self, held: Sequence[Held]) -> list[Held]:
        """Hold them for longer; those that somebody else took meanwhile."""
        replies = await self._lease([(each.shard, each.token) for each in held], LEASE_MS)
        lost = []
        for each, reply in zip(held, replies, strict=True):
            if reply is None:
                lost.append(each)
            else:
                each.archived = reply[3]
        return lost

    async def give_back(self, held: Sequence[Held]) -> None:
        """Others may take them at once."""
        await self._lease([(each.shard, each.token) for each in held], 0)

    async def leave(self) -> None:
        """This worker has no share any more."""
        await asked(self._link, [pack("ZREM", CTL_WORKERS, self._owner)])

    async def _lease(self, wanted: Sequence[tuple[int, int]], for_ms: int) -> list[Any]:
        return await asked(
            self._link,
            [
                pack("EVALSHA", LEASE_SHARD.sha, 1, self._keys.worker(shard), self._owner, token, for_ms)
                for shard, token in wanted
            ],
        )
