"""Reading the archive, and what the streams hold beyond it: every entry once, each shard's in their order.

Memory is bounded: rows come file by file, and ids, by which repeats are told, are held for one slice of a group at a
time, the more slices the more rows there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from app.archiving.columns import FOLDED, Passed, Rows, passed
from app.archiving.folder import Folder
from app.archiving.layout import GROUPS, Part, group_of, hour_folder, shards_of_group, standing
from app.core.erasure import FOR_EVER
from app.core.features.streams import CARRY, Carry
from app.store.archive_positions import ArchivePositions, Entry, Known, order
from app.store.erasure_jobs import ErasureJobs

#: Rows whose ids are held at once: two sets of 64-bit numbers, some 200 bytes a row with what is around them.
ROWS_A_SLICE = 3_000_000

#: How often an hour is listed again whose files vanish: an archiver makes one of many once an hour.
ATTEMPTS = 5


class Slice(NamedTuple):
    """Some shards of a group, the hours in which anything was archived, and about how many rows that is."""

    group: int
    shards: list[int]
    hours: list[int]
    rows: int


class Snapshot(NamedTuple):
    """What passed, as far as it is known at one moment."""

    folder: Folder
    shards: int
    known: Mapping[int, Known]  # group → how far its archive is
    beyond: Mapping[int, Sequence[Entry]]  # shard → what its stream holds after that
    #: Customers who are being erased → until when what was received is nobody's: the files still name them.
    erased: Mapping[str, int]

    @property
    def whole_from_ms(self) -> int | None:
        """Of what passed since then nothing is missing; 0: nothing ever; None: nobody knows."""
        since = [each.whole_from_ms for each in self.known.values()]
        return max((each for each in since if each is not None), default=0) if None not in since else None

    def hours(self, group: int) -> list[int]:
        """The hours of which there is a file, the earliest first."""
        found = [part for hour in self.folder.hour_folders(group) for part in self.folder.parts(hour)]
        return sorted({part.hour_ms for part in found})

    def rows(self, group: int, shards: Sequence[int], hours: Sequence[int]) -> Iterator[Passed]:
        """The rows of some of a group's shards."""
        ends = {shard: order(self.known[group].position(shard)) for shard in shards}
        everything = len(shards) == len(shards_of_group(group, self.shards))
        only = None if everything else [("shard", "in", list(shards))]
        for hour_ms in hours:
            for part, table in self._tables(group, hour_ms, only):
                late = part.last >= self.known[group].batches  # not committed then: the streams have what is in it
                for row in _passed(table):
                    if not late or order(row.position) <= ends[row.shard]:
                        yield row
        yield from self._beyond(shards)

    def _tables(self, group: int, hour_ms: int, filters: list[Any] | None) -> list[tuple[Part, pa.Table]]:
        """The files of an hour. All are opened before any is used: the archiver may be making one of them."""
        for _ in range(ATTEMPTS):
            with suppress(FileNotFoundError):
                parts = standing(self.folder.parts(hour_folder(hour_ms, group)))
                return [(part, self.folder.table(part.path, columns=list(FOLDED), filters=filters)) for part in parts]
        raise FileNotFoundError("files of the archive vanish while they are read: does something else delete there?")

    def _beyond(self, shards: Sequence[int]) -> Iterator[Passed]:
        rows = Rows()
        for shard in shards:
            for entry in self.beyond.get(shard, ()):
                rows.add(shard, entry)
        for batch in rows.table().to_batches():
            yield from passed(batch)

    def slices(self) -> Iterator[Slice]:
        """All that there is, in pieces."""
        for group in range(min(GROUPS, self.shards)):
            hours = self.hours(group)
            rows = sum(self._rows_of(group, hour_ms) for hour_ms in hours)
            shards = list(shards_of_group(group, self.shards))
            pieces = min(len(shards), rows // ROWS_A_SLICE + 1)
            for piece in range(pieces):
                yield Slice(group, shards[piece::pieces], hours, rows // pieces)

    def _rows_of(self, group: int, hour_ms: int) -> int:
        """About how many: a file that vanishes meanwhile is another one now."""
        number = 0
        for part in standing(self.folder.parts(hour_folder(hour_ms, group))):
            with suppress(FileNotFoundError):
                number += self.folder.rows(part.path)
        return number

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
        for group in range(min(GROUPS, self.shards)):
            for hour_ms in self.hours(group):
                for _, table in self._tables(group, hour_ms, [("type", "=", CARRY)]):
                    yield from _passed(table)
        yield from self._beyond(list(self.beyond))


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
    """All that passed by now, or up to an entry of each shard. Raises redis errors, OSError, Problem."""
    shards = store.keys.shards
    groups = range(min(GROUPS, shards))
    known = {group: await store.known(group) for group in groups}
    after = {shard: known[group_of(shard)].position(shard) for shard in range(shards)}
    if up_to is not None:
        beyond = await store.read(after, up_to, 0)
    else:
        ends = await store.ends(range(shards))
        beyond = await store.read(after, ends, 0)
    if any(each.whole_from_ms is None for each in known.values()):
        since_ms = await store.whole_from_ms(range(shards), await store.now_ms())
        known = {
            group: each if each.whole_from_ms is not None else Known(whole_from_ms=since_ms)
            for group, each in known.items()
        }
    return Snapshot(folder, shards, known, beyond, await being_erased(store))
