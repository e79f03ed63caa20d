"""Erasing a customer: at once for whoever asks, and then everywhere, which any process can finish.

    note        that it shall be, before anything is deleted
    customer    all that lies under the customer's key, in one step that leaves a tombstone; then the caller is answered
    identities  what was told of who that is; customers who had become this one
    decisions   records in the log
    receipts    idempotency records, pointers of decisions, outcomes
    events      entries of the streams, dead letters
    archive     files that name the customer: by the archiver, the only process that may have them open
    append-only file   the store's own file, last, since it holds all that was deleted before

1. Every step is harmless to repeat, also beside another process that is at it. Whoever dies leaves the note.
2. What is swept up is done for all erasures that wait together: a thousand of them take one pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from app.core.erasure import DONE_WITHIN_MS, FOR_EVER, Erased, Job, Step, Taken
from app.ending import end_task
from app.errors import Problem

if TYPE_CHECKING:  # handed in by the composition root
    from app.flows.merge import Merges
    from app.store.erasure import Tombstones
    from app.store.erasure_jobs import ErasureJobs
    from app.store.erasure_sweeps import Sweeps

log = logging.getLogger("nextbest.erasure")

LOOK_EVERY_S = 2.0
#: Whoever is at an erasure says so every few seconds.
LEFT_AFTER_MS = 10_000
HOLD_EVERY_S = 3.0
AT_ONCE_MAX = 1_000
#: How long to wait for a merge that the customer is part of.
WAIT_S = 0.05
TRIES = 40

#: Rewrites the archive without these customers, each until a time (Unix ms); how many rows that were.
Archive: TypeAlias = Callable[[Mapping[str, int]], Awaitable[int]]


class Erasures:
    """Erases customers, and finishes erasures that others left. One a process: `start()` on the loop, `close()`."""

    def __init__(
        self,
        tombstones: Tombstones,
        jobs: ErasureJobs,
        sweeps: Sweeps,
        merges: Merges,
        hashed: Callable[[str], str],
        new_id: Callable[[], str],
        groups: int,
        write_anew: Callable[[], Awaitable[str]],
        archive: Archive | None = None,
    ) -> None:
        """`hashed` gives what stands for a customer in receipts, `new_id` the id of one. `groups`: of the archive.
        `write_anew` has the store write its own file anew, and says what could not be; `archive` rewrites the archive,
        None: that is left to the archiver."""
        self._tombstones = tombstones
        self._jobs = jobs
        self._sweeps = sweeps
        self._merges = merges
        self._hashed = hashed
        self._new_id = new_id
        self._groups = groups
        self._write_anew = write_anew
        self._archive = archive
        self._due = asyncio.Event()
        self._overdue: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._look_after(), name="erasures")

    async def close(self) -> None:
        await end_task(self._task)

    async def erase(self, customer: str, who: str) -> Job:
        """Erase a customer, known or not, and whoever became it or it became. When this returns nothing of it is used
        any more; the rest follows. Repeating it gives the same erasure.

        Raises Problem: `merge_under_way`, `store_unavailable`, `durability_unmet`; the erasure may be under way then.
        """
        name = await self._tombstones.became(customer)
        standing = await self._tombstones.standing(name)
        job = await self._jobs.get(standing.erasure) if standing is not None and standing.erasure is not None else None
        if job is None:
            job = await self._jobs.begin(self._new_id(), name, self._hashed(name), who)
        if job.erased_ms == 0:
            job = await self._tombstone(job)
        self._due.set()
        return job

    async def work(self, older_than_ms: int = LEFT_AFTER_MS) -> int:
        """Go on with erasures that nobody was at for a while, as far as can be gone; how many there were."""
        jobs = await self._jobs.take(older_than_ms, AT_ONCE_MAX)
        if jobs:
            holding = asyncio.create_task(self._hold(jobs))
            try:
                await self._all_steps(jobs)
            finally:
                await end_task(holding)
        return len(jobs)

    async def finish(self, job: Job) -> Job:
        """Do all that can be done of one now. What it waits for is `next_step` then."""
        await self._all_steps([job])
        return await self._jobs.get(job.erasure) or job

    async def receipt(self, erasure: str) -> Job | None:
        """How far an erasure is; None: there is none of that id."""
        return await self._jobs.get(erasure)

    async def _tombstone(self, job: Job) -> Job:
        """The customer's own slot. The job becomes that of an earlier erasure, where there was one."""
        name = job.name
        for _ in range(TRIES):
            erased = await self._tombstones.erase(name, job.erasure)
            if erased is None:  # what another customer held is on its way into this one
                await self._merges.finish_into(name)
                await asyncio.sleep(WAIT_S)
            elif isinstance(erased, Erased):
                return await self._noted(job, name, erased)
            else:
                name = erased.customer
        raise Problem("merge_under_way", "wait until it is done, then erase again", retry_after_s=1)

    async def _noted(self, job: Job, name: str, erased: Erased) -> Job:
        if erased.erasure != job.erasure:
            earlier = await self._jobs.get(erased.erasure or "")
            if earlier is not None:
                await self._jobs.drop(job.erasure)
                return earlier
        names = await self._tombstones.all_who_became(name)
        hashes = tuple(self._hashed(each) for each in names)
        await self._jobs.erased(job, erased.at_ms, names, hashes)
        return await self._jobs.get(job.erasure) or replace(job, erased_ms=erased.at_ms, names=names, hashes=hashes)

    async def _all_steps(self, jobs: list[Job]) -> None:
        for job in [job for job in jobs if job.erased_ms == 0]:  # noted, and then whoever noted it died
            jobs[jobs.index(job)] = await self._tombstone(job)
        waiting = [job for job in jobs if job.done_ms is None and job.names]
        for step in Step:
            due = [job for job in waiting if job.next_step is step]
            if not due:
                continue
            taken = await self._step(step, due)
            if taken is None:
                self._say_what_waits(due, await self._jobs.now_ms())
                waiting = [job for job in waiting if job not in due]
                continue
            await self._jobs.record([job.erasure for job in due], taken)
            waiting = [replace(job, steps=(*job.steps, taken[job.erasure])) if job in due else job for job in waiting]
        for job in waiting:
            if job.next_step is None:
                await self._jobs.finish(job.erasure)

    async def _step(self, step: Step, jobs: list[Job]) -> dict[str, Taken] | None:
        """Do a step for all of these. None: it is somebody else's, and not done yet."""
        counts: Counter[str] = Counter()
        note = ""
        match step:
            case Step.IDENTITIES:
                counts = await self._sweeps.identities(jobs)
            case Step.DECISIONS:
                counts = await self._sweeps.decisions(jobs)
            case Step.RECEIPTS:
                counts = await self._sweeps.receipts(jobs)
            case Step.EVENTS:
                counts = await self._sweeps.events(jobs, await self._until_ms(jobs))
            case Step.ARCHIVE:
                if self._archive is not None:
                    until_ms = await self._until_ms(jobs)
                    names = {name: until_ms[job.erasure] for job in jobs for name in job.names}
                    counts[jobs[0].erasure] = await self._archive(names)
                elif await self._sweeps.has_archive(self._groups):
                    return None
                else:
                    note = "nothing is archived"
            case Step.APPEND_ONLY_FILE:
                note = await self._write_anew()
        at_ms = await self._jobs.now_ms()
        return {job.erasure: Taken(step, counts[job.erasure], at_ms, note) for job in jobs}

    async def _until_ms(self, jobs: Sequence[Job]) -> dict[str, int]:
        """Until when events are nobody's: while nobody has consented anew, all of them."""
        erased = await self._tombstones.erased_among(job.name for job in jobs)
        ends = {job.erasure: erased.get(job.name) for job in jobs}
        return {
            job.erasure: FOR_EVER if (end := ends[job.erasure]) and end.erasure == job.erasure else job.erased_ms
            for job in jobs
        }

    def _say_what_waits(self, jobs: Sequence[Job], now_ms: int) -> None:
        late = {job.erasure for job in jobs if now_ms - job.requested_ms > DONE_WITHIN_MS} - self._overdue
        if late:
            self._overdue |= late
            log.warning("erasures wait for the archive for more than an hour: does `nextbest archive` run?")

    async def _hold(self, jobs: Sequence[Job]) -> None:
        while True:
            await asyncio.sleep(HOLD_EVERY_S)
            with contextlib.suppress(Exception):
                await self._jobs.hold(jobs)

    async def _look_after(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._due.wait(), LOOK_EVERY_S)
            self._due.clear()
            try:
                await self.work()
            except Exception as error:  # the store is away, or a merge is in the way: the next look tries again
                said = error.detail if isinstance(error, Problem) else type(error).__name__
                log.debug("erasures could not go on: %s", said)
