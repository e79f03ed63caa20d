"""Dead letters: events that could not be taken, masked, until they are judged again or newer ones push them out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple, TypeAlias, cast

from redis.asyncio import Redis

from app.core.events.entry import decode_letter, encode
from app.core.events.event import Collected, Letter
from app.store.decision_log import reading_the_store
from app.store.events import FIELD
from app.store.keys import Keys
from app.store.servers import together

PAGE = 200
Entries: TypeAlias = list[tuple[bytes, dict[bytes, bytes]]]


class LetterId(NamedTuple):
    """Where a letter lies. Written `017-1767225600123-0`."""

    shard: int
    entry: str

    def __str__(self) -> str:
        return f"{self.shard:03d}-{self.entry}"


def parse_letter_id(text: str) -> LetterId | None:
    """None of what is no letter's id."""
    shard, _, entry = text.partition("-")
    numbers = entry.split("-")
    if not shard.isdecimal() or len(numbers) != 2 or not all(each.isdecimal() for each in numbers):
        return None
    return LetterId(int(shard), entry)


class DeadLetters:
    """The letters of a deployment. Its methods raise Problem `store_unavailable`."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def all(self) -> AsyncIterator[tuple[LetterId, Letter]]:
        """Every letter, shard by shard, the newest first in each."""
        for shard in range(self._keys.shards):
            end = "+"
            while entries := await self._page(shard, end):
                for entry, fields in entries:
                    yield LetterId(shard, entry.decode()), decode_letter(fields[FIELD])
                end = f"({entries[-1][0].decode()}"

    async def find(self, letter: LetterId) -> Letter | None:
        """None where it is gone, or was never there."""
        if letter.shard >= self._keys.shards:
            return None
        with reading_the_store():
            name = self._keys.dead_letters(letter.shard)
            found = cast(Entries, await self._client.xrange(name, letter.entry, letter.entry))
        return decode_letter(found[0][1][FIELD]) if found else None

    async def redrive(self, letter: LetterId, event: Collected) -> bool:
        """Collect the event that a letter became, and remove the letter, in one step. False where somebody else was
        faster: then the event is in the stream twice, and counts once."""
        with reading_the_store():
            _, removed = await together(
                self._client,
                ("XADD", self._keys.events(letter.shard), "*", FIELD, encode(event)),
                ("XDEL", self._keys.dead_letters(letter.shard), letter.entry),
            )
        return bool(removed)

    async def _page(self, shard: int, end: str) -> Entries:
        with reading_the_store():
            name = self._keys.dead_letters(shard)
            return cast(Entries, await self._client.xrevrange(name, end, "-", PAGE))
