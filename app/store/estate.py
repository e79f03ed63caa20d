"""The whole store, read for an audit: customers, identities, streams. Only reads, page by page, at a bounded rate.

`SCAN` gives keys in the order of a hash that knows nothing of what customers are, so that the first so many are a
sample as good as one that was drawn.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, NamedTuple, cast

from redis.asyncio import Redis

from app.store import keys as key_names
from app.store.decision_log import reading_the_store
from app.store.described import Profile, describe_profile
from app.store.fields import FieldRegistry
from app.store.keys import CTL_WATERMARKS, Keys
from app.store.profile import MERGE, UPDATED, UnknownField, merge_of
from app.store.servers import scanned

#: Keys that one SCAN looks at, and profiles of one pipeline: each keeps the store for a millisecond or two.
LOOKED_AT, READ_TOGETHER = 500, 100
SHARDS_TOGETHER = 64


class Seen(NamedTuple):
    """A customer. `profile` None: it cannot be read."""

    customer: str
    profile: Profile | None


class Claimed(NamedTuple):
    """An identity, and the customers that it was told together with; one who became another is that other."""

    kind: str
    customers: frozenset[str]


class Streams(NamedTuple):
    """`applied_ms`: until when each shard's events are worked off (Unix ms); None of one that never was. `types_ms`:
    until when events of a type came."""

    applied_ms: tuple[int | None, ...]
    types_ms: Mapping[str, int]
    collected: int  # events in the streams
    letters: int  # events that could not be taken
    now_ms: int  # the store's clock


class Estate:
    """Reads one deployment's store. Every method raises Problem where the store fails. `per_s`: customers a second."""

    def __init__(self, client: Redis, shards: int, per_s: int) -> None:
        self._client = client
        self._keys = Keys(shards)
        self._fields = FieldRegistry(client)
        self._per_s = per_s

    async def customers(self, at_most: int | None) -> AsyncIterator[Seen]:
        """Customers, without those who became others."""
        with reading_the_store():
            await self._fields.refresh()
        left = at_most
        async for page in self._pages(key_names.PROFILES):
            for at in range(0, len(page), READ_TOGETHER):
                part = page[at : at + READ_TOGETHER]
                for seen in await self._paced(part):
                    if left is not None and left <= 0:
                        return
                    yield seen
                    left = None if left is None else left - 1

    async def identities(self, at_most: int | None) -> AsyncIterator[Claimed]:
        """Identities that events told, with who claims them."""
        count = 0
        async for page in self._pages(key_names.CLAIMS):
            with reading_the_store():
                pipeline = self._client.pipeline(transaction=False)
                for key in page:
                    pipeline.hkeys(key)
                held = await pipeline.execute()
            for key, names in zip(page, held, strict=True):
                if at_most is not None and count >= at_most:
                    return
                count += 1
                identity = key_names.identity_of(key)
                customers = [name.decode() for name in names if len(name) > 1 or name.isalnum()]
                if identity is not None:
                    # Looked up only where it matters, which is rare.
                    now = await self._became(customers) if len(customers) > 1 else customers
                    yield Claimed(identity[0], frozenset(now))

    async def streams(self) -> Streams:
        """How far the events of each shard are."""
        with reading_the_store():
            seconds, micros = await self._client.time()
            marks = cast("dict[bytes, bytes]", await cast("Any", self._client.hgetall(CTL_WATERMARKS)))
            events = await self._lengths(self._keys.events)
            letters = await self._lengths(self._keys.dead_letters)
        applied = [marks.get(b"s:%d" % shard) for shard in range(self._keys.shards)]
        types = {name[2:].decode(): int(ms) for name, ms in marks.items() if name.startswith(b"e:")}
        now_ms = int(seconds) * 1000 + int(micros) // 1000
        return Streams(tuple(None if ms is None else int(ms) for ms in applied), types, events, letters, now_ms)

    async def _pages(self, pattern: bytes) -> AsyncIterator[list[bytes]]:
        with reading_the_store():
            async for page in scanned(self._client, pattern, LOOKED_AT):
                if page:
                    yield page

    async def _paced(self, keys: list[bytes]) -> list[Seen]:
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        with reading_the_store():
            pipeline = self._client.pipeline(transaction=False)
            for key in keys:
                pipeline.hgetall(key)
            stored = await pipeline.execute()
            try:
                found = [self._seen(key, each) for key, each in zip(keys, stored, strict=True)]
            except UnknownField:  # another process has allocated ids since
                await self._fields.refresh()
                found = [self._seen(key, each, readable=False) for key, each in zip(keys, stored, strict=True)]
        await asyncio.sleep(max(0.0, len(keys) / self._per_s - (loop.time() - begun_s)))
        return [seen for seen in found if seen is not None]

    def _seen(self, key: bytes, stored: dict[bytes, bytes], *, readable: bool = True) -> Seen | None:
        """None of one who became another, and of mere traces of contacts. Raises UnknownField where `readable`."""
        customer = key_names.customer_of_profile(key)
        try:
            if UPDATED not in stored or merge_of(stored.get(MERGE))[1] is not None:
                return None
            return Seen(customer, describe_profile(stored, self._fields))
        except UnknownField:
            if readable:
                raise
            return Seen(customer, None)

    async def _became(self, customers: list[str]) -> list[str]:
        pipeline = self._client.pipeline(transaction=False)
        for customer in customers:
            pipeline.hget(self._keys.profile(customer), MERGE)
        with reading_the_store():
            marks = await pipeline.execute()
        return [
            mark[1:].decode() if mark is not None and mark[:1] == b">" else customer
            for customer, mark in zip(customers, marks, strict=True)
        ]

    async def _lengths(self, name: Callable[[int], bytes]) -> int:
        total = 0
        for start in range(0, self._keys.shards, SHARDS_TOGETHER):
            pipeline = self._client.pipeline(transaction=False)
            for shard in range(start, min(start + SHARDS_TOGETHER, self._keys.shards)):
                pipeline.xlen(name(shard))
            total += sum(await pipeline.execute())
        return total
