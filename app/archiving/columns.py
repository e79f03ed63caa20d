"""Events of the streams as rows of Parquet, and back. Nothing is lost on the way: a row holds all that the entry did.

| column | |
|---|---|
| `customer`, `shard`, `type`, `version`, `source` | as in the event; types that begin with `$` are the worker's own |
| `occurred_at`, `received_at`, `appended_at` | UTC, to the millisecond; the last is when it came into its stream |
| `message_id`, `once` | 64-bit hashes, by which repeats are told; `once` is null where it may happen again |
| `properties` | JSON |
| `edges`, `previous` | keyed hashes of identities, as `{kind, hash}`; null where there are none |
| `known`, `previous_customer` | whether a key or a user id told whose it is; of an alias: whom it may have meant |
| `position` | its id in the stream: with `shard` it names the row |
| `unreadable` | the bytes of an entry that could not be read; all else of such a row is null but where it lay |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from app.archiving.rows import TIME
from app.core.events.entry import decode
from app.core.events.event import Collected, Edge
from app.store.archive_positions import Entry, milliseconds

_EDGES = pa.list_(pa.struct([("kind", pa.string()), ("hash", pa.string())]))
SCHEMA = pa.schema(
    [
        ("customer", pa.string()),
        ("shard", pa.uint16()),
        ("type", pa.string()),
        ("version", pa.int32()),
        ("occurred_at", TIME),
        ("received_at", TIME),
        ("appended_at", TIME),
        ("message_id", pa.uint64()),
        ("once", pa.uint64()),
        ("source", pa.string()),
        ("properties", pa.string()),
        ("edges", _EDGES),
        ("previous", _EDGES),
        ("known", pa.bool_()),
        ("previous_customer", pa.string()),
        ("position", pa.string()),
        ("unreadable", pa.binary()),
    ]
)
#: Columns that a fold needs.
FOLDED = (
    "shard",
    "position",
    "appended_at",
    "received_at",
    "customer",
    "type",
    "occurred_at",
    "message_id",
    "once",
    "properties",
)
_CUSTOMER = FOLDED.index("customer")


def whose(entry: Entry) -> tuple[str, int] | None:
    """Whom an event is about, and when it was received; None: it cannot be read."""
    try:
        event = decode(entry.raw)
    except (ValueError, TypeError, LookupError):
        return None
    return event.customer, event.received_at_ms


def rows_of(shard: int, entry: Entry) -> list[tuple[Any, ...]]:
    """An event is one row, whatever it is."""
    return [_row(shard, entry)]


def _row(shard: int, entry: Entry) -> tuple[Any, ...]:
    appended, position = milliseconds(entry.id), entry.id.decode()
    try:
        event = decode(entry.raw)
        properties = orjson.dumps(event.properties)
        number = int.from_bytes(event.message_id, "big")
        once = int.from_bytes(event.once, "big") if event.once else None
        return (
            event.customer,
            shard,
            event.type,
            event.version,
            event.occurred_at_ms,
            event.received_at_ms,
            appended,
            number,
            once,
            event.source,
            properties,
            _edges(event.edges),
            _edges(event.previous),
            event.known,
            event.previous_customer or None,
            position,
            None,
        )
    except (ValueError, TypeError, LookupError):  # what no release wrote: the worker puts it aside, and it is kept here
        return (None, shard, *(None,) * 4, appended, *(None,) * 8, position, entry.raw)


def _edges(edges: tuple[Edge, ...]) -> list[dict[str, str]] | None:
    return [{"kind": edge.kind, "hash": edge.hash.hex()} for edge in edges] or None


class Passed(NamedTuple):
    """A row, as a fold sees it. `properties` are JSON still: most rows of many plans are not folded at all."""

    shard: int
    position: str
    appended_ms: int
    received_ms: int
    customer: str
    type: str
    occurred_at_ms: int
    message_id: int
    once: int | None
    properties: str


def passed(batch: pa.RecordBatch) -> Iterator[Passed]:
    """The readable rows of a batch with the columns `FOLDED`."""
    columns = []
    for name in FOLDED:
        column = batch.column(name)
        columns.append((column.cast(pa.int64()) if column.type == TIME else column).to_pylist())
    for row in zip(*columns, strict=True):
        if row[_CUSTOMER] is not None:
            yield Passed._make(row)


def collected(row: Mapping[str, Any]) -> Collected:
    """The event of a row with all columns, times as Unix ms; the inverse of what was written."""
    return Collected(
        row["customer"],
        row["type"],
        row["version"],
        row["occurred_at"],
        row["received_at"],
        row["message_id"].to_bytes(8, "big"),
        b"" if row["once"] is None else row["once"].to_bytes(8, "big"),
        orjson.loads(row["properties"]),
        _back(row["edges"]),
        _back(row["previous"]),
        row["source"],
        row["known"],
        row["previous_customer"] or "",
    )


def _back(edges: list[dict[str, Any]] | None) -> tuple[Edge, ...]:
    return tuple(Edge(edge["kind"], bytes.fromhex(edge["hash"])) for edge in edges or ())
