"""Entries of the outcome streams as rows of Parquet: what happened to what was sent, and what each decision earned.

| column | |
|---|---|
| `customer`, `shard`, `decision_id` | whose it is; null for `decision_id` where it was matched with none |
| `type`, `occurred_at` | as told; `rewarded` where a decision's window closed, at that time |
| `value` | of a conversion, negative for a refund; of `rewarded` the reward, null where the message was not seen |
| `machine`, `provider`, `smtp_code` | whether no person did it; who told it; what the mailbox said |
| `stage` | where the contact stood after it |
| `placement`, `reward_of`, `unexposed` | of `rewarded`: by which rule; why it earned nothing either way |
| `clicked`, `converted`, `revenue`, `unsubscribed`, `complained` | of `rewarded`: what it was made of |
| `told_at` | when the decision was made, else `occurred_at`: what an erasure goes by |
| `appended_at`, `position` | when and where it came into its stream |
| `unreadable` | JSON of an entry that no release wrote |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import ormsgpack
import pyarrow as pa

from app.archiving.rows import TIME
from app.core import outcome_stream
from app.store.archive_positions import Entry, milliseconds

SCHEMA = pa.schema(
    [
        ("customer", pa.string()),
        ("shard", pa.uint16()),
        ("decision_id", pa.string()),
        ("type", pa.string()),
        ("occurred_at", TIME),
        ("value", pa.float64()),
        ("machine", pa.bool_()),
        ("provider", pa.string()),
        ("smtp_code", pa.string()),
        ("stage", pa.string()),
        ("placement", pa.string()),
        ("reward_of", pa.string()),
        ("unexposed", pa.string()),
        ("clicked", pa.bool_()),
        ("converted", pa.bool_()),
        ("revenue", pa.float64()),
        ("unsubscribed", pa.bool_()),
        ("complained", pa.bool_()),
        ("told_at", TIME),
        ("appended_at", TIME),
        ("position", pa.string()),
        ("unreadable", pa.string()),
    ]
)
_EMPTY: dict[str, Any] = dict.fromkeys(SCHEMA.names)
_UNREADABLE = (ValueError, TypeError, LookupError)
#: Of `rewarded`: what `x` may hold.
DETAILS = ("placement", "reward_of", "unexposed", "clicked", "converted", "revenue", "unsubscribed", "complained")


def whose(entry: Entry) -> tuple[str, int] | None:
    """Whom an outcome is about, and when what it is about was decided; None: it cannot be read."""
    return outcome_stream.whose(entry.fields)


def rows_of(shard: int, entry: Entry) -> list[tuple[Any, ...]]:
    """An outcome is one row, whatever it is."""
    row = {"shard": shard, "appended_at": milliseconds(entry.id), "position": entry.id.decode()}
    try:
        row |= _row(entry.fields)
    except _UNREADABLE:
        about = whose(entry)
        row |= {} if about is None else {"customer": about[0], "told_at": about[1]}
        fields = {name.decode(errors="replace"): each.decode(errors="replace") for name, each in entry.fields.items()}
        row |= {"unreadable": orjson.dumps(fields)}
    return [tuple((_EMPTY | row).values())]


def _row(fields: Mapping[bytes, bytes]) -> dict[str, Any]:
    value, about = fields.get(b"v"), outcome_stream.whose(fields)
    if about is None:
        raise ValueError("nobody knows whose it is")
    details = ormsgpack.unpackb(fields[b"x"]) if b"x" in fields else {}
    return {
        "customer": about[0],
        "decision_id": _text(fields, b"d"),
        "type": fields[b"t"].decode(),
        "occurred_at": int(fields[b"a"]),
        "value": float(value) if value else None,
        "machine": fields.get(b"m") == b"1",
        "provider": _text(fields, b"p"),
        "smtp_code": _text(fields, b"r"),
        "stage": _text(fields, b"s"),
        "told_at": about[1],
        **{name: details[name] for name in DETAILS if name in details},
    }


def _text(fields: Mapping[bytes, bytes], name: bytes) -> str | None:
    return fields[name].decode() if fields.get(name) else None
