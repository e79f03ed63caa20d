"""The whole decision log, over all shards, newest first: for copying it into a file.

Each shard's stream is read backwards in pages; shards whose pages run low are read together, in one pipeline. At any
time there are at most two pages of each shard in memory.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import NamedTuple, TypeAlias, TypeVar, cast

from redis.asyncio import Redis

from app.store.decision_log import ABORTED, RECORD, reading_the_store
from app.store.keys import CTL_SHARDS, Keys

#: Entries of all shards that one round of pages may bring: some 16 MB.
ENTRIES_A_ROUND = 16_384
PAGE_MIN, PAGE_MAX = 4, 1_000
#: Shards whose pages go into one pipeline.
PIPELINE = 64

Fields: TypeAlias = dict[bytes, bytes]
Thing = TypeVar("Thing")


class LogEntry(NamedTuple):
    """A record, or the base id of a request that was taken back; the other is None."""

    at_ms: int  # when the store appended it
    record: bytes | None
    aborted: bytes | None


class WholeLog:
    """Reads the log of one deployment, as it was at one moment."""

    def __init__(self, client: Redis, shards: int) -> None:
        self._client = client
        self._keys = Keys(shards)
        self._page = max(PAGE_MIN, min(PAGE_MAX, ENTRIES_A_ROUND // shards))

    async def records_at_most(self) -> int:
        """How many entries the log holds. Raises `Problem` where the store fails, as do all of these."""
        with reading_the_store():
            lengths = [length async for length in self._lengths()]
        return sum(lengths)

    async def _lengths(self) -> AsyncIterator[int]:
        for shards in _groups(range(self._keys.shards)):
            pipeline = self._client.pipeline(transaction=False)
            for shard in shards:
                pipeline.xlen(self._keys.decisions(shard))
            for length in await pipeline.execute():
                yield length

    async def now_ms(self) -> int:
        """The store's clock."""
        with reading_the_store():
            seconds, microseconds = await self._client.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def entries(self, since_ms: int, until_ms: int) -> AsyncIterator[LogEntry]:
        """Entries that were appended in [`since_ms`, `until_ms`], the newest first; ties by shard."""
        shards = [_Shard(number, str(until_ms).encode()) for number in range(self._keys.shards)]
        await self._refill(shards, since_ms)
        heads = [shard.head for shard in shards if shard.pages]
        heapq.heapify(heads)
        while heads:
            *_, number = heads[0]
            shard = shards[number]
            at, fields = shard.pages.popleft()
            if not shard.pages and not shard.ended:
                await self._refill(shards, since_ms)
            if shard.pages:
                heapq.heapreplace(heads, shard.head)
            else:
                heapq.heappop(heads)
            yield LogEntry(_numbers(at)[0], fields.get(RECORD), fields.get(ABORTED))

    async def _refill(self, shards: Iterable[_Shard], since_ms: int) -> None:
        """The next page of every shard that has less than half of one left."""
        low = [shard for shard in shards if not shard.ended and len(shard.pages) <= self._page // 2]
        for group in _groups(low):
            pipeline = self._client.pipeline(transaction=False)
            for shard in group:
                pipeline.xrevrange(self._keys.decisions(shard.number), shard.below, str(since_ms), self._page)
            with reading_the_store():
                pages = cast("list[list[tuple[bytes, Fields]]]", await pipeline.execute())
            for shard, page in zip(group, pages, strict=True):
                shard.take(page, self._page)


class _Shard:
    """What was read of one shard and not yet given out."""

    __slots__ = ("below", "ended", "number", "pages")

    def __init__(self, number: int, below: bytes) -> None:
        self.number = number
        self.below = below  # where the next page begins
        self.ended = False
        self.pages: deque[tuple[bytes, Fields]] = deque()

    @property
    def head(self) -> tuple[int, int, int]:
        """Sorts the newest first."""
        milliseconds, sequence = _numbers(self.pages[0][0])
        return -milliseconds, -sequence, self.number

    def take(self, page: list[tuple[bytes, Fields]], full: int) -> None:
        self.pages.extend(page)
        self.ended = len(page) < full
        if page:
            self.below = b"(" + page[-1][0]


async def shards_of(client: Redis) -> int | None:
    """How many shards the deployment has; None where the store was never used by one."""
    with reading_the_store():
        stored = await client.get(CTL_SHARDS)
    return None if stored is None else int(stored)


def _groups(things: Iterable[Thing]) -> list[list[Thing]]:
    listed = list(things)
    return [listed[at : at + PIPELINE] for at in range(0, len(listed), PIPELINE)]


def _numbers(stream_id: bytes) -> tuple[int, int]:
    milliseconds, _, sequence = stream_id.partition(b"-")
    return int(milliseconds), int(sequence)
