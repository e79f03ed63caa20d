"""The way of an event from its shard's stream into its customer's features.

    read → look up → drop repeats → who belongs to whom → fold → append to other streams → commit → watermarks, trim

Everything before the commit may be done again, by this worker or by the next one: it changes nothing, or something
that a repeat does not change any more. The commit is one step of the store: what was seen, the features, the position.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from app.core.events.event import Collected
from app.core.features.chunk import Chunk, Results
from app.core.features.working import work
from app.errors import Problem

if TYPE_CHECKING:  # handed in by the composition root
    from app.core.features.chunk import Worked
    from app.core.features.plan import FoldPlan
    from app.store.fold_store import Backlog, Commit, FoldStore
    from app.store.shard_leases import Held, ShardLeases
    from app.store.watermarks import Watermarks

#: How often streams are looked at when there is nothing to do, in s. An event waits half as long on average.
LOOK_EVERY_S = 0.2
#: Shards whose chunks are worked on together: enough to share round trips, few enough that thousands of entries at once
#: stay thousands.
TOGETHER = 64
#: How often leases are renewed and shares are made, and what is less urgent than events is done, in s.
TEND_EVERY_S = 1.0
#: The pause after a failure, in s, doubled up to the longest one.
PAUSE_S, PAUSE_S_MAX = 0.1, 2.0

log = logging.getLogger("nextbest.worker")


class Identity(Protocol):
    """Learns who belongs to whom."""

    async def apply(self, entries: Sequence[Collected]) -> None:
        """Applies what entries link. Idempotent: a chunk that was not committed is applied again."""


class EventWorker:
    """Works off the shards that it holds. One a process."""

    def __init__(
        self,
        leases: ShardLeases,
        store: FoldStore,
        watermarks: Watermarks,
        plan: FoldPlan,
        identity: Identity | None,
        count: Callable[[Results, int], None],
    ) -> None:
        """`count(result, n)` is for metrics."""
        self._leases = leases
        self._store = store
        self._watermarks = watermarks
        self._plan = plan
        self._identity = identity
        self._count = count
        self.held: dict[int, Held] = {}
        self._types_ms: dict[str, int] = {}  # what is to be told of event types
        self._told_ms: dict[int, int] = {}  # shard → what was told of it
        self.lag_ms = 0  # of the shard that is the most behind, at the last look

    async def run(self, stopped: asyncio.Event) -> None:
        """Work until it is stopped; then give everything back."""
        tending = asyncio.create_task(self._keep_tending(stopped))
        try:
            await self._keep_working(stopped)
        finally:
            tending.cancel()
            await asyncio.wait([tending])
            await self._leave()

    async def _keep_working(self, stopped: asyncio.Event) -> None:
        pause_s = PAUSE_S
        while not stopped.is_set():
            try:
                more = await self.look()
            except Exception as error:  # the store is away, or refuses: nothing is lost, since nothing was committed
                self._failed("events are not worked off", error)
                await _waited(stopped, pause_s)
                pause_s = min(PAUSE_S_MAX, 2 * pause_s)
                continue
            pause_s = PAUSE_S
            if not more:
                await _waited(stopped, LOOK_EVERY_S)

    async def _keep_tending(self, stopped: asyncio.Event) -> None:
        announced = False
        while not stopped.is_set():
            try:
                if not announced:
                    await self._leases.announce()
                    announced = True
                await self.tend()
            except Exception as error:
                self._failed("shards are not shared", error)
            await _waited(stopped, TEND_EVERY_S)

    def _failed(self, what: str, error: Exception) -> None:
        log.warning("%s: `%s`", what, type(error).__name__)

    async def look(self) -> bool:
        """Work off a chunk of each shard that is held; whether there is more."""
        shards = list(self.held.values())
        more, lag_ms = False, 0
        for at in range(0, len(shards), TOGETHER):
            backlogs = await self._work(shards[at : at + TOGETHER])
            more = more or any(each.more for each in backlogs)
            lag_ms = max(lag_ms, *(each.lag_ms for each in backlogs))
        self.lag_ms = lag_ms
        return more

    async def _work(self, shards: Sequence[Held]) -> Sequence[Backlog]:
        try:
            backlogs = await self._store.read(shards)
            commits = await self._worked(backlogs)
            if commits:
                await self._commit(commits)
        except Exception:
            # A commit whose answer did not come may have been applied: what is known of these shards is read again.
            for each in shards:
                self._forget(each)
            raise
        for backlog in backlogs:
            backlog.note_applied()
        return backlogs

    async def _worked(self, backlogs: Sequence[Backlog]) -> list[Commit]:
        """What the chunks come to; what other streams get is written already."""
        waiting = [each for each in backlogs if each.entries]
        if not waiting:
            return []
        now_ms = waiting[0].read_ms
        chunks = [(each.held, Chunk.of(each.entries, now_ms)) for each in waiting]
        known = await self._store.look_up(chunks, now_ms)
        fresh = [chunk.fresh(each.seen, each.erased) for (_, chunk), each in zip(chunks, known, strict=True)]
        await self._link([(chunk, entries) for (_, chunk), entries in zip(chunks, fresh, strict=True)])
        commits = [
            backlog.commit(chunk, work(self._plan, chunk, entries, each.stored), each)
            for backlog, (_, chunk), each, entries in zip(waiting, chunks, known, fresh, strict=True)
        ]
        await self._store.append([entry for each in commits for entry in each.worked.onward])
        return commits

    async def _link(self, chunks: Sequence[tuple[Chunk, list[Collected]]]) -> None:
        """Have it learnt who belongs to whom."""
        if self._identity is None:
            return
        links = [entry for _, entries in chunks for entry in entries if entry.edges or entry.previous]
        try:
            if links:
                await self._identity.apply(links)
        except Problem:  # the store's
            raise
        except Exception:  # which of them cannot be taken is told one by one, and costs itself alone
            for chunk, entries in chunks:
                for entry in [each for each in entries if each.edges or each.previous]:
                    try:
                        await self._identity.apply([entry])
                    except Problem:
                        raise
                    except Exception as error:
                        entries.remove(entry)
                        chunk.put_aside(entry, f"whom it links cannot be learnt (`{type(error).__name__}`)")

    async def _commit(self, commits: Sequence[Commit]) -> None:
        for commit, committed in zip(commits, await self._store.commit(commits), strict=True):
            if committed.is_done:
                self._counted(commit.worked)
            else:
                log.info("a chunk of events was not applied", extra={"shard": commit.held.shard, "why": committed.name})
                if committed.is_ours_no_more:
                    self._forget(commit.held)

    def _counted(self, worked: Worked) -> None:
        for result, n in worked.counts.items():
            self._count(result, n)
        for name, ms in worked.received_ms.items():
            if ms > self._types_ms.get(name, 0):
                self._types_ms[name] = ms
        for kind, n in worked.surprises.items():
            log.error("a fold failed: its events are among the dead letters", extra={"kind": kind, "events": n})

    def _forget(self, held: Held) -> None:
        if self.held.get(held.shard) is held:
            del self.held[held.shard]
            self._told_ms.pop(held.shard, None)

    async def tend(self) -> None:
        """Renew what is held, take or give back for an equal share, tell watermarks, let go of what is applied."""
        living = await self._leases.alive()
        for lost in await self._leases.renew(list(self.held.values())):
            self._forget(lost)
        quota = self._leases.quota(living)
        await self._give_back(len(self.held) - quota)
        await self._take(quota - len(self.held))
        await self._tell()
        await self._store.trim(list(self.held.values()))

    async def _give_back(self, number: int) -> None:
        if number > 0:
            given = sorted(self.held.values(), key=lambda each: each.shard)[-number:]
            for each in given:
                self._forget(each)
            await self._leases.give_back(given)

    async def _take(self, number: int) -> None:
        if number > 0:
            free = await self._leases.free([shard for shard in range(self._leases.shards) if shard not in self.held])
            taken = await self._leases.take(free[:number])
            await self._store.begin(taken)
            for each in taken:
                self.held[each.shard] = each

    async def _tell(self) -> None:
        types, self._types_ms = self._types_ms, {}
        shards = {
            shard: held.applied_until_ms
            for shard, held in self.held.items()
            if held.applied_until_ms > self._told_ms.get(shard, 0)
        }
        try:
            await self._watermarks.raise_to(types, shards)
        except BaseException:
            for name, ms in types.items():
                self._types_ms[name] = max(ms, self._types_ms.get(name, 0))
            raise
        self._told_ms |= shards

    async def _leave(self) -> None:
        held, self.held = list(self.held.values()), {}
        try:
            await self._leases.give_back(held)
            await self._leases.leave()
        except Exception as error:  # then they end by themselves
            self._failed("leases end by themselves", error)


async def _waited(stopped: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stopped.wait()
    except TimeoutError:
        pass
