"""A file as numbered rows, in bounded memory, from any row on. What a file is, its name says, or the operator.

pyarrow is imported for Parquet alone: it costs a second and a hundred megabytes.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

import orjson

from app.importing.trouble import Trouble

FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
    ".parquet": "parquet",
}
DELIMITERS = ",;\t|"
#: As long as a line of the API.
CELL_BYTES_MAX = 64 * 1024
PARQUET_ROWS = 4_096  # decoded at once
#: What a damaged file raises while it is unpacked.
DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error)
#: Rows of NDJSON that are looked at to learn which members there are.
LOOKED_AT = 1_000


class Row(NamedTuple):
    """`number`: the line on which it begins, or, of Parquet, which row it is; from 1. `cells` None: unreadable."""

    number: int
    cells: Mapping[str, Any] | None


class Rows(Protocol):
    """A file that is open for reading."""

    names: tuple[str, ...]  # of the columns
    fixed: bool  # whether no row has others

    def share(self) -> float:
        """How much of it is read, 0–1."""
        ...

    def after(self, skipped: int) -> Iterator[Row]:
        """All rows after the first so many."""
        ...

    def close(self) -> None: ...


def open_rows(path: Path, kind: str = "auto", encoding: str = "utf-8-sig") -> Rows:
    """Opens a file; `.gz` is unpacked on the way. Raises Trouble."""
    packed = path.suffix == ".gz"
    suffix = path.with_suffix("").suffix if packed else path.suffix
    known = FORMATS.get(suffix.lower()) if kind == "auto" else kind
    if known is None:
        raise Trouble(f"`{path.name}` may be anything: say `--format csv`, `ndjson` or `parquet`")
    try:
        if known == "parquet":
            return _Parquet(path)
        return _Csv(path, packed, encoding) if known == "csv" else _Ndjson(path, packed)
    except OSError as error:
        raise Trouble(f"`{path}` cannot be read: {error.strerror or error}") from error


class _Text:
    """A file of lines, packed or not."""

    def __init__(self, path: Path, packed: bool) -> None:
        self.path = path
        self._size = path.stat().st_size or 1
        self._raw = path.open("rb")
        self.stream: IO[bytes] = gzip.GzipFile(fileobj=self._raw) if packed else self._raw  # type: ignore[assignment]  # read as one

    def share(self) -> float:
        return min(1.0, self._raw.tell() / self._size)

    def rewind(self) -> None:
        self.stream.seek(0)

    def close(self) -> None:
        self._raw.close()


class _Csv:
    fixed = True

    def __init__(self, path: Path, packed: bool, encoding: str) -> None:
        self._file = _Text(path, packed)
        try:
            self._begin(path, encoding)
        except Trouble:
            self._file.close()
            raise

    def _begin(self, path: Path, encoding: str) -> None:
        self._text = io.TextIOWrapper(self._file.stream, encoding=encoding, newline="")
        csv.field_size_limit(CELL_BYTES_MAX)
        head = self._read(self._text.readline)
        self._delimiter = max(DELIMITERS, key=head.count)
        names = next(csv.reader([head], delimiter=self._delimiter), [])
        self.names = tuple(name.strip() for name in names)
        if not any(self.names):
            raise Trouble(f"`{path.name}` is empty: its first line names the columns")
        twice = {name for name in self.names if self.names.count(name) > 1}
        if twice:
            raise Trouble(f"`{path.name}` has more than one column {', '.join(f'`{name}`' for name in sorted(twice))}")

    def after(self, skipped: int) -> Iterator[Row]:
        reader = csv.reader(self._text, delimiter=self._delimiter)
        count = 0
        while True:
            number = reader.line_num + 2  # the header is line 1
            cells = self._read(lambda: next(reader, None))
            if cells is None:
                return
            if not cells:
                continue
            count += 1
            if count > skipped:
                fits = len(cells) == len(self.names)
                yield Row(number, dict(zip(self.names, cells, strict=True)) if fits else None)

    def _read(self, read: Any) -> Any:
        try:
            return read()
        except UnicodeDecodeError as error:
            raise Trouble(f"`{self._file.path.name}` is no {error.encoding}: name its --encoding") from None
        except (csv.Error, *DAMAGED) as error:
            raise Trouble(f"`{self._file.path.name}` is broken: {error}") from error

    def share(self) -> float:
        return self._file.share()

    def close(self) -> None:
        self._file.close()


class _Ndjson:
    fixed = False

    def __init__(self, path: Path, packed: bool) -> None:
        self._file = _Text(path, packed)
        names: dict[str, None] = {}
        try:
            for row in islice(self.after(0), LOOKED_AT):
                names.update(dict.fromkeys(row.cells or ()))
        except Trouble:
            self._file.close()
            raise
        self.names = tuple(names)

    def after(self, skipped: int) -> Iterator[Row]:
        self._file.rewind()
        count = 0
        for number, line in enumerate(self._lines(), 1):
            if not line.strip():
                continue
            count += 1
            if count > skipped:
                yield Row(number, _flat(line))

    def _lines(self) -> Iterator[bytes]:
        """Of a line that is too long, only as much as tells that it is."""
        try:
            while line := self._file.stream.readline(CELL_BYTES_MAX + 1):
                yield line
                while len(line) > CELL_BYTES_MAX and not line.endswith(b"\n"):
                    line = self._file.stream.readline(CELL_BYTES_MAX + 1)
        except DAMAGED as error:
            raise Trouble(f"`{self._file.path.name}` is broken: {error}") from error

    def share(self) -> float:
        return self._file.share()

    def close(self) -> None:
        self._file.close()


def _flat(line: bytes) -> Mapping[str, Any] | None:
    """Members of members by their whole name: `{"attributes": {"recency": 3}}` is `attributes.recency`."""
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(found, dict):
        return None
    flat: dict[str, Any] = {}
    for name, value in found.items():
        if isinstance(value, dict):
            flat.update({f"{name}.{inner}": each for inner, each in value.items()})
        else:
            flat[name] = value
    return flat


class _Parquet:
    fixed = True

    def __init__(self, path: Path) -> None:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile

        try:
            # Read ahead as little as possible: a row group of a million rows would be held as a whole.
            self._file = ParquetFile(path, pre_buffer=False)
        except ArrowException as error:
            raise Trouble(f"`{path.name}` is no Parquet: {error}") from error
        self.names = tuple(self._file.schema_arrow.names)
        self._rows: int = self._file.metadata.num_rows
        self._read = 0

    def after(self, skipped: int) -> Iterator[Row]:
        groups, before = self._groups_after(skipped)
        number = before
        for batch in self._file.iter_batches(PARQUET_ROWS, row_groups=groups) if groups else ():
            if number + batch.num_rows > skipped:
                for row in batch.to_pylist():
                    number += 1
                    self._read = number
                    if number > skipped:
                        yield Row(number, row)
            else:
                number += batch.num_rows

    def _groups_after(self, skipped: int) -> tuple[list[int], int]:
        """Row groups that hold rows after the first so many, and how many rows lie before them."""
        before = 0
        for group in range(self._file.num_row_groups):
            rows: int = self._file.metadata.row_group(group).num_rows
            if before + rows > skipped:
                return list(range(group, self._file.num_row_groups)), before
            before += rows
        return [], before

    def share(self) -> float:
        return self._read / self._rows if self._rows else 1.0

    def close(self) -> None:
        self._file.close()
