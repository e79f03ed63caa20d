"""The decision log: finding a record by a decision id, which carries its shard and time, so there is no index."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.core.decision.ids import DecisionId
from app.core.decision.record import UnreadableRecord, base_of_record
from app.errors import Problem
from app.store.keys import Keys

#: How long after a decision's time its record may have been appended: the largest budget, and a second for clocks.
LATE_MS_MAX = 3_000
#: Entries looked at in one go; a shard appends some forty a second at ten thousand decisions a second.
PAGE = 200
RECORD, ABORTED = b"r", b"aborted"


@contextmanager
def reading_the_store() -> Iterator[None]:
    """Any failure of the store is one problem to whoever looks something up; its text stays here."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise Problem("store_unavailable", f"the store failed (`{type(error).__name__}`)", retry_after_s=1) from error


class Logged(NamedTuple):
    """A record as it lies in the log. `aborted`: it was never answered, its contacts were released."""

    raw: bytes
    aborted: bool


class DecisionLog:
    """Reads the log. Off the hot path, over redis-py."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def find(self, decision: DecisionId) -> Logged | None:
        """None where the log no longer holds it, or never did. Raises UnreadableRecord where it is not found and a
        record of that moment cannot be read: it may be the one."""
        pointer = await self._pointer(decision)
        if pointer == ABORTED:
            raw = await self._scan(decision, decision.at_ms, decision.at_ms + LATE_MS_MAX)
            return None if raw is None else Logged(raw, True)
        if pointer is not None:  # exact, also where the record came late
            at = pointer.split(b" ", 1)[0]
            raw = await self._first(decision, at, at)
        else:
            raw = await self._scan(decision, decision.at_ms, decision.at_ms + LATE_MS_MAX)
        return None if raw is None else Logged(raw, False)

    async def is_aborted(self, decision: DecisionId) -> bool:
        """Whether the request of a `send` was taken back: its other decisions have no pointer of their own."""
        return await self._pointer(decision) == ABORTED

    async def _pointer(self, decision: DecisionId) -> bytes | None:
        """`<stream id> <customer>` of a decision that was sent, or `aborted`."""
        name = self._keys.decision(decision.shard, str(decision).encode())
        return cast("bytes | None", await self._client.get(name))

    async def _scan(self, decision: DecisionId, from_ms: int, until_ms: int) -> bytes | None:
        start, damaged = str(from_ms).encode(), None
        while True:
            entries = await self._range(decision, start, str(until_ms).encode())
            for _, fields in entries:
                raw = fields.get(RECORD)
                try:
                    if raw is not None and base_of_record(raw) == decision.base:
                        return raw
                except UnreadableRecord as error:  # the others of its moment can still be found
                    damaged = error
            if len(entries) < PAGE and damaged is not None:
                raise damaged
            if len(entries) < PAGE:
                return None
            start = b"(" + entries[-1][0]

    async def _first(self, decision: DecisionId, start: bytes, end: bytes) -> bytes | None:
        for _, fields in await self._range(decision, start, end):
            return fields.get(RECORD)
        return None

    async def _range(self, decision: DecisionId, start: bytes, end: bytes) -> list[tuple[bytes, dict[bytes, bytes]]]:
        stream = self._keys.decisions(decision.shard)
        return cast("list[tuple[bytes, dict[bytes, bytes]]]", await self._client.xrange(stream, start, end, PAGE))
