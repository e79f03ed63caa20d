"""What the archiver holds while an hour becomes one file: `python -m loadtests.features.merge_memory`.

An hour of one group is written batch by batch and made one file, in a process of its own each: resident memory before,
and at its peak. Four times the hour must not be four times the memory. `--rows 20000` is a smoke test.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, NamedTuple, cast

import psutil
import pyarrow as pa
import typer

from app.archiving.columns import SCHEMA
from app.archiving.datasets import EVENT_SET
from app.archiving.folder import Folder
from app.archiving.layout import HOUR_MS, Part
from app.archiving.tidy import tidied
from app.store.archive_positions import Taken

MIB = 2**20
BATCH = 25_000
SHARDS = 16  # of a group, in a deployment of 256
HOUR_AT_MS = 1_795_507_200_000


class Found(NamedTuple):
    """MiB."""

    before: float
    peak: float


class _Held:
    """A group that nobody else wants."""

    group = 0

    async def keep(self) -> None:
        """It is held anyway."""


def batch(first: int, rows: int) -> pa.Table:
    """Rows as they lie in a file: shard after shard. `first`: of the hour."""
    each = rows // SHARDS
    numbers = [first + number for _ in range(SHARDS) for number in range(each)]
    at_ms = [HOUR_AT_MS + number % HOUR_MS for number in numbers]
    columns = {
        "customer": [f"cus_{number * 7919 % 1_000_003:07d}" for number in numbers],
        "shard": [shard * 16 for shard in range(SHARDS) for _ in range(each)],
        "type": ["viewed"] * len(numbers),
        "version": [1] * len(numbers),
        "occurred_at": at_ms,
        "received_at": at_ms,
        "appended_at": at_ms,
        "message_id": [number * 2654435761 for number in numbers],
        "source": ["shop"] * len(numbers),
        "properties": [f'{{"product":"p{number % 5003}","price":{number % 997}.5}}' for number in numbers],
        "known": [True] * len(numbers),
        "position": [f"{HOUR_AT_MS + number}-0" for number in numbers],
    }
    blank = [None] * len(numbers)
    arrays = [pa.array(columns.get(field.name, blank), field.type) for field in SCHEMA]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


@contextmanager
def hour(rows: int) -> Iterator[str]:
    """An archive's folder with an hour of one group in it."""
    with tempfile.TemporaryDirectory(prefix="nextbest-merge-") as root:
        folder = Folder.at(root).below("events")
        for number in range(max(2, rows // BATCH)):
            part = Part(HOUR_AT_MS, 0, number, number)
            folder.stage(part.path, batch(number * BATCH, min(BATCH, rows // 2)), 0).publish()
        yield root


def merge(root: str) -> Found:
    """In a process that did nothing else."""

    before = psutil.Process().memory_info().rss / MIB
    folder = Folder.at(root).below("events")
    asyncio.run(tidied(cast("Taken", _Held()), folder, SCHEMA, HOUR_AT_MS, folder.parts()))
    parts = folder.parts()
    if len(parts) != 1:
        raise SystemExit(f"the hour is {len(parts)} files: it should be one")
    return Found(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main(
    rows: Annotated[int, typer.Option(min=2_000, help="Of the smaller hour; the other has four times as many.")] = (
        1_000_000
    ),
) -> None:
    """Measure both hours. Exit code 1: the peak above the start grew by more than a quarter."""
    above = []
    for number in (rows, 4 * rows):
        with hour(number) as root, multiprocessing.get_context("spawn").Pool(1) as process:
            found = process.apply(merge, (root,))
        above.append(found.peak - found.before)
        print(f"{number:>10,} {EVENT_SET.name}: {found.before:.0f} MiB before, {found.peak:.0f} MiB at the peak")
    raise SystemExit(0 if above[1] <= 1.25 * above[0] else 1)


if __name__ == "__main__":
    typer.run(main)
