"""Rows of one file in the making, and which hour's file a row of a stream's entry goes into."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import pyarrow as pa

from app.archiving.layout import hour_of
from app.store.archive_positions import Entry, milliseconds

#: Rows are put into Arrow's form in pieces of so many: as Python objects they take ten times the memory.
PIECE = 8_192
TIME = pa.timestamp("ms", tz="UTC")
#: The rows of an entry of a shard: tuples in the order of the schema's columns.
RowsOf: TypeAlias = Callable[[int, Entry], list[tuple[Any, ...]]]


class Rows:
    """Rows of one file in the making."""

    __slots__ = ("_pieces", "_rows", "_schema", "_waiting")

    def __init__(self, schema: pa.Schema, rows: RowsOf) -> None:
        self._schema = schema
        self._rows = rows
        self._pieces: list[pa.RecordBatch] = []
        self._waiting: list[tuple[Any, ...]] = []

    def add(self, shard: int, entry: Entry) -> None:
        self._waiting += self._rows(shard, entry)
        if len(self._waiting) >= PIECE:
            self._put()

    def table(self) -> pa.Table:
        self._put()
        return pa.Table.from_batches(self._pieces, self._schema)

    def _put(self) -> None:
        if self._waiting:
            columns = zip(*self._waiting, strict=True)
            arrays = [pa.array(column, kind.type) for column, kind in zip(columns, self._schema, strict=True)]
            self._pieces.append(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
            self._waiting = []


def by_hour(read: Mapping[int, list[Entry]], schema: pa.Schema, rows: RowsOf) -> dict[int, Rows]:
    """Rows of what was read of shards, by the hour in which they were appended; shard after shard."""
    hours: dict[int, Rows] = {}
    for shard, entries in sorted(read.items()):
        for entry in entries:
            hours.setdefault(hour_of(milliseconds(entry.id)), Rows(schema, rows)).add(shard, entry)
    return hours
