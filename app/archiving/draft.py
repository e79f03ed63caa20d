"""A file in the making: written aside table by table, finished, and then put in its place or forgotten."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

#: Small enough that reading one shard of sixteen passes most of a file over.
ROWS_A_ROW_GROUP = 32_768


class Staged(Protocol):
    """A file that is written and not yet there."""

    def publish(self) -> None:
        """Puts it in its place, over what may be there. Raises OSError: it cannot be, or somebody took over."""
        ...

    def drop(self) -> None:
        """Forgets it."""
        ...


class Draft:
    """A file that is being written. All of these raise OSError; after one, and instead of `finish`, it is dropped."""

    def __init__(self, sink: Any, schema: pa.Schema, staged: Staged) -> None:
        self._sink = sink
        self._staged = staged
        try:
            self._writer = pq.ParquetWriter(sink, schema, compression="zstd")
        except BaseException:
            self._forget()
            raise

    def add(self, table: pa.Table) -> None:
        """Write rows. What is compressed at a time is a row group."""
        self._writer.write_table(table, row_group_size=ROWS_A_ROW_GROUP)

    def finish(self) -> Staged:
        """The whole file, on the disk where it is a file."""
        self._writer.close()
        if isinstance(self._sink, pa.BufferOutputStream):
            return self._staged
        self._sink.flush()
        os.fsync(self._sink.fileno())
        self._sink.close()
        return self._staged

    def drop(self) -> None:
        """Forgets it, however far it came."""
        with suppress(OSError):  # its end cannot be written either where the disk is full
            self._writer.close()
        self._forget()

    def _forget(self) -> None:
        if not isinstance(self._sink, pa.BufferOutputStream):
            with suppress(OSError):
                self._sink.close()
        self._staged.drop()


class Aside:
    """A file beside its place, on this machine."""

    def __init__(self, aside: Path, place: Path) -> None:
        self._aside = aside
        self._place = place

    def publish(self) -> None:
        self._place.parent.mkdir(parents=True, exist_ok=True)
        self._aside.rename(self._place)
        # Group, hour, day, dataset, archive: any of these folders may be new.
        for folder in (self._place.parent, *self._place.parents[1:5]):
            _sync(folder)

    def drop(self) -> None:
        self._aside.unlink(missing_ok=True)


class Upload:
    """A file that goes to an object store in one go."""

    def __init__(self, put: Callable[[str, pa.Buffer], None], path: str, content: Callable[[], pa.Buffer]) -> None:
        self._put = put
        self._path = path
        self._content = content

    def publish(self) -> None:
        self._put(self._path, self._content())

    def drop(self) -> None:
        """What was not put is nowhere but in memory."""


def _sync(folder: Path) -> None:
    """A name is on the disk when its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
