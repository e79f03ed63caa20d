"""Files that other systems export: CSV, NDJSON and Parquet, packed or not, and each row as a line of the API.

Input: format and what is imported (a byte), and the file.
"""

from __future__ import annotations

import atexit
import gzip
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import mkstemp
from zoneinfo import ZoneInfo

from app.importing.columns import What, mapped
from app.importing.lines import LineMaker, Said
from app.importing.rows import open_rows
from app.importing.trouble import Trouble, Unfit
from tests.support.contract import contract_bundle

BUNDLE = contract_bundle()
ROWS_MAX = 100
KINDS = (("csv", ".csv"), ("ndjson", ".ndjson"), ("csv", ".csv.gz"), ("ndjson", ".ndjson.gz"), ("parquet", ".parquet"))
WORDS = (
    b"customer", b"email", b"phone", b"region", b"consent.marketing.email", b"state", b"as_of", b"granted", b"denied",
    b",", b";", b"\t", b"|", b'"', b'""', b"\r", b"\n", b"\r\n", b"\x00", b"\xef\xbb\xbf", b"reader@example.com",
    b"+49 170 1234567", b"2026-01-31T09:00:00Z", b"1767604320", b"1e999", b"nan", b"\x1f\x8b\x08", b"PAR1", b"\xff",
)  # fmt: skip


@cache
def path_of(suffix: str) -> Path:
    """A file in memory where the machine has such a place."""
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    handle, name = mkstemp(suffix, "nextbest-fuzz-", memory)
    os.close(handle)
    atexit.register(Path(name).unlink, missing_ok=True)
    return Path(name)


def seeds() -> Iterator[bytes]:
    rows = b"customer,region,recency,consent.marketing.email,as_of\ncus_1,DE,3,yes,2026-01-31T09:00:00Z\ncus_2,,,no,\n"
    quoted = b'email;scope;reason;at\n"reader@example.com";email;"unsub;scribed";1767604320\n'
    lines = (
        b'{"customer": "cus_1", "attributes": {"recency": 3}, "consent": [{"purpose": "marketing", "channel": "email",'
    )
    lines += b'"state": "granted", "at": "2026-01-31T09:00:00Z"}]}\n\n{"customer": 12.0, "region": "US"}\n'
    for what in range(3):
        yield bytes((0 + 5 * what,)) + (quoted if what == 2 else rows)
        yield bytes((1 + 5 * what,)) + lines
    yield b"\x02" + gzip.compress(rows, mtime=0)
    yield b"\x03" + gzip.compress(lines, mtime=0)


def run(data: bytes) -> None:
    if not data:
        return
    kind, suffix = KINDS[data[0] % 5]
    what = tuple(What)[data[0] // 5 % 3]
    path = path_of(suffix)
    path.write_bytes(data[1:])
    try:
        rows = open_rows(path, kind)
    except Trouble:
        return
    try:
        columns = mapped(rows.names, what, BUNDLE, {})
        maker = LineMaker(what, columns, BUNDLE, Said(zone=ZoneInfo("UTC"), purpose="marketing", channel="email"))
        for row in rows.after(0):
            if row.number > ROWS_MAX:
                break
            if row.cells is not None:
                _line(maker, row.cells)
        rows.share()
    except Trouble:
        return
    finally:
        rows.close()


def _line(maker: LineMaker, cells: object) -> None:
    try:
        maker.line(cells)  # type: ignore[arg-type]  # anything
    except Unfit:
        return
