"""Archives a stream of all shards, group of shards by group: each entry once, whenever this process is killed.

    take the group → read from its positions → note which batch is begun → write its files → commit → workers may trim

A batch that was begun is noted before its first file is written. Whoever comes after a crash makes just that batch
again, over the same files. Only what a commit says counts as archived.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from app.archiving.datasets import EVENT_SET, Dataset, Prepare, events_as_they_are
from app.archiving.folder import Folder, published
from app.archiving.layout import HOUR_MS, Part, hour_of, shards_of_group
from app.archiving.rows import by_hour
from app.archiving.tidy import expire, tidied, untidy_hours
from app.store.archive_known import Known
from app.store.archive_positions import ArchivePositions, Entry, LostGroup, Taken

log = logging.getLogger("nextbest.archive")


#: Of what was read of shards, what may be archived.
Allowed: TypeAlias = Callable[[Mapping[int, list[Entry]]], Awaitable[Mapping[int, list[Entry]]]]


class Visit(NamedTuple):
    """What was done for a group."""

    rows: int
    files: int
    merged: int  # hours that are one file now


class Archivers:
    """The archivers of all datasets, as one."""

    def __init__(self, archivers: Sequence[Archiver]) -> None:
        self._archivers = archivers

    async def begin(self) -> None:
        """As `Archiver.begin`."""
        for each in self._archivers:
            await each.begin()

    async def visit(self, group: int) -> Visit | None:
        """As `Archiver.visit`, of one dataset after the other: what goes wrong with one keeps the later ones waiting
        for the next visit."""
        visits = [visit for each in self._archivers if (visit := await each.visit(group)) is not None]
        return Visit(*map(sum, zip(*visits, strict=True))) if visits else None


class Archiver:
    """One process's archiver of one dataset. `folder`: the archive's own. `rows_max`: of one batch, which is held in
    memory. `keep_ms`: how long rows are kept, by whole days; None: for ever."""

    def __init__(
        self,
        store: ArchivePositions,
        folder: Folder,
        owner: str,
        rows_max: int = 100_000,
        keep_ms: int | None = None,
        allowed: Allowed | None = None,
        dataset: Dataset = EVENT_SET,
        prepare: Prepare = events_as_they_are,
    ) -> None:
        self._store = store.of(dataset.source)
        self._folder = folder.below(dataset.name)
        self._schema = dataset.schema
        self._prepare = prepare
        self._owner = owner
        self._rows_max = rows_max
        self._keep_ms = keep_ms
        self._allowed = allowed

    async def begin(self) -> None:
        """From now on no worker trims what is not archived: before the first visit, which may take its time. Raises
        redis errors."""
        await self._store.announce(range(self._store.keys.shards))

    async def visit(self, group: int, *, tidy: bool = True) -> Visit | None:
        """Archive all that a group's streams hold by now. None: another process is at it, or took over.

        Raises OSError where files cannot be written (a full disk): nothing is lost, the streams keep what they hold.
        Raises redis errors.
        """
        shards = shards_of_group(group, self._store.keys.shards)
        taken = await self._store.take(group, self._owner) if shards else None
        if taken is None:
            return None
        try:
            # Whoever had the group before may be frozen in the middle of a file: now it cannot publish it any more.
            await asyncio.to_thread(self._folder.clear, group)
            now_ms = await self._store.now_ms()
            rows, files = await self._archive(taken, shards)
            hours = await self._tidy(taken, now_ms) if tidy else 0
            return Visit(rows, files, hours)
        except LostGroup:
            log.warning("another process took over a group of the archive", extra={"group": group})
            return None
        finally:
            with suppress(LostGroup):
                await taken.give_back()

    async def _archive(self, taken: Taken, shards: Sequence[int]) -> tuple[int, int]:
        rows = files = 0
        if taken.known.whole_from_ms is None:
            await self._store.announce(shards)
        while True:
            known = taken.known
            after = {shard: known.position(shard) for shard in shards}
            read = await self._store.read(after, known.begun, self._rows_max)
            if known.whole_from_ms is None:
                since_ms = await self._store.whole_from_ms(shards, await self._store.now_ms())
                known = replace(known, whole_from_ms=since_ms)
            number = sum(map(len, read.values()))
            if number or known.begun is not None:
                files += await self._batch(taken, known, read)
                rows += number
            elif known != taken.known:
                await taken.keep(known)
            if number < self._rows_max and known.begun is None:
                return rows, files

    async def _batch(self, taken: Taken, known: Known, read: Mapping[int, list[Entry]]) -> int:
        """Write a batch and commit it; how many files it is."""
        ends = {shard: entries[-1].id for shard, entries in read.items() if entries}
        if known.begun is None:
            known = replace(known, begun=ends)
            await taken.keep(known)
        allowed = read if self._allowed is None else await self._allowed(read)
        rows_of = await self._prepare(allowed)
        hours = await asyncio.to_thread(by_hour, allowed, self._schema, rows_of)
        for hour_ms, rows in hours.items():
            part = Part(hour_ms, taken.group, known.batches, known.batches)
            staged = await asyncio.to_thread(lambda: self._folder.stage(part.path, rows.table(), taken.group))  # noqa: B023  # awaited before the loop goes on
            await published(taken, staged)
        # An entry that was erased since the batch was begun is not in `read`: the position moves on all the same.
        positions = {**known.positions, **(known.begun or {}), **ends}
        await taken.keep(replace(known, batches=known.batches + 1, positions=positions, begun=None))
        await self._store.acknowledge({**(known.begun or {}), **ends})
        return len(hours)

    async def _tidy(self, taken: Taken, now_ms: int) -> int:
        """Make one file of each hour that is over: the streams were read to their ends after `now_ms`."""
        over_ms = hour_of(now_ms)
        if taken.known.tidied_ms >= over_ms - HOUR_MS:
            return 0
        hours = await asyncio.to_thread(untidy_hours, self._folder, taken.group, taken.known.tidied_ms, over_ms)
        for hour_ms, parts in hours.items():
            await tidied(taken, self._folder, self._schema, hour_ms, parts)
        whole_from_ms = await self._expire(taken, now_ms)
        # The hour before is looked at once more: a stream's ids may run ahead of its clock.
        await taken.keep(replace(taken.known, tidied_ms=over_ms - HOUR_MS, whole_from_ms=whole_from_ms))
        return len(hours)

    async def _expire(self, taken: Taken, now_ms: int) -> int | None:
        """Delete days that are older than rows are kept; since when the archive is whole then."""
        whole_from_ms = taken.known.whole_from_ms
        if self._keep_ms is None:
            return whole_from_ms
        ended_ms = await asyncio.to_thread(expire, self._folder, taken.group, now_ms - self._keep_ms)
        return whole_from_ms if ended_ms is None else max(whole_from_ms or 0, ended_ms)
