"""A stream read from its beginning to where it ended when the reading began."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeAlias, cast

from redis.asyncio import Redis

#: Entries looked at in one go: a server that reads a whole stream decides meanwhile.
PAGE = 100

Entry: TypeAlias = tuple[bytes, dict[bytes, bytes]]


async def pages(client: Redis, stream: bytes) -> AsyncIterator[list[Entry]]:
    """Entries in pages, the oldest first. Raises redis errors."""
    newest = cast("list[Entry]", await client.xrevrange(stream, count=1))
    end = newest[0][0] if newest else b"0-1"
    start = b"-"
    while entries := cast("list[Entry]", await client.xrange(stream, start, end, PAGE)):
        yield entries
        start = b"(" + entries[-1][0]
