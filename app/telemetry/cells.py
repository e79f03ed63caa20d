"""The numbers of one worker: a mapped file of 64-bit cells that other workers can read, and that outlives its writer.

    header   8 words: magic, layout, names used in bytes, 5 spare
    cells    one word each: first the series that the code knows (in the order of `FAMILIES`), then those allocated at
             run time, in the order of their names
    names    one JSON line for each series allocated at run time: `["decisions_total", "weekly_offer", "send", …]`

A name is written before the length that makes it visible, so a reader, or a successor after a crash, never sees half of
one. Words are aligned; reading while another process writes gives the old or the new value.

Whether a worker lives is told by its lock on the file, not by its process id, which can be used again. A new worker
takes over the first file without an owner and counts on in it: files are as many as workers ever ran at once, and no
count is lost with its worker. Gauges say what is now, so they are zeroed on the way.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from pathlib import Path

from app.telemetry.series import BY_NAME, FAMILIES, OTHER, Family, Labels

_MAGIC = 0x6E62_6D65_7472_0001  # "nbmetr", format 1
_WORD = 8
_HEADER_BYTES = 8 * _WORD
_NAMES_USED = 2  # which word of the header
_NAMES_BYTES = 1 << 20  # sparse; a name takes about 100 bytes and there are at most 4,800


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the series known to the code live. `digest` differs when any of it differs."""

    slots: dict[tuple[Family, Labels], int]
    static_cells: int
    cells: int
    digest: int


def _layout() -> Layout:
    slots: dict[tuple[Family, Labels], int] = {}
    used = 0
    for family in FAMILIES:
        overflow = ((OTHER,) * len(family.labels),) if family.at_most else ()
        for labels in (*family.known, *overflow):
            slots[family, labels] = used
            used += family.width
    cells = used + sum(family.at_most for family in FAMILIES)
    text = repr([cells, *((family.name, labels, family.bounds) for family, labels in slots)])
    digest = int.from_bytes(sha256(text.encode()).digest()[:7], "big")  # 7 bytes: a positive word
    return Layout(slots, used, cells, digest)


LAYOUT = _layout()
_CELLS_END = _HEADER_BYTES + LAYOUT.cells * _WORD
_FILE_BYTES = _CELLS_END + _NAMES_BYTES


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The numbers of one worker at one moment. `names[i]` names the cell `LAYOUT.static_cells + i`."""

    worker: int
    live: bool
    values: memoryview[int]
    names: list[list[str]]

    def series(self) -> Iterator[tuple[Family, Labels, memoryview[int]]]:
        """Every series with its cells: one for a count, a histogram's buckets and sum."""
        for (family, labels), at in LAYOUT.slots.items():
            yield family, labels, self.values[at : at + family.width]
        for at, (name, *values) in enumerate(self.names, LAYOUT.static_cells):
            yield BY_NAME[name], tuple(values), self.values[at : at + 1]


class Cells:
    """One worker's file, locked and mapped for writing. `worker` is its number, from 0, the file's for good."""

    def __init__(self, worker: int, fd: int | None) -> None:
        self.worker = worker
        self._fd = fd
        self._map = mmap.mmap(-1 if fd is None else fd, _FILE_BYTES)
        whole = memoryview(self._map)
        self._header = whole[:_HEADER_BYTES].cast("q")
        self._names = whole[_CELLS_END:]
        self.values = whole[_HEADER_BYTES:_CELLS_END].cast("q")
        whole.release()

    def begin(self) -> None:
        """Make the file readable by others: nothing in it counts before this."""
        if self._header[0] != _MAGIC or self._header[1] != LAYOUT.digest:
            self._map[:_CELLS_END] = bytes(_CELLS_END)
            self._header[1] = LAYOUT.digest
            self._header[0] = _MAGIC
        for (family, _), at in LAYOUT.slots.items():
            if family.kind == "gauge":
                self.values[at] = 0

    def names(self) -> list[list[str]]:
        return _parse_names(bytes(self._names[: self._header[_NAMES_USED]]))

    def add_name(self, name: list[str]) -> bool:
        """Name the next free cell; False when there is no room for another name."""
        line = json.dumps(name).encode() + b"\n"
        used = self._header[_NAMES_USED]
        if used + len(line) > _NAMES_BYTES:
            return False
        self._names[used : used + len(line)] = line
        self._header[_NAMES_USED] = used + len(line)
        return True

    def snapshot(self) -> Snapshot:
        names = self.names()  # before the values: a cell is zero until it has its name
        return Snapshot(self.worker, True, memoryview(self.values.tobytes()).cast("q"), names)

    def close(self) -> None:
        """Let go of the file: the counts stay in it, and the next new worker may count on."""
        for view in (self._header, self._names, self.values):
            view.release()
        self._map.close()
        if self._fd is not None:
            os.close(self._fd)


def in_memory() -> Cells:
    """Cells that nobody else sees: a single process without a runtime folder."""
    cells = Cells(0, None)
    cells.begin()
    return cells


def claim(directory: Path) -> Cells:
    """Take over the first file of the folder that no living worker holds, or make a new one."""
    for worker in count():
        fd = os.open(_path(directory, worker), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            continue
        if os.fstat(fd).st_size != _FILE_BYTES:
            os.ftruncate(fd, 0)
            os.ftruncate(fd, _FILE_BYTES)
        cells = Cells(worker, fd)
        cells.begin()
        return cells
    raise AssertionError("unreachable: `count` never ends")


def others(directory: Path, own: int) -> Iterator[Snapshot]:
    """The other workers' numbers, dead ones included. Files that are not begun, or of another layout, are skipped."""
    for worker in count():
        if worker == own:
            continue
        try:
            fd = os.open(_path(directory, worker), os.O_RDONLY)
        except FileNotFoundError:
            return  # numbers have no gaps: `claim` takes the lowest
        try:
            snapshot = _read(worker, fd)
        finally:
            os.close(fd)
        if snapshot is not None:
            yield snapshot


def _path(directory: Path, worker: int) -> Path:
    return directory / f"worker-{worker}.metrics"


def _read(worker: int, fd: int) -> Snapshot | None:
    header = os.pread(fd, _HEADER_BYTES, 0)
    if len(header) < _HEADER_BYTES:
        return None
    words = memoryview(header).cast("q")
    if words[0] != _MAGIC or words[1] != LAYOUT.digest:
        return None
    names = _parse_names(os.pread(fd, words[_NAMES_USED], _CELLS_END))
    values = os.pread(fd, (LAYOUT.static_cells + len(names)) * _WORD, _HEADER_BYTES)
    return Snapshot(worker, _is_held(fd), memoryview(values).cast("q"), names)


def _is_held(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def _parse_names(lines: bytes) -> list[list[str]]:
    return [json.loads(line) for line in lines.splitlines()]
