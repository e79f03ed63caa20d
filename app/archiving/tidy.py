"""One file of many: the batches of an hour that is over. Readers see each row once meanwhile, by the rule of
`layout.standing`: the wide file is published first, and those that it covers are deleted then."""

from __future__ import annotations

from itertools import groupby

import pyarrow as pa

from app.archiving.folder import Folder
from app.archiving.layout import DAY_MS, Part, day_of, hour_folder, standing


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


def merged(folder: Folder, parts: list[Part], schema: pa.Schema) -> tuple[Part, pa.Table] | None:
    """All rows of an hour and a group in one table, shard after shard, as they lay in the streams; None where one file
    has them all already."""
    held = standing(parts)
    if len(held) < 2:
        return None
    table = pa.concat_tables([folder.table(part.path) for part in held]).cast(schema)
    # Files are in the order of their batches; a stable sort by shard keeps that order.
    numbered = table.append_column("at", pa.array(range(table.num_rows), pa.int64()))
    table = numbered.sort_by([("shard", "ascending"), ("at", "ascending")]).drop_columns("at")
    return Part(held[0].hour_ms, held[0].group, held[0].first, max(part.last for part in held)), table


def superseded(folder: Folder, group: int, hour_ms: int) -> list[Part]:
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
