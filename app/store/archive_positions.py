"""How far the archive of one stream is: reading it from there in all shards, and a lease on each group of shards with
what is known of it.

A group is taken (`take`), worked on, and given back. Its token fences: who lost it writes nothing more. What is known
of it is one value and moves in one step; only after that are the streams' workers told that they may trim
(`acknowledge`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple, cast

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from app.core.events.entry import encode
from app.core.events.event import Collected
from app.store.archive_known import START, Known
from app.store.archive_sources import EVENTS, SOURCES, Source
from app.store.events import FIELD
from app.store.keys import CTL_ARCHIVE, Keys, archive_group
from app.store.scripts import Call, Script

TAKE = Script.load("archive_take.lua")
KEEP = Script.load("archive_keep.lua")
#: A batch, its files and their way to the disk; whoever is killed is replaced after it.
LEASE_MS = 10_000
#: An archiver has a group for some milliseconds at a time.
AGAIN_S = 0.05
#: Entries of one shard that one question asks for.
PAGE = 2_000
#: In the hash of a shard's worker: up to which event it may trim.
ARCHIVED = EVENTS.archived
POSITION = b"position"


class Entry(NamedTuple):
    """An entry of a stream as it lies there."""

    id: bytes
    raw: bytes  # of an event, all that it is
    fields: Mapping[bytes, bytes] = MappingProxyType({})  # of other streams' entries


class LostGroup(Exception):
    """Somebody else took the group: what was begun is theirs to finish."""


class Taken:
    """A group that is held."""

    def __init__(self, store: ArchivePositions, group: int, token: int, known: Known) -> None:
        self.group = group
        self.known = known
        self._store = store
        self._token = token

    async def keep(self, known: Known | None = None) -> None:
        """Hold it for longer, with what is known of it now. Raises LostGroup."""
        await self._write(LEASE_MS, b"" if known is None else known.packed())
        if known is not None:
            self.known = known

    async def give_back(self) -> None:
        """Others may take it at once."""
        await self._write(0, b"")

    async def _write(self, lease_ms: int, state: bytes) -> None:
        call = Call((self._store.key(self.group),), (b"%d" % self._token, b"%d" % lease_ms, state))
        if not (await KEEP.run(self._store.client, [call])).replies[0]:
            raise LostGroup


class ArchivePositions:
    """Of one stream of each shard. All of these raise redis errors."""

    def __init__(self, client: Redis, keys: Keys, source: Source = EVENTS) -> None:
        self.client = client
        self.keys = keys
        self.source = source

    def of(self, source: Source) -> ArchivePositions:
        """The same of another stream."""
        return ArchivePositions(self.client, self.keys, source)

    def key(self, group: int) -> bytes:
        """Where what is known of a group lies."""
        return archive_group(group, self.source.name)

    def _stream(self, shard: int) -> bytes:
        return self.source.stream(self.keys, shard)

    async def take(self, group: int, owner: str) -> Taken | None:
        """Take a group; None while somebody else has it."""
        call = Call((self.key(group),), (owner.encode(), b"%d" % LEASE_MS))
        (taken,) = (await TAKE.run(self.client, [call])).replies
        return None if taken is None else Taken(self, group, int(taken[0]), Known.unpacked(taken[1]))

    async def take_within(self, group: int, owner: str, patience_s: float) -> Taken | None:
        """Take a group as soon as an archiver has done with it; None: it has not within that time."""
        for _ in range(round(patience_s / AGAIN_S) + 1):
            taken = await self.take(group, owner)
            if taken is not None:
                return taken
            await asyncio.sleep(AGAIN_S)
        return None

    async def known(self, group: int) -> Known:
        """What is known of a group, without taking it."""
        return Known.unpacked(cast("bytes", await self.client.hget(self.key(group), "state") or b""))

    async def now_ms(self) -> int:
        """The store's clock."""
        seconds, microseconds = await self.client.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def read(
        self, after: Mapping[int, bytes], up_to: Mapping[int, bytes] | None, at_most: int
    ) -> dict[int, list[Entry]]:
        """The entries of shards after a position each, in the order of their ids: up to a position each where that is
        given, else about `at_most` of all."""
        found: dict[int, list[Entry]] = {shard: [] for shard in after}
        left = dict(after)
        while left and (up_to is not None or sum(map(len, found.values())) < at_most):
            pipeline = self.client.pipeline(transaction=False)
            for shard, position in left.items():
                end = b"+" if up_to is None else up_to.get(shard, START)
                pipeline.xrange(self._stream(shard), b"(" + position, end, PAGE)
            pages = await pipeline.execute()
            for shard, page in zip(list(left), pages, strict=True):
                found[shard] += [self._entry(entry, fields) for entry, fields in page]
                if len(page) < PAGE:
                    del left[shard]
                else:
                    left[shard] = page[-1][0]
        return found

    def _entry(self, entry: bytes, fields: Mapping[bytes, bytes]) -> Entry:
        if self.source is EVENTS:
            return Entry(entry, fields.get(FIELD, b""))
        return Entry(entry, b"", fields)

    async def ends(self, shards: Iterable[int]) -> dict[int, bytes]:
        """The newest entry of each shard's stream."""
        pipeline = self.client.pipeline(transaction=False)
        wanted = list(shards)
        for shard in wanted:
            pipeline.xrevrange(self._stream(shard), count=1)
        return {
            shard: found[0][0] if found else START
            for shard, found in zip(wanted, await pipeline.execute(), strict=True)
        }

    async def announce(self, shards: Iterable[int]) -> None:
        """From now on the shards' workers trim nothing that is not archived."""
        pipeline = self.client.pipeline(transaction=False)
        for shard in shards:
            pipeline.hsetnx(self.keys.worker(shard), self.source.archived, START)
        await pipeline.execute()

    async def append(self, events: Iterable[Collected]) -> dict[int, bytes]:
        """Append events to their shards' streams; the last entry of each."""
        pipeline = self.client.pipeline(transaction=False)
        shards = []
        for event in events:
            shards.append(self.keys.shard_of(event.customer))
            pipeline.xadd(self.keys.events(shards[-1]), {FIELD: encode(event)})
        return dict(zip(shards, await pipeline.execute(), strict=True))

    async def forget(self, groups: int) -> None:
        """No shard's worker waits for the archive any more. One that is begun again holds what the streams hold then.
        Raises TimeoutError while an archiver runs."""
        pipeline = self.client.pipeline(transaction=False)
        for shard in range(self.keys.shards):
            pipeline.hdel(self.keys.worker(shard), *(source.archived for source in SOURCES))
        pipeline.delete(CTL_ARCHIVE)
        await pipeline.execute()
        for source in SOURCES:
            for group in range(groups):
                await self.of(source)._forget(group)

    async def _forget(self, group: int) -> None:
        taken = await self.take_within(group, "forget", LEASE_MS / 1000)
        if taken is None:
            raise TimeoutError("an archiver runs: stop it before it is forgotten")
        await taken.keep(Known(taken.known.batches))
        await taken.give_back()

    async def acknowledge(self, positions: Mapping[int, bytes]) -> None:
        """The shards' workers may trim up to here."""
        pipeline = self.client.pipeline(transaction=False)
        for shard, position in positions.items():
            pipeline.hset(self.keys.worker(shard), self.source.archived, position)
        await pipeline.execute()

    async def whole_from_ms(self, shards: Iterable[int], now_ms: int) -> int:
        """Since when nothing was taken away from any of these streams; 0: nothing ever was."""
        pipeline = self.client.pipeline(transaction=False)
        wanted = list(shards)
        for shard in wanted:
            pipeline.xinfo_stream(self._stream(shard))
        since = 0
        for info in await pipeline.execute(raise_on_error=False):
            if isinstance(info, ResponseError):
                continue  # there is no such stream: nothing ever came
            if isinstance(info, Exception):
                raise info
            if info["entries-added"] != info["length"]:
                first = info["first-entry"]
                since = max(since, milliseconds(first[0]) if first else now_ms)
        return since

    async def archive(self, new: str | None = None) -> str | None:
        """Which archive is this store's; `new`, where it has none yet."""
        if new is not None:
            await self.client.set(CTL_ARCHIVE, new, nx=True)
        stored = cast("bytes | None", await self.client.get(CTL_ARCHIVE))
        return None if stored is None else stored.decode()

    async def anything_archived(self, groups: int) -> bool:
        return any([(await self.of(source).known(group)).positions for source in SOURCES for group in range(groups)])

    async def with_erasures(self, shards: Iterable[int]) -> list[int]:
        """Those of these shards of which a customer was ever erased."""
        pipeline = self.client.pipeline(transaction=False)
        wanted = list(shards)
        for shard in wanted:
            pipeline.hget(self.keys.worker(shard), "erasures")
        return [shard for shard, number in zip(wanted, await pipeline.execute(), strict=True) if number]

    async def applied(self, shards: Iterable[int]) -> dict[int, bytes]:
        """How far the shards' workers are."""
        pipeline = self.client.pipeline(transaction=False)
        wanted = list(shards)
        for shard in wanted:
            pipeline.hget(self.keys.worker(shard), POSITION)
        found = cast("list[bytes | None]", await pipeline.execute())
        return {shard: position or START for shard, position in zip(wanted, found, strict=True)}


def milliseconds(entry: bytes) -> int:
    """When an entry was appended (Unix ms, the store's clock)."""
    return int(entry.partition(b"-")[0])


def order(entry: bytes | str) -> tuple[int, int]:
    """Ids of one stream sort by this."""
    text = entry.decode() if isinstance(entry, bytes) else entry
    at, _, number = text.partition("-")
    return int(at), int(number)
