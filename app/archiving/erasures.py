"""The archive and customers who were erased: nothing of them is archived, and what was is taken out. Here, since
servers do not import what reads Parquet."""

from __future__ import annotations

from collections.abc import Mapping

from app.archiving.folder import Folder
from app.archiving.rewrite import rewrite_without
from app.core.erasure import Step, Taken
from app.core.events.entry import decode
from app.store.archive_positions import ArchivePositions, Entry
from app.store.erasure import Tombstones
from app.store.erasure_jobs import ErasureJobs


async def take_erasures_on(jobs: ErasureJobs, tombstones: Tombstones, store: ArchivePositions, folder: Folder) -> int:
    """Rewrite the files that name customers whose erasure waits for it; how many erasures that were. The servers go on
    with them. Raises ArchiveBusy, OSError, redis errors, Problem: then it is done again."""
    due = [job for job in await jobs.open() if job.next_step is Step.ARCHIVE]
    if due:
        erased = await tombstones.erased_among(name for job in due for name in job.names)
        until_ms = {
            name: erased[name].until_ms if name in erased else job.erased_ms for job in due for name in job.names
        }
        done = await rewrite_without(store, folder, until_ms)
        at_ms = await store.now_ms()
        note = "" if len(due) == 1 else f"rows of {len(due)} erasures that were done together"
        taken = {job.erasure: Taken(Step.ARCHIVE, done.rows, at_ms, note) for job in due}
        await jobs.record(list(taken), taken)
        await jobs.wake(taken)
    return len(due)


async def without_erased(
    store: ArchivePositions, tombstones: Tombstones, read: Mapping[int, list[Entry]]
) -> dict[int, list[Entry]]:
    """What was read of streams, by shard, without what their workers drop: events of customers who were erased. Only
    shards of which anybody ever was are looked at. Raises redis errors, Problem."""
    touched = await store.with_erasures(shard for shard, entries in read.items() if entries)
    customers = {shard: [_customer(entry) for entry in read[shard]] for shard in touched}
    names = {name for of_shard in customers.values() for name in of_shard if name is not None}
    erased = await tombstones.erased_among(names) if names else {}
    until_ms = {name: each.until_ms for name, each in erased.items()}
    if not until_ms:
        return dict(read)
    kept = dict(read)
    for shard, of_shard in customers.items():
        kept[shard] = [
            entry
            for entry, name in zip(read[shard], of_shard, strict=True)
            if name not in until_ms or decode(entry.raw).received_at_ms > until_ms[name]
        ]
    return kept


def _customer(entry: Entry) -> str | None:
    """None: it cannot be read."""
    try:
        return decode(entry.raw).customer
    except (ValueError, TypeError, LookupError):
        return None
