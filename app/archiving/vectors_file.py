"""Vectors as a file: Parquet, CSV or NDJSON by its name, with a description of every feature beside it.

The description says what each column means: version, definition, what it is folded from. It is in the Parquet file's
metadata under `nextbest`, and in `<file>.json` for all three.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import orjson
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from app.archiving.history import Vector
from app.archiving.layout import iso
from policy.bundle import Bundle, Fact
from policy.feature_rules import FeatureRule

#: Rows that are written in one go.
ROWS = 8_192
_TYPES = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "string": pa.string(), "enum": pa.string()}
SUFFIXES = (".parquet", ".csv", ".ndjson")


class _Sink(Protocol):
    def write(self, table: pa.Table) -> None: ...


def described(bundle: Bundle, whole_from_ms: int | None) -> dict[str, Any]:
    """What the columns mean. `whole_from_ms`: since when the events are whole that they are folded from."""
    return {
        "bundle": bundle.name,
        "bundle_digest": bundle.digest,
        "events_whole_from": None if whole_from_ms is None else iso(whole_from_ms),
        "features": [_feature(rule, bundle.fact_by_name[rule.name]) for rule in bundle.features],
    }


def _feature(rule: FeatureRule, fact: Fact) -> dict[str, Any]:
    return {
        "name": rule.name,
        "version": rule.version,
        "definition": rule.definition,
        "type": fact.type,
        "owner": rule.owner,
        "fold": rule.fold,
        "folded_from": [*rule.events, *rule.against],
        "property": rule.property,
        "window_s": None if rule.window_ms is None else rule.window_ms // 1000,
        "sensitivity": fact.sensitivity,
        "purposes": sorted(fact.purposes),
        "default": fact.default,
    }


def written(path: Path, bundle: Bundle, description: dict[str, Any], rows: Iterable[Vector]) -> int:
    """Write them; how many there were. A file that was there is replaced when the new one is whole. Raises OSError."""
    columns = [("customer", pa.string()), ("at", pa.timestamp("ms", tz="UTC"))]
    columns += [(rule.name, _TYPES[bundle.fact_by_name[rule.name].type]) for rule in bundle.features]
    schema = pa.schema(columns, metadata={"nextbest": orjson.dumps(description)})
    aside = path.with_name(path.name + ".part")
    number = 0
    with ExitStack() as open_files:
        open_files.callback(aside.unlink, missing_ok=True)
        with ExitStack() as sinks:
            sink = _sink(path.suffix, aside, schema, sinks)
            for chunk in _chunks(rows):
                sink.write(_table(chunk, schema))
                number += len(chunk)
        aside.rename(path)
    beside = description | {"file": path.name, "rows": number}
    path.with_name(path.name + ".json").write_bytes(orjson.dumps(beside, option=orjson.OPT_INDENT_2) + b"\n")
    return number


def _table(rows: list[Vector], schema: pa.Schema) -> pa.Table:
    arrays = [pa.array([row.customer for row in rows]), pa.array([row.at_ms for row in rows], schema.field(1).type)]
    arrays += [_values(rows, name, schema.field(name).type) for name in schema.names[2:]]
    return pa.Table.from_arrays(arrays, schema=schema)


def _values(rows: list[Vector], name: str, kind: pa.DataType) -> pa.Array:
    values = [row.values.get(name) for row in rows]
    if kind == pa.string():  # a last value is of any type where nothing declares its property
        values = [value if value is None else str(value) for value in values]
    return pa.array(values, kind)


def _sink(suffix: str, aside: Path, schema: pa.Schema, sinks: ExitStack) -> _Sink:
    if suffix == ".parquet":
        return sinks.enter_context(pq.ParquetWriter(aside, schema, compression="zstd"))  # type: ignore[no-any-return]  # pyarrow has no types
    if suffix == ".csv":
        return sinks.enter_context(pc.CSVWriter(aside, schema))  # type: ignore[no-any-return]  # pyarrow has no types
    return _Lines(sinks.enter_context(aside.open("wb")))


class _Lines:
    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, table: pa.Table) -> None:
        for row in table.to_pylist():
            at = iso(round(row.pop("at").timestamp() * 1000))
            self._file.write(orjson.dumps({"customer": row.pop("customer"), "at": at, **row}) + b"\n")


def _chunks(rows: Iterable[Vector]) -> Iterator[list[Vector]]:
    waiting = iter(rows)
    while chunk := list(islice(waiting, ROWS)):
        yield chunk
