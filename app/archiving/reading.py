"""Reading the archive of events, and what the streams hold beyond it: every entry once, each shard's in their order.

Memory is bounded: rows come file by file, and ids, by which repeats are told, are held for one slice of a group at a
time, the more slices the more rows there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from app.archiving.belonging import check
from app.archiving.columns import FOLDED, SCHEMA, Passed, passed, rows_of
from app.archiving.folder import Folder
from app.archiving.layout import GROUPS, Part, group_of, hour_folder, shards_of_group, standing
from app.archiving.rows import Rows
from app.core.erasure import FOR_EVER
from app.core.features.streams import CARRY, Carry
from app.store.archive_known import Known
from app.store.archive_positions import ArchivePositions, Entry, order
from app.store.erasure_jobs import ErasureJobs

#: Bytes of files whose rows' ids are held at once: some 3 million rows, 200 bytes each with what is around them.
BYTES_A_SLICE = 100_000_000
#: How often an hour is listed again whose files vanish: an archiver makes one of many once an hour.
ATTEMPTS = 5


Progress = Callable[[int], None]  # files of an hour that were read since the last time


class Slice(NamedTuple):
    """Some shards of a group, and the hours in which anything was archived, the earliest first."""

    group: int
    shards: list[int]
    hours: list[int]


class Snapshot(NamedTuple):
    """What passed, as far as it is known at one moment."""

    folder: Folder
    shards: int
    known: Mapping[int, Known]  # group → how far its archive is
    beyond: Mapping[int, Sequence[Entry]]  # shard → what its stream holds after that
    hours: Mapping[int, Mapping[int, int]]  # group → hour → bytes of its files
    #: Customers who are being erased → until when what was received is nobody's: the files still name them.
    erased: Mapping[str, int]

    @property
    def whole_from_ms(self) -> int | None:
        """Of what passed since then nothing is missing; 0: nothing ever; None: nobody knows."""
        since = [each.whole_from_ms for each in self.known.values()]
        return max((each for each in since if each is not None), default=0) if None not in since else None

    def rows(self, piece: Slice, progress: Progress) -> Iterator[Passed]:
        """The rows of some of a group's shards."""
        group, shards, hours = piece
        ends = {shard: order(self.known[group].position(shard)) for shard in shards}
        everything = len(shards) == len(shards_of_group(group, self.shards))
        only = None if everything else [("shard", "in", list(shards))]
        for hour_ms in hours:
            for part, table in self._tables(group, hour_ms, only):
                late = part.last >= self.known[group].batches  # not committed then: the streams have what is in it
                for row in _passed(table):
                    if not late or order(row.position) <= ends[row.shard]:
                        yield row
            progress(1)
        yield from self._beyond(shards)

    def _tables(self, group: int, hour_ms: int, filters: list[Any] | None) -> list[tuple[Part, pa.Table]]:
        """The files of an hour. All are opened before any is used: the archiver may be making one of them."""
        for _ in range(ATTEMPTS):
            with suppress(FileNotFoundError):
                parts = standing(self.folder.parts(hour_folder(hour_ms, group)))
                return [(part, self.folder.table(part.path, columns=list(FOLDED), filters=filters)) for part in parts]
        raise FileNotFoundError("files of the archive vanish while they are read: does something else delete there?")

    def _beyond(self, shards: Sequence[int]) -> Iterator[Passed]:
        rows = Rows(SCHEMA, rows_of)
        for shard in shards:
            for entry in self.beyond.get(shard, ()):
                rows.add(shard, entry)
        for batch in rows.table().to_batches():
            yield from passed(batch)

    def slices(self, until_ms: int | None = None) -> Iterator[Slice]:
        """All that there is (up to an hour), in pieces."""
        for group in range(min(GROUPS, self.shards)):
            hours = sorted(hour for hour in self.hours.get(group, ()) if until_ms is None or hour <= until_ms)
            size = sum(self.hours[group][hour] for hour in hours)
            shards = list(shards_of_group(group, self.shards))
            pieces = min(len(shards), size // BYTES_A_SLICE + 1)
            for piece in range(pieces):
                yield Slice(group, shards[piece::pieces], hours)

    def carries(self, until_ms: int | None = None) -> dict[str, Carry]:
        """Who became whom (by `until_ms`). Cheap: files without such rows are told by their statistics."""
        found: dict[str, Carry] = {}
        for row in self._own_rows():
            if row.type == CARRY and (until_ms is None or row.appended_ms <= until_ms):
                winner = orjson.loads(row.properties).get("to")
                if isinstance(winner, str):
                    found.setdefault(row.customer, Carry(winner, order(row.position), row.appended_ms))
        return found

    def _own_rows(self) -> Iterator[Passed]:
        for group, by_hour in self.hours.items():
            for hour_ms in sorted(by_hour):
                if self._has_carries(group, hour_ms):
                    for _, table in self._tables(group, hour_ms, [("type", "=", CARRY)]):
                        yield from _passed(table)
        yield from self._beyond(list(self.beyond))

    def _has_carries(self, group: int, hour_ms: int) -> bool:
        with suppress(FileNotFoundError):
            parts = standing(self.folder.parts(hour_folder(hour_ms, group)))
            return any(self.folder.may_hold(part.path, "type", CARRY) for part in parts)
        return True


def _passed(table: pa.Table) -> Iterator[Passed]:
    for batch in table.to_batches(16_384):
        yield from passed(batch)


async def being_erased(store: ArchivePositions) -> dict[str, int]:
    """Customers whose erasure is under way → until when (Unix ms) what was received of them is nobody's. Raises
    Problem."""
    until_ms: dict[str, int] = {}
    for job in await ErasureJobs(store.client).open():
        until_ms |= dict.fromkeys(job.names, job.erased_ms or FOR_EVER)
    return until_ms


async def snapshot(store: ArchivePositions, folder: Folder, up_to: Mapping[int, bytes] | None = None) -> Snapshot:
    """All that passed by now, or up to an entry of each shard. Raises WrongArchive, redis errors, OSError,
    Problem."""
    await check(store, folder)
    folder = folder.below(store.source.name)
    shards = store.keys.shards
    groups = range(min(GROUPS, shards))
    while True:
        known = {group: await store.known(group) for group in groups}
        after = {shard: known[group_of(shard)].position(shard) for shard in range(shards)}
        beyond = await store.read(after, up_to if up_to is not None else await store.ends(range(shards)), 0)
        # What was archived meanwhile may have been trimmed before it was read here.
        if known == {group: await store.known(group) for group in groups}:
            break
    if any(each.whole_from_ms is None for each in known.values()):
        since_ms = await store.whole_from_ms(range(shards), await store.now_ms())
        known = {
            group: each if each.whole_from_ms is not None else Known(whole_from_ms=since_ms)
            for group, each in known.items()
        }
    hours: dict[int, dict[int, int]] = {}
    for part, size in (await asyncio.to_thread(folder.sizes)).items():
        of_group = hours.setdefault(part.group, {})
        of_group[part.hour_ms] = of_group.get(part.hour_ms, 0) + size
    return Snapshot(folder, shards, known, beyond, hours, await being_erased(store))
