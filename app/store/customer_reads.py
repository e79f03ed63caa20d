"""What is stored of one customer, for people: the profile by name, and the history of consent."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from redis.asyncio import Redis

from app.core.features.live import LiveFeatures
from app.core.features.plan import State
from app.core.features.watermarks import Watermarks
from app.store.customer_trouble import MovedTo, erased, follow, merged_into, store_errors, unknown_customer
from app.store.described import Profile, describe_profile
from app.store.fields import FieldRegistry
from app.store.history import Change, changes_of
from app.store.keys import CTL_WATERMARKS, Keys
from app.store.profile import ERASURE, MERGE, UPDATED, UnknownField, is_tombstone, merge_of
from app.store.watermark_reads import WatermarkReads


class Known(NamedTuple):
    """All that is stored of a customer."""

    customer: str  # who was asked for, or, of one who was merged into another, the other
    profile: Profile
    contacts: int  # that the ledger holds
    now_ms: int  # the store's clock
    features: KnownFeatures | None = None  # None: they were not asked for


class KnownFeatures(NamedTuple):
    """What is stored of a customer's features, and until when its events are complete. `state` None: it cannot be
    read."""

    live: LiveFeatures
    state: State | None
    shard: int
    watermarks: Watermarks


class CustomerReader:
    """Reads customers, off the hot path. Every method raises Problem: `store_unavailable`, `unknown_customer`,
    `erased`."""

    def __init__(self, client: Redis, keys: Keys, fields: FieldRegistry, live: LiveFeatures | None = None) -> None:
        """`live`: features that are read too."""
        self._live = live
        self._client = client
        self._keys = keys
        self._fields = fields

    async def read(self, customer: str) -> Known:
        """All that is stored of a customer."""
        return await follow(customer, self._read_once)

    async def history(self, customer: str) -> list[Change]:
        """What changed about a customer, the newest first; where several became one, what changed of all of them."""
        with store_errors():
            names = await self._all_who_became_one(customer)
            if is_tombstone(await cast("Any", self._client.hget(self._keys.profile(names[-1]), ERASURE))):
                raise erased()
            entries = [(name, entry) for name in names for entry in await self._entries(name)]
            if not entries and not await self._client.hexists(self._keys.profile(names[-1]), UPDATED):
                raise unknown_customer()
            try:
                changes = self._changes(entries)
            except UnknownField:  # another process has allocated ids since
                await self._fields.refresh()
                changes = self._changes(entries)
        # The list is in the order of recording; within an instant the later entry is the newer one.
        return sorted(changes, key=lambda change: change.recorded_ms)[::-1]

    async def _all_who_became_one(self, customer: str) -> list[str]:
        """Last the one that all the others became."""
        winner = await merged_into(self._client, self._keys.profile(customer)) or customer
        pointing = await cast("Any", self._client.smembers(self._keys.aliases(winner)))
        names = {name for key in pointing if (name := self._keys.customer_of_history(key)) is not None}
        return [*sorted(({customer} | names) - {winner}), winner]

    async def _entries(self, customer: str) -> list[bytes]:
        return cast("list[bytes]", await self._client.lrange(self._keys.history(customer), 0, -1))

    def _changes(self, entries: list[tuple[str, bytes]]) -> list[Change]:
        return [change for name, entry in entries for change in changes_of(name, entry, self._fields)]

    async def _read_once(self, customer: str) -> Known | MovedTo:
        names = self._keys.of(customer)
        pipeline = self._client.pipeline(transaction=False)
        pipeline.time()
        pipeline.hgetall(names.profile)
        pipeline.zcard(names.ledger)
        marks = WatermarkReads(() if self._live is None else self._live.all_event_types, (names.shard,))
        if self._live is not None:
            pipeline.hmget(names.features, [group.key for group in self._live.groups])
            pipeline.hmget(CTL_WATERMARKS, marks.fields)
        (seconds, micros), stored, contacts, *more = await pipeline.execute()
        became = merge_of(stored.get(MERGE))[1]
        if became is not None:
            return MovedTo(became)
        if is_tombstone(stored.get(ERASURE)):
            raise erased()
        features = None
        if self._live is not None:
            features = KnownFeatures(self._live, self._live.state(more[0]), names.shard, marks.watermarks(more[1]))
        if UPDATED not in stored and not (more and any(more[0])):  # some are known only by what they did
            raise unknown_customer()
        try:
            profile = describe_profile(stored, self._fields)
        except UnknownField:  # another process has allocated ids since
            await self._fields.refresh()
            profile = describe_profile(stored, self._fields)
        return Known(customer, profile, contacts, seconds * 1000 + micros // 1000, features)
