"""A file of decision records that explains itself: the records, and the bundles that they refer to.

    nextbest records 1\\n
    then entries, each a length (4 bytes, big-endian) and so many bytes of MessagePack:
        [0, digest, canonical form]   a bundle, before the first record that was made with it
        [1, record]                   as it lies in the decision log (`app.core.decision.record`)
        [2, base]                     the request with this base id (13 bytes) was never answered, and taken back
        [3, records]                  the end, and how many records there are

Newest first, as it was copied. It is written under another name until it is whole. It holds what decisions knew of
customers: only its owner may read it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple

import ormsgpack

from policy.compile import digest_of

HEAD = b"nextbest records 1\n"
BUNDLE, RECORD, ABORTED, END = 0, 1, 2, 3
#: Records that one process decides in one go: some 0.2 s of work.
CHUNK = 500
#: No entry is longer: a record is about 1 KB, a bundle about 100 KB.
ENTRY_BYTES_MAX = 64 * 1024**2
_LENGTH = struct.Struct(">I")


class RecordsFileError(Exception):
    """The file cannot be used; the message says why and what to do."""


class RecordsWriter:
    """Writes a records file; a context manager. Where it is left by an exception, there is no file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_name(path.name + ".partial")
        self.records = 0
        self._file = os.fdopen(os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
        self._file.write(HEAD)

    def bundle(self, digest: str, canonical: bytes) -> None:
        self._write([BUNDLE, digest, canonical])

    def record(self, raw: bytes) -> None:
        self.records += 1
        self._write([RECORD, raw])

    def aborted(self, base: bytes) -> None:
        self._write([ABORTED, base])

    def _write(self, entry: list[int | str | bytes]) -> None:
        packed = ormsgpack.packb(entry)
        self._file.write(_LENGTH.pack(len(packed)) + packed)

    def __enter__(self) -> RecordsWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self._write([END, self.records])
        self._file.close()
        if kind is None:
            self._partial.replace(self._path)
        else:
            self._partial.unlink(missing_ok=True)


class Chunk(NamedTuple):
    """A run of entries: where the first begins, and how many records to read from there."""

    offset: int
    records: int


class Contents(NamedTuple):
    """What a records file holds."""

    bundles: dict[str, bytes]  # digest → canonical form
    chunks: tuple[Chunk, ...]
    records: int
    aborted: frozenset[str]  # base ids


def contents(path: Path, limit: int | None = None) -> Contents:
    """Look through the file once. `limit`: no more than so many records. Raises `RecordsFileError`."""
    bundles: dict[str, bytes] = {}
    chunks: list[Chunk] = []
    aborted: set[str] = set()
    seen = 0
    at, in_chunk, ended = 0, 0, False
    with _opened(path) as file:
        for offset, kind, entry in _entries(file):
            if kind == RECORD and (limit is None or seen < limit):
                at = offset if in_chunk == 0 else at
                seen, in_chunk = seen + 1, in_chunk + 1
                if in_chunk == CHUNK:
                    chunks.append(Chunk(at, in_chunk))
                    in_chunk = 0
            elif kind == BUNDLE:
                _, digest, canonical = ormsgpack.unpackb(entry)
                if digest_of(canonical) != digest:
                    raise RecordsFileError(f"`{path}` holds a bundle that is damaged: copy the log again")
                bundles[digest] = canonical
            elif kind == ABORTED:
                aborted.add(ormsgpack.unpackb(entry)[1].hex())
            ended = ended or kind == END
    if not ended:
        raise RecordsFileError(f"`{path}` has no end: copy the log again")
    if in_chunk:
        chunks.append(Chunk(at, in_chunk))
    return Contents(bundles, tuple(chunks), seen, frozenset(aborted))


def records_of(path: Path, chunk: Chunk) -> Iterator[bytes]:
    """The records of a chunk."""
    left = chunk.records
    with _opened(path) as file:
        file.seek(chunk.offset)
        for _, kind, entry in _entries(file):
            if kind == RECORD:
                left -= 1
                yield ormsgpack.unpackb(entry)[1]
                if left == 0:
                    return


def _opened(path: Path) -> BinaryIO:
    try:
        file = path.open("rb")
    except OSError as error:
        raise RecordsFileError(f"`{path}` cannot be read: {error.strerror}") from error
    if file.read(len(HEAD)) != HEAD:
        file.close()
        raise RecordsFileError(f"`{path}` is no records file: `nextbest records FILE` makes one")
    return file


def _entries(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Offset, kind and bytes of the entries from here on. The kind is the first member of a short array."""
    while True:
        offset = file.tell()
        head = file.read(_LENGTH.size)
        if not head:
            return
        length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else 0
        entry = file.read(length) if 2 <= length <= ENTRY_BYTES_MAX else b""
        if not entry or len(entry) < length:
            raise RecordsFileError(f"`{file.name}` ends in the middle of an entry: copy the log again")
        yield offset, entry[1], entry
