"""Erasing customers from the archive: every file that names one of them is written again without."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from itertools import product
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from app.archiving.belonging import check
from app.archiving.datasets import DATASETS, EVENT_SET, Dataset
from app.archiving.folder import Folder, published
from app.archiving.layout import GROUPS, Part, shards_of_group, standing
from app.core.erasure import FOR_EVER
from app.core.features.streams import CARRY
from app.store.archive_positions import ArchivePositions, LostGroup, Taken

#: How long to wait for an archiver that is at a group, in s: a lease and a large batch.
PATIENCE_S = 60.0
#: What an event may name somebody in besides.
_NAMES = ["type", "properties", "previous_customer"]


class Rewritten(NamedTuple):
    """What was done. Rows: those that were about the customers."""

    files: int
    rows: int


class ArchiveBusy(Exception):
    """An archiver has held a group for a minute: try again."""


async def rewrite_without(
    store: ArchivePositions, folder: Folder, customers: Mapping[str, int] | Collection[str]
) -> Rewritten:
    """Rewrite what names one of these customers, in all groups of all datasets: whatever it is, or what was received or
    decided until an instant each (Unix ms). Doing it again finds nothing. Their entries must be gone from the streams
    before, or a batch that is written again after a crash would bring them back.

    Raises WrongArchive, ArchiveBusy, OSError, redis errors: then some files are rewritten, and it may be done again.
    """
    await check(store, folder)
    until_ms = customers if isinstance(customers, Mapping) else dict.fromkeys(customers, FOR_EVER)
    files = rows = 0
    for dataset, group in product(DATASETS, range(GROUPS)):
        if shards_of_group(group, store.keys.shards):
            what = _Files(folder.below(dataset.name), dataset, until_ms)
            done = await _visited(store.of(dataset.source), what, group)
            files, rows = files + done.files, rows + done.rows
    return Rewritten(files, rows)


class _Files(NamedTuple):
    """What is rewritten, and without whom."""

    folder: Folder
    dataset: Dataset
    until_ms: Mapping[str, int]


async def _visited(store: ArchivePositions, files: _Files, group: int) -> Rewritten:
    taken = await _taken(store, group)
    try:
        await asyncio.to_thread(files.folder.clear, group)
        return await _group(taken, files)
    except LostGroup as error:
        raise ArchiveBusy("an archiver took a group over while it was rewritten") from error
    finally:
        with suppress(LostGroup):
            await taken.give_back()


async def _taken(store: ArchivePositions, group: int) -> Taken:
    taken = await store.take_within(group, "rewrite", PATIENCE_S)
    if taken is None:
        raise ArchiveBusy("an archiver is busy with a group: try again")
    return taken


async def _group(taken: Taken, files: _Files) -> Rewritten:
    folder, changed, rows = files.folder, 0, 0
    for hour in await asyncio.to_thread(folder.hour_folders, taken.group):
        parts = await asyncio.to_thread(folder.parts, hour)
        for part in set(parts) - set(standing(parts)):  # what does not count any more names them too
            await asyncio.to_thread(folder.delete, part.path)
        for part in standing(parts):
            await taken.keep()
            number = await _part(taken, files, part)
            changed, rows = changed + (number is not None), rows + (number or 0)
    return Rewritten(changed, rows)


async def _part(taken: Taken, files: _Files, part: Part) -> int | None:
    """Rewrite one file; how many rows it lost, None: it names none of them."""
    if not await asyncio.to_thread(_names_any, files, part):
        return None
    whole = await asyncio.to_thread(files.folder.table, part.path)
    kept = await asyncio.to_thread(_without, files, whole)
    await published(taken, await asyncio.to_thread(files.folder.stage, part.path, kept, part.group))
    return int(whole.num_rows - kept.num_rows)


def _names_any(files: _Files, part: Part) -> bool:
    named, columns = list(files.until_ms), ["customer", files.dataset.told]
    somewhere: list[list[tuple[str, str, Any]]] = [[("customer", "in", named)]]
    if files.dataset is EVENT_SET:
        columns += _NAMES
        somewhere += [[("previous_customer", "in", named)], [("type", "=", CARRY)]]
    table = files.folder.table(part.path, columns=columns, filters=somewhere)
    return any(_about(files, table)) or (files.dataset is EVENT_SET and any(_mentioning(table, files.until_ms)))


def _without(files: _Files, table: pa.Table) -> pa.Table:
    """The rows that are not about one of them; where one mentions one of them as whom somebody was, it is blank."""
    kept = table.filter(pa.array([not gone for gone in _about(files, table)], pa.bool_()))
    if files.dataset is not EVENT_SET:
        return kept
    place = kept.schema.get_field_index("previous_customer")
    mentioned = pa.array(_mentioning(kept, files.until_ms), pa.bool_())
    blank = pc.if_else(mentioned, pa.scalar(None, pa.string()), kept["previous_customer"])
    return kept.set_column(place, kept.schema.field(place), blank)


def _about(files: _Files, table: pa.Table) -> list[bool]:
    """Which rows are about one of them; becoming one of them is."""
    customers, into, until_ms = table["customer"].to_pylist(), [None] * table.num_rows, files.until_ms
    if files.dataset is EVENT_SET and pc.any(pc.equal(table["type"], CARRY)).as_py():
        texts = zip(table["type"].to_pylist(), table["properties"].to_pylist(), strict=True)
        into = [orjson.loads(text).get("to") if kind == CARRY else None for kind, text in texts]
    rows = zip(customers, into, _told_ms(table, files.dataset.told), strict=True)
    return [_gone(customer, at, until_ms) or _gone(winner, at, until_ms) for customer, winner, at in rows]


def _mentioning(table: pa.Table, until_ms: Mapping[str, int]) -> list[bool]:
    rows = zip(table["previous_customer"].to_pylist(), _told_ms(table, "received_at"), strict=True)
    return [_gone(customer, at, until_ms) for customer, at in rows]


def _gone(customer: str | None, told_ms: int | None, until_ms: Mapping[str, int]) -> bool:
    until = None if customer is None else until_ms.get(customer)
    return until is not None and told_ms is not None and told_ms <= until


def _told_ms(table: pa.Table, column: str) -> list[int | None]:
    found: list[int | None] = table[column].cast(pa.int64()).to_pylist()
    return found
