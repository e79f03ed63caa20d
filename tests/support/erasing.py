"""Whom a store still names, in whatever key, value or file."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from redis.asyncio import Redis


async def where_named(client: Redis, *words: str) -> set[str]:
    """The keys that hold one of these words, in their name or anywhere in their value."""
    wanted = [word.encode() for word in words]
    found = set()
    async for key in client.scan_iter(count=1000):
        whole = b"\n".join([key, *[part async for part in _parts(client, key)]])
        if any(word in whole for word in wanted):
            found.add(key.decode())
    return found


async def _parts(client: Redis, key: bytes) -> Any:
    kind = await client.type(key)
    held: Any  # redis-py says of no reply whether it is bytes
    match kind:
        case b"string":
            yield await client.get(key)
        case b"hash":
            held = await client.hgetall(key)
            for name, value in held.items():
                yield name + b"=" + value
        case b"set":
            for value in await client.smembers(key):
                yield value
        case b"zset":
            for value in await client.zrange(key, 0, -1):
                yield value
        case b"list":
            for value in await client.lrange(key, 0, -1):
                yield value
        case b"stream":
            held = await client.xrange(key)
            for _, fields in held:
                for name, value in fields.items():
                    yield name
                    yield _inflated(value)


def _inflated(value: bytes) -> bytes:
    """A long record of a decision is deflated."""
    return zlib.decompress(value[1:]) if value[:1] == b"\x00" else value


def files_naming(folder: Path, *words: str) -> list[Path]:
    """The files below a folder that hold one of these words."""
    return [path for path in _files(folder) if any(word.encode() in path.read_bytes() for word in words)]


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())
