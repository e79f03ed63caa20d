"""Chunks of event streams in the store: read, looked up, and committed, over the shards that a worker holds.

Two round trips a chunk, each pipelined over many shards: what the shards had and hold, and the atomic commit
(fold_commit.lua), before which goes what other shards' streams get.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from app.core.events.entry import encode, encode_letter
from app.core.events.event import Collected
from app.core.features.chunk import Chunk, Stored, StreamEntry, forwarded_id
from app.core.features.plan import FoldPlan
from app.store.erasure import erased_of
from app.store.events import DURABLE_WITHIN_MS, ENTRY, LETTERS_A_SHARD
from app.store.fold_plans import note_plan
from app.store.fold_steps import Backlog, Commit, Committed, Kept, Known
from app.store.keys import Keys
from app.store.link import Link
from app.store.profile import ERASURE
from app.store.resp import bulk, command_prefix, pack
from app.store.round_trips import asked, ms_of
from app.store.scripts import Script
from app.store.seen_events import Buckets, Generations, live, packed, questions, with_room
from app.store.shard_leases import Held
from app.store.trimming import START, trim

COMMIT = Script.load("fold_commit.lua")
#: Entries of one shard in one commit. It holds the store for some 3 µs each: decisions wait that long.
ENTRIES_MAX = 128
#: In a customer's features: who it became.
CARRIED_TO = b">"

_TIME = pack("TIME")
_HGET = command_prefix(3, "HGET")
_ERASURE = bulk(ERASURE)
_HGETALL = command_prefix(2, "HGETALL")
_XADD = command_prefix(5, "XADD")


class NotOnDisk(Exception):
    """Strict mode: what other streams got is not on disk, so the chunk that it came from is not applied yet."""


class FoldStore:
    """What the worker needs of the store, for one bundle. Its methods raise StoreError and ReplyError."""

    def __init__(self, link: Link, keys: Keys, plan: FoldPlan, kept: Kept, *, strict: bool) -> None:
        self._link = link
        self._keys = keys
        self._plan = plan
        self._kept = kept
        self._strict = strict

    async def begin(self, taken: Sequence[Held]) -> None:
        """Note with which plan shards are folded from now on."""
        await note_plan(self._link, self._keys, self._plan, [(each.shard, each.token) for each in taken])

    async def read(self, shards: Sequence[Held]) -> list[Backlog]:
        """What each of them holds after its position, `ENTRIES_MAX` entries at most."""
        time, *found = await asked(self._link, [_TIME, *(self._after(each) for each in shards)])
        now_ms = ms_of(time)
        backlogs = []
        for held, rows in zip(shards, found, strict=True):
            entries = [StreamEntry(row[0], row[1][1]) for row in rows]
            backlogs.append(Backlog(held, entries, now_ms, len(rows) == ENTRIES_MAX))
        return backlogs

    def _after(self, held: Held) -> bytes:
        return pack("XRANGE", self._keys.events(held.shard), b"(" + held.position, "+", "COUNT", ENTRIES_MAX)

    async def look_up(self, chunks: Sequence[tuple[Held, Chunk]], now_ms: int) -> list[Known | None]:
        """What the shards had of each chunk, and what they hold of its customers. None: the shard is not where it was
        when it was taken or committed last, so that what was read of it does not belong together.

        Erasures are asked for first, and token and position last: what is in between is of one moment then.
        """
        commands: list[bytes] = []
        asks = []
        for held, chunk in chunks:
            buckets = questions(live(held.generations, now_ms), chunk.ids())
            customers = [each for each in chunk.customers(self._plan) if self._keys.shard_of(each) == held.shard]
            asks.append((buckets, customers))
            commands.append(pack("HGET", self._keys.worker(held.shard), "erasures"))
            commands += self._questions(held, buckets)
            commands += [command for customer in customers for command in self._about(customer)]
            commands.append(self._place(held))
        replies = iter(await asked(self._link, commands))
        found: list[Known | None] = []
        for (held, chunk), (buckets, customers) in zip(chunks, asks, strict=True):
            erasures = next(replies) or b"0"
            known = Known(_met(buckets, replies), {}, {}, erasures)
            _note(known, customers, replies)
            is_there = _is_there(held, next(replies)) and await self._follow(known, chunk, held, now_ms)
            found.append(known if is_there else None)
        return found

    async def _follow(self, known: Known, chunk: Chunk, held: Held, now_ms: int) -> bool:
        """Look up whom customers became too, as far as they are of this shard; and what went to other shards. False:
        the shard is not where it was."""
        became: set[str] = {each.carried_to for each in known.stored.values()} - {""}
        if not became:
            return True
        while wanted := [each for each in became - known.stored.keys() if self._keys.shard_of(each) == held.shard]:
            commands = [command for customer in wanted for command in self._about(customer)]
            _note(known, wanted, iter(await asked(self._link, commands)))
            became = {each.carried_to for each in known.stored.values()} - {""}
        leavers = [customer for customer, stored in known.stored.items() if stored.carried_to]
        ids = [forwarded_id(entry, customer) for entry in chunk.entries for customer in leavers]
        buckets = questions(live(held.generations, now_ms), ids)
        replies = iter(await asked(self._link, [*self._questions(held, buckets), self._place(held)]))
        known.seen.update(_met(buckets, replies))
        return _is_there(held, next(replies))

    def _place(self, held: Held) -> bytes:
        return pack("HMGET", self._keys.worker(held.shard), "token", "position")

    def _questions(self, held: Held, buckets: Buckets) -> list[bytes]:
        return [
            pack("SMISMEMBER", self._keys.seen(held.shard, number, bucket), *ids)
            for (number, bucket), ids in buckets.items()
        ]

    def _about(self, customer: str) -> tuple[bytes, bytes]:
        keys = self._keys.of(customer)
        return _HGETALL + bulk(keys.features), _HGET + bulk(keys.profile) + _ERASURE

    async def append(self, onward: Sequence[Collected]) -> None:
        """Write what other streams get. Repeats are harmless: they have the ids of what they follow from."""
        if not onward:
            return
        commands = [
            _XADD + bulk(self._keys.events(self._keys.shard_of(each.customer))) + ENTRY + bulk(encode(each))
            for each in onward
        ]
        await asked(self._link, commands)
        if self._strict:
            (synced,) = await asked(self._link, [pack("WAITAOF", 1, 0, DURABLE_WITHIN_MS)])
            if int(synced[0]) < 1:
                raise NotOnDisk

    async def trim(self, shards: Sequence[Held]) -> None:
        """Let go of what is applied and archived."""
        await trim(self._link, self._keys, shards)

    async def commit(self, commits: Sequence[Commit]) -> list[Committed]:
        """Apply each, all or nothing; `held` moves with it."""
        grown = [with_room(each.held.generations, len(each.worked.ids), each.now_ms) for each in commits]
        calls = [self._packed(each, generations) for each, generations in zip(commits, grown, strict=True)]
        results = [Committed(reply) for reply in await asked(self._link, calls)]
        for each, generations, result in zip(commits, grown, results, strict=True):
            if result is Committed.DONE:
                each.held.position = each.chunk.end
                if each.worked.ids:
                    each.held.generations = generations
        return results

    def _packed(self, commit: Commit, generations: Generations) -> bytes:
        held, worked, shard = commit.held, commit.worked, commit.held.shard
        newest = generations[-1]
        buckets: dict[int, list[int]] = {}
        for each in worked.ids:
            buckets.setdefault(newest.bucket(each), []).append(each)
        keys = [self._keys.worker(shard), self._keys.dead_letters(shard)]
        keys += [self._keys.seen(shard, newest.number, bucket) for bucket in buckets]
        keys += [self._keys.of(customer).features for customer in (*worked.states, *worked.carried)]
        args: list[Any] = [held.token, held.position, commit.chunk.end]
        args += [packed(generations) if worked.ids else b"", commit.known.erasures, len(buckets)]
        args += [len(worked.states) + len(worked.carried), len(worked.letters), LETTERS_A_SHARD, newest.ends_ms]
        for ids in buckets.values():
            args.append(len(ids))
            args += ids
        for groups in worked.states.values():
            args += [self._kept.features_ms, "g", len(groups)]
            for key, state in groups.items():
                args += [key, state]
        for winner in worked.carried.values():
            args += [self._kept.carried_ms, ">", 1, CARRIED_TO, winner]
        args += [encode_letter(letter) for letter in worked.letters]
        return pack("EVALSHA", COMMIT.sha, len(keys), *keys, *args)


def _is_there(held: Held, place: list[bytes | None]) -> bool:
    """Whether a shard is held and where it was. `place`: its token and position."""
    return place[0] == b"%d" % held.token and (place[1] or START) == held.position


def _met(buckets: Buckets, replies: Iterator[Any]) -> set[int]:
    return {each for ids in buckets.values() for each, found in zip(ids, next(replies), strict=True) if found}


def _note(known: Known, customers: Iterable[str], replies: Iterator[Any]) -> None:
    for customer in customers:
        known.stored[customer] = _stored(next(replies))
        if (erasure := erased_of(next(replies))) is not None:
            known.erased[customer] = erasure.until_ms


def _stored(flat: list[bytes]) -> Stored:
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    carried_to = fields.pop(CARRIED_TO, b"")
    return Stored({str(key, "utf-8"): state for key, state in fields.items()}, str(carried_to, "utf-8"))
