"""Erasing customers from the archive: every file that names one of them is written again without."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from app.archiving.folder import Folder, published
from app.archiving.layout import GROUPS, Part, shards_of_group, standing
from app.core.features.streams import CARRY
from app.store.archive_positions import ArchivePositions, LostGroup, Taken

#: How long to wait for an archiver that is at a group, in s: a lease and a large batch.
PATIENCE_S = 60.0
_NAMES = ["customer", "type", "properties", "previous_customer"]


class Rewritten(NamedTuple):
    """What was done. Rows: those that were about the customers."""

    files: int
    rows: int


class ArchiveBusy(Exception):
    """An archiver has held a group for a minute: try again."""


async def rewrite_without(store: ArchivePositions, folder: Folder, customers: Collection[str]) -> Rewritten:
    """Rewrite what names one of these customers, in all groups; doing it again finds nothing. Their entries must be
    gone from the streams before, or a batch that is written again after a crash would bring them back.

    Raises ArchiveBusy, OSError, redis errors: then some files are rewritten, and it may be done again.
    """
    files = rows = 0
    for group in range(GROUPS):
        if shards_of_group(group, store.keys.shards):
            taken = await _taken(store, group)
            try:
                await asyncio.to_thread(folder.clear, group)
                of_group = await _group(taken, folder, frozenset(customers))
            except LostGroup as error:
                raise ArchiveBusy("an archiver took a group over while it was rewritten") from error
            finally:
                with suppress(LostGroup):
                    await taken.give_back()
            files, rows = files + of_group.files, rows + of_group.rows
    return Rewritten(files, rows)


async def _taken(store: ArchivePositions, group: int) -> Taken:
    taken = await store.take_within(group, "rewrite", PATIENCE_S)
    if taken is None:
        raise ArchiveBusy("an archiver is busy with a group: try again")
    return taken


async def _group(taken: Taken, folder: Folder, customers: frozenset[str]) -> Rewritten:
    files = rows = 0
    for hour in await asyncio.to_thread(folder.hour_folders, taken.group):
        parts = await asyncio.to_thread(folder.parts, hour)
        for part in set(parts) - set(standing(parts)):  # what does not count any more names them too
            await asyncio.to_thread(folder.delete, part.path)
        for part in standing(parts):
            await taken.keep()
            number = await _part(taken, folder, part, customers)
            files, rows = files + (number is not None), rows + (number or 0)
    return Rewritten(files, rows)


async def _part(taken: Taken, folder: Folder, part: Part, customers: frozenset[str]) -> int | None:
    """Rewrite one file; how many rows it lost, None: it names none of them."""
    if not await asyncio.to_thread(_names_any, folder, part, customers):
        return None
    whole = await asyncio.to_thread(folder.table, part.path)
    kept = await asyncio.to_thread(_without, whole, customers)
    await published(taken, await asyncio.to_thread(folder.stage, part.path, kept, part.group))
    return int(whole.num_rows - kept.num_rows)


def _names_any(folder: Folder, part: Part, customers: frozenset[str]) -> bool:
    named = list(customers)
    somewhere = [[("customer", "in", named)], [("previous_customer", "in", named)], [("type", "=", CARRY)]]
    table = folder.table(part.path, columns=_NAMES, filters=somewhere)
    mentioned = pc.any(pc.is_in(table["previous_customer"], pa.array(named))).as_py()
    return bool(mentioned or pc.any(_about(table, customers)).as_py())


def _about(table: pa.Table, customers: frozenset[str]) -> Any:
    """Which rows are about one of them; becoming one of them is."""
    own = pc.is_in(table["customer"], pa.array(list(customers), pa.string()))
    carried = pc.equal(pc.fill_null(table["type"], ""), CARRY)
    if not pc.any(carried).as_py():
        return own
    texts = zip(carried.to_pylist(), table["properties"].to_pylist(), strict=True)
    into = pa.array([bool(is_one) and orjson.loads(text).get("to") in customers for is_one, text in texts])
    return pc.or_(own, into)


def _without(table: pa.Table, customers: frozenset[str]) -> pa.Table:
    kept = table.filter(pc.invert(_about(table, customers)))
    place = kept.schema.get_field_index("previous_customer")
    mentioned = pc.is_in(kept["previous_customer"], pa.array(list(customers), pa.string()))
    cleared = pc.if_else(mentioned, pa.scalar(None, pa.string()), kept["previous_customer"])
    return kept.set_column(place, kept.schema.field(place), cleared)
