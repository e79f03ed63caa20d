"""Erasing customers from the archive: every file that names one of them is written again without."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import NamedTuple

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from app.archiving.belonging import check
from app.archiving.folder import Folder, published
from app.archiving.layout import GROUPS, Part, shards_of_group, standing
from app.core.erasure import FOR_EVER
from app.core.features.streams import CARRY
from app.store.archive_positions import ArchivePositions, LostGroup, Taken

#: How long to wait for an archiver that is at a group, in s: a lease and a large batch.
PATIENCE_S = 60.0
_NAMES = ["customer", "type", "properties", "previous_customer", "received_at"]


class Rewritten(NamedTuple):
    """What was done. Rows: those that were about the customers."""

    files: int
    rows: int


class ArchiveBusy(Exception):
    """An archiver has held a group for a minute: try again."""


async def rewrite_without(
    store: ArchivePositions, folder: Folder, customers: Mapping[str, int] | Collection[str]
) -> Rewritten:
    """Rewrite what names one of these customers, in all groups: whatever it is, or what was received until an instant
    each (Unix ms). Doing it again finds nothing. Their entries must be gone from the streams before, or a batch that is
    written again after a crash would bring them back.

    Raises WrongArchive, ArchiveBusy, OSError, redis errors: then some files are rewritten, and it may be done again.
    """
    await check(store, folder)
    until_ms = customers if isinstance(customers, Mapping) else dict.fromkeys(customers, FOR_EVER)
    files = rows = 0
    for group in range(GROUPS):
        if shards_of_group(group, store.keys.shards):
            taken = await _taken(store, group)
            try:
                await asyncio.to_thread(folder.clear, group)
                of_group = await _group(taken, folder, until_ms)
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


async def _group(taken: Taken, folder: Folder, until_ms: Mapping[str, int]) -> Rewritten:
    files = rows = 0
    for hour in await asyncio.to_thread(folder.hour_folders, taken.group):
        parts = await asyncio.to_thread(folder.parts, hour)
        for part in set(parts) - set(standing(parts)):  # what does not count any more names them too
            await asyncio.to_thread(folder.delete, part.path)
        for part in standing(parts):
            await taken.keep()
            number = await _part(taken, folder, part, until_ms)
            files, rows = files + (number is not None), rows + (number or 0)
    return Rewritten(files, rows)


async def _part(taken: Taken, folder: Folder, part: Part, until_ms: Mapping[str, int]) -> int | None:
    """Rewrite one file; how many rows it lost, None: it names none of them."""
    if not await asyncio.to_thread(_names_any, folder, part, until_ms):
        return None
    whole = await asyncio.to_thread(folder.table, part.path)
    kept = await asyncio.to_thread(_without, whole, until_ms)
    await published(taken, await asyncio.to_thread(folder.stage, part.path, kept, part.group))
    return int(whole.num_rows - kept.num_rows)


def _names_any(folder: Folder, part: Part, until_ms: Mapping[str, int]) -> bool:
    named = list(until_ms)
    somewhere = [[("customer", "in", named)], [("previous_customer", "in", named)], [("type", "=", CARRY)]]
    table = folder.table(part.path, columns=_NAMES, filters=somewhere)
    return any(_about(table, until_ms)) or any(_mentioning(table, until_ms))


def _without(table: pa.Table, until_ms: Mapping[str, int]) -> pa.Table:
    """The rows that are not about one of them; where one mentions one of them as whom somebody was, it is blank."""
    kept = table.filter(pa.array([not gone for gone in _about(table, until_ms)], pa.bool_()))
    place = kept.schema.get_field_index("previous_customer")
    mentioned = pa.array(_mentioning(kept, until_ms), pa.bool_())
    blank = pc.if_else(mentioned, pa.scalar(None, pa.string()), kept["previous_customer"])
    return kept.set_column(place, kept.schema.field(place), blank)


def _about(table: pa.Table, until_ms: Mapping[str, int]) -> list[bool]:
    """Which rows are about one of them; becoming one of them is."""
    customers, into = table["customer"].to_pylist(), [None] * table.num_rows
    types = table["type"]
    if pc.any(pc.equal(types, CARRY)).as_py():
        texts = zip(types.to_pylist(), table["properties"].to_pylist(), strict=True)
        into = [orjson.loads(text).get("to") if kind == CARRY else None for kind, text in texts]
    rows = zip(customers, into, _received_ms(table), strict=True)
    return [_gone(customer, at, until_ms) or _gone(winner, at, until_ms) for customer, winner, at in rows]


def _mentioning(table: pa.Table, until_ms: Mapping[str, int]) -> list[bool]:
    rows = zip(table["previous_customer"].to_pylist(), _received_ms(table), strict=True)
    return [_gone(customer, at, until_ms) for customer, at in rows]


def _gone(customer: str | None, received_ms: int | None, until_ms: Mapping[str, int]) -> bool:
    until = None if customer is None else until_ms.get(customer)
    return until is not None and received_ms is not None and received_ms <= until


def _received_ms(table: pa.Table) -> list[int | None]:
    found: list[int | None] = table["received_at"].cast(pa.int64()).to_pylist()
    return found
