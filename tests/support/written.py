"""All that a deployment wrote, as bytes to search: what its store holds, and what lies in its archive."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

#: A redis-py client. Its own types allow for answers in text, which it was not asked for.
Inside = Any


def in_store(store: Inside) -> dict[str, bytes]:
    """Every key with its name and all that it holds. Deflated values are looked into."""
    names = store.scan_iter(count=1000)
    return {name.decode(): b"\n".join([name, *map(_inflated, _parts(store, name))]) for name in names}


def _parts(store: Inside, name: bytes) -> Iterator[bytes]:
    kind = store.type(name)
    if kind == b"string":
        yield store.get(name) or b""
    elif kind == b"hash":
        for pair in store.hgetall(name).items():
            yield from pair
    elif kind == b"zset":
        yield from store.zrange(name, 0, -1)
    elif kind == b"set":
        yield from store.smembers(name)
    elif kind == b"list":
        yield from store.lrange(name, 0, -1)
    elif kind == b"stream":
        for _, fields in store.xrange(name):
            for pair in fields.items():
                yield from pair


def _inflated(raw: bytes) -> bytes:
    for start in (0, 1):
        try:
            return raw + zlib.decompress(raw[start:])
        except zlib.error:
            continue
    return raw


def in_archive(folder: Path) -> dict[str, bytes]:
    """Every file by its name: what the Parquet files say, cell by cell, and what others hold."""
    return {
        str(path.relative_to(folder)): str(path.relative_to(folder)).encode() + b"\n" + _content(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _content(path: Path) -> bytes:
    if path.suffix != ".parquet":
        return path.read_bytes()
    table = pq.read_table(path)
    cells = (cell for column in table.to_pydict().values() for cell in column)
    told = b"\n".join(cell if isinstance(cell, bytes) else str(cell).encode() for cell in cells)
    return told + repr(table.schema).encode() + repr(table.schema.metadata).encode()
