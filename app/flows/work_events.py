"""The way of an event from its shard's stream into its customer's features.

    read → look up → drop repeats → who belongs to whom → whose conversion it is → fold → append to other streams
         → commit → watermarks, trim

Everything before the commit may be done again, by this worker or by the next one: it changes nothing, or something
that a repeat does not change any more. The commit is one step of the store: what was seen, the features, the position.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from app.core.events.event import Collected
from app.core.features.chunk import Chunk, Results, ids_of
from app.core.features.working import work
from app.ending import end_task
from app.errors import Problem
from app.flows.share_shards import ShardShare

if TYPE_CHECKING:  # handed in by the composition root
    from app.core.features.chunk import Worked
    from app.core.features.plan import FoldPlan
    from app.store.fold_steps import Backlog, Commit, Known
    from app.store.fold_store import FoldStore
    from app.store.shard_leases import Held, ShardLeases
    from app.store.watermarks import Watermarks

#: How often streams are looked at when there is nothing to do, in s. An event waits half as long on average.
LOOK_EVERY_S = 0.2
#: Shards whose chunks are worked on together. Decisions wait for the store while it works on what was asked at once:
#: with 64 shards (and 8 commits) a decision's p99 beside 2,000 events/s was 2.4 to 2.9 times that without, with 8 (and
#: 2) 1.3 to 2.1.
TOGETHER = 8
#: The same while nothing waits: to look at an empty stream takes the store half a microsecond, and a round trip us 25.
TOGETHER_IDLE = 64
#: Commits sent at once: the store runs them one after the other, some 40 µs each, and decisions wait that long.
COMMITS_TOGETHER = 2
#: How often leases are renewed and shares are made, and what is less urgent than events is done, in s.
TEND_EVERY_S = 1.0
#: The pause after a failure, in s, doubled up to the longest one.
PAUSE_S, PAUSE_S_MAX = 0.1, 2.0

log = logging.getLogger("nextbest.worker")


class Identity(Protocol):
    """Learns who belongs to whom."""

    async def apply(self, entries: Sequence[Collected]) -> None:
        """Applies what entries link. Idempotent: a chunk that was not committed is applied again."""


class Conversions(Protocol):
    """Learns which decisions earned what."""

    def concerns(self, entry: Collected) -> bool:
        """Whether anything is to be done for an entry."""

    async def apply(self, entries: Sequence[Collected]) -> None:
        """Attributes what entries claim. Idempotent: a chunk that was not committed is applied again."""


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
        trouble: Callable[[str], None],
        conversions: Conversions | None = None,
    ) -> None:
        """`count(result, n)` is for metrics; `trouble(what)` for what went wrong and is tried again."""
        self._share = ShardShare(leases, store.begin)
        self._store = store
        self._watermarks = watermarks
        self._plan = plan
        self._identity = identity
        self._count = count
        self._trouble = trouble
        self._conversions = conversions
        self._alone: set[int] = set()  # shards that something went wrong with
        self._types_ms: dict[str, int] = {}  # what is to be told of event types
        self._told_ms: dict[int, int] = {}  # shard → what was told of it
        self._idle = False  # the last look found nothing
        self.lag_ms = 0  # of the shard that is the most behind, at the last look

    @property
    def held(self) -> Mapping[int, Held]:
        """The shards that it works on."""
        return self._share.held

    async def run(self, stopped: asyncio.Event) -> None:
        """Work until it is stopped; then give everything back."""
        tending = asyncio.create_task(self._keep_tending(stopped))
        try:
            await self._keep_working(stopped)
        finally:
            await end_task(tending)
            try:
                await self.leave()
            except Exception as error:  # then the leases end by themselves
                self._trouble(type(error).__name__)

    async def leave(self) -> None:
        """Give everything back: others may take it at once."""
        await self._share.leave()

    async def _keep_working(self, stopped: asyncio.Event) -> None:
        pause_s = PAUSE_S
        while not stopped.is_set():
            try:
                wait_s = 0.0 if await self.look() else LOOK_EVERY_S
                pause_s = PAUSE_S
            except Exception as error:  # the store is away, or refuses: nothing is lost, since nothing was committed
                self._trouble(type(error).__name__)
                wait_s = pause_s
                pause_s = min(PAUSE_S_MAX, 2 * pause_s)
            if wait_s:
                await _waited(stopped, wait_s)

    async def _keep_tending(self, stopped: asyncio.Event) -> None:
        while not stopped.is_set():
            try:
                await self.tend()
            except Exception as error:
                self._trouble(type(error).__name__)
            await _waited(stopped, TEND_EVERY_S)

    async def look(self) -> bool:
        """Work off a chunk of each shard that is held; whether there is more. Raises the first trouble that there was,
        after all the others were worked off."""
        more, idle, lag_ms, troubles = False, True, 0, []
        for shards in self._together():
            try:
                backlogs = await self._work(shards)
            except Exception as error:
                # A commit whose answer did not come may have been applied: then the next one is refused, since the
                # position moved, and the shard is taken anew.
                troubles.append(error)
                self._alone.update(each.shard for each in shards)
                continue
            self._alone.difference_update(each.shard for each in shards)
            more = more or any(each.more for each in backlogs)
            idle = idle and not any(each.entries for each in backlogs)
            lag_ms = max(lag_ms, *(each.lag_ms for each in backlogs))
        self._idle, self.lag_ms = idle, lag_ms
        if troubles:
            raise troubles[0]
        return more

    def _together(self) -> list[list[Held]]:
        """The shards that are held, many at once; each alone that may be the trouble, so that it holds up no other."""
        held = list(self.held.values())
        well = [each for each in held if each.shard not in self._alone]
        alone = [[each] for each in held if each.shard in self._alone]
        together = TOGETHER_IDLE if self._idle else TOGETHER
        return [well[at : at + together] for at in range(0, len(well), together)] + alone

    async def _work(self, shards: Sequence[Held]) -> Sequence[Backlog]:
        backlogs = await self._store.read(shards)
        commits = await self._worked(backlogs)
        for at in range(0, len(commits), COMMITS_TOGETHER):
            await self._commit(commits[at : at + COMMITS_TOGETHER])
        for backlog in backlogs:
            backlog.note_applied()
        return backlogs

    async def _worked(self, backlogs: Sequence[Backlog]) -> list[Commit]:
        """What the chunks come to; what other streams get is written already."""
        waiting = [each for each in backlogs if each.entries]
        if not waiting:
            return []
        now_ms = waiting[0].read_ms
        read = [(each.held, Chunk.of(each.entries, now_ms)) for each in waiting]
        found = list(zip(waiting, read, await self._store.look_up(read, now_ms), strict=True))
        for backlog, _, known in found:
            if known is None:  # somebody took it over since
                self._share.forget(backlog.held)
        chunks = [(backlog, chunk, known) for backlog, (_, chunk), known in found if known is not None]
        await self._link([(chunk, chunk.linking(known.seen, known.erased)) for _, chunk, known in chunks])
        await self._attribute([(chunk, known) for _, chunk, known in chunks])
        commits = [
            backlog.commit(chunk, work(self._plan, chunk, known.seen, known.stored, known.erased), known)
            for backlog, chunk, known in chunks
        ]
        await self._store.append([entry for each in commits for entry in each.worked.onward])
        return commits

    async def _link(self, chunks: Sequence[tuple[Chunk, list[Collected]]]) -> None:
        """Have it learnt who belongs to whom."""
        links = [entry for _, entries in chunks for entry in entries]
        if self._identity is None or not links:
            return
        try:
            await self._identity.apply(links)
        except Problem:  # the store's
            raise
        except Exception:  # which of them cannot be taken is told one by one, and costs itself alone
            for chunk, entries in chunks:
                for entry in entries:
                    await self._link_one(self._identity, chunk, entry)

    async def _link_one(self, identity: Identity, chunk: Chunk, entry: Collected) -> None:
        try:
            await identity.apply([entry])
        except Problem:
            raise
        except Exception as error:
            chunk.put_aside(entry, f"whom it links cannot be learnt (`{type(error).__name__}`)")

    async def _attribute(self, chunks: Sequence[tuple[Chunk, Known]]) -> None:
        """Have conversions attributed."""
        if self._conversions is None:
            return
        entries = [
            entry
            for chunk, known in chunks
            for entry in chunk.entries
            if self._conversions.concerns(entry)
            and known.seen.isdisjoint(ids_of(entry))
            and entry.received_at_ms > known.erased.get(entry.customer, -1)
        ]
        if entries:
            await self._conversions.apply(entries)

    async def _commit(self, commits: Sequence[Commit]) -> None:
        for commit, committed in zip(commits, await self._store.commit(commits), strict=True):
            if committed.is_done:
                self._counted(commit.worked)
            else:
                log.info("a chunk of events was not applied", extra={"shard": commit.held.shard, "why": committed.name})
                if committed.is_ours_no_more:
                    self._share.forget(commit.held)

    def _counted(self, worked: Worked) -> None:
        for result, n in worked.counts.items():
            self._count(result, n)
        for name, ms in worked.received_ms.items():
            if ms > self._types_ms.get(name, 0):
                self._types_ms[name] = ms
        for kind, n in worked.surprises.items():
            log.error("a fold failed: its events are among the dead letters", extra={"kind": kind, "events": n})

    async def tend(self) -> None:
        """Once a second: an equal share of shards, watermarks, letting go of what is applied. Raises StoreError,
        ReplyError."""
        await self._share.share()
        await self._tell()
        await self._store.trim(list(self.held.values()))

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


async def _waited(stopped: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stopped.wait()
    except TimeoutError:
        pass
