"""The archive and customers who were erased: nothing of them is archived, and what was is taken out. Here, since
servers do not import what reads Parquet."""

from __future__ import annotations

from collections.abc import Mapping

from app.archiving.datasets import EVENT_SET, Dataset
from app.archiving.folder import Folder
from app.archiving.rewrite import rewrite_without
from app.core.erasure import Step, Taken
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
    store: ArchivePositions, tombstones: Tombstones, read: Mapping[int, list[Entry]], dataset: Dataset = EVENT_SET
) -> dict[int, list[Entry]]:
    """What was read of streams, by shard, without what their workers drop: events of customers who were erased. Only
    shards of which anybody ever was are looked at. Raises redis errors, Problem."""
    touched = await store.with_erasures(shard for shard, entries in read.items() if entries)
    about = {shard: [dataset.whose(entry) for entry in read[shard]] for shard in touched}
    names = {each[0] for of_shard in about.values() for each in of_shard if each is not None}
    erased = await tombstones.erased_among(names) if names else {}
    until_ms = {name: each.until_ms for name, each in erased.items()}
    if not until_ms:
        return dict(read)
    kept = dict(read)
    for shard, of_shard in about.items():
        kept[shard] = [
            entry
            for entry, each in zip(read[shard], of_shard, strict=True)
            if each is None or each[1] > until_ms.get(each[0], -1)
        ]
    return kept
