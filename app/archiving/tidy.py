"""One file of many: the batches of an hour that is over. Readers see each row once meanwhile, by the rule of
`layout.standing`: the wide file is published first, and those that it covers are deleted then."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import pyarrow as pa
import pyarrow.compute as pc

from app.archiving.draft import Staged
from app.archiving.folder import Folder, published
from app.archiving.layout import DAY_MS, Part, day_of, hour_folder, standing
from app.store.archive_positions import Taken

#: Bytes of rows, as Arrow holds them, that are sorted at a time; sorting needs as much again. Several row groups of
#: events, so that who reads some shards passes over most of them.
RUN_BYTES = 64 * 1024**2


def untidy_hours(folder: Folder, group: int, since_ms: int, until_ms: int) -> dict[int, list[Part]]:
    """The files of each hour in [`since_ms`, `until_ms`) that has more than one, by when the hour begins."""
    found: list[Part] = []
    for hour in folder.hour_folders(group):
        day = day_of(hour.partition("/")[0])
        if day is not None and since_ms < day + DAY_MS and day < until_ms:
            found += folder.parts(hour)
    inside = sorted(part for part in found if since_ms <= part.hour_ms < until_ms)
    hours = {hour: list(parts) for hour, parts in groupby(inside, key=lambda part: part.hour_ms)}
    return {hour: parts for hour, parts in hours.items() if len(parts) > 1}


async def tidied(taken: Taken, folder: Folder, schema: pa.Schema, hour_ms: int, parts: Sequence[Part]) -> None:
    """Make an hour's files of a group one. Raises LostGroup, OSError: then they are as they were, or one already."""
    held = standing(parts)
    if len(held) > 1:
        whole = Part(hour_ms, taken.group, held[0].first, max(part.last for part in held))
        await published(taken, await _staged(taken, folder, schema, whole, held))
    for old in await asyncio.to_thread(_superseded, folder, taken.group, hour_ms):
        await asyncio.to_thread(folder.delete, old.path)
    # Arrow keeps what it freed for the thread's next table of that size, which is an hour away.
    await asyncio.to_thread(pa.default_memory_pool().release_unused)


async def _staged(taken: Taken, folder: Folder, schema: pa.Schema, whole: Part, held: Sequence[Part]) -> Staged:
    """The rows of an hour's files, written aside as one. The group is held from run to run, however many there are."""
    draft = await asyncio.to_thread(folder.draft, whole.path, schema, taken.group)
    try:
        waiting = runs(folder, held, schema)
        while (run := await asyncio.to_thread(next, waiting, None)) is not None:
            await taken.keep()
            await asyncio.to_thread(draft.add, run)
            del run  # the next one is gathered without it
        return await asyncio.to_thread(draft.finish)
    except BaseException:
        await asyncio.to_thread(draft.drop)
        raise


def runs(folder: Folder, parts: Iterable[Part], schema: pa.Schema) -> Iterator[pa.Table]:
    """All rows of an hour's files, in runs that are held in memory one at a time, whatever the hour holds. A run is
    sorted by shard; a shard's rows are in the order of its stream, in each run and from one to the next."""
    gathered: list[pa.Table] = []
    held = 0
    # Files are in the order of their batches, and a shard's rows within each in that of its stream.
    for part in standing(parts):
        for table in folder.tables(part.path):
            gathered.append(table.cast(schema))
            held += gathered[-1].nbytes
            if held >= RUN_BYTES:
                yield _by_shard(gathered)
                gathered, held = [], 0
    if gathered:
        yield _by_shard(gathered)


def _by_shard(tables: list[pa.Table]) -> pa.Table:
    whole = pa.concat_tables(tables)
    return whole.take(pc.sort_indices(whole["shard"]))  # stable, by Arrow's word


def _superseded(folder: Folder, group: int, hour_ms: int) -> list[Part]:
    """Files of an hour that do not count any more."""
    parts = folder.parts(hour_folder(hour_ms, group))
    return [part for part in parts if part not in standing(parts)]


def expire(folder: Folder, group: int, until_ms: int) -> int | None:
    """Delete what a group has of days that ended at `until_ms` or before; when the last of them ended, None: there were
    none. A day's folder goes with the last group in it."""
    ended = None
    for name in folder.folders():
        day = day_of(name)
        if day is None or day + DAY_MS > until_ms:
            continue
        ended = max(ended or 0, day + DAY_MS)
        for hour in folder.folders(name):
            folder.delete_folder(f"{name}/{hour}/group={group:02d}")
            if not folder.folders(f"{name}/{hour}"):
                folder.delete_folder(f"{name}/{hour}")
        if not folder.folders(name):
            folder.delete_folder(name)
    return ended
