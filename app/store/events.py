"""Events in the store: whom they are about, and the durable append to the shard's stream.

Two round trips a request, each pipelined: `resolve` reads the store's clock and the aliases, `append` writes every
event to the stream of its customer's shard. An append that failed halfway has written some of a batch: whoever sends it
again repeats message ids, which the worker that consumes the stream drops.

They go over a connection of their own, so that no decision waits behind a batch. What the streams hold is bounded
before memory is at risk (`look`): while nobody consumes them the oldest events are trimmed; from then on nothing is,
and the door is shut instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from hiredis import ReplyError

from app.core.events.entry import encode, encode_letter
from app.core.events.event import Collected, Letter
from app.core.identity import Alias, fallback_key, identity_hash
from app.errors import Problem
from app.store.keys import CTL_EVENTS_CONSUMED, CTL_WATERMARKS, Keys, identity
from app.store.link import Link
from app.store.memory import memory_facts
from app.store.resp import bulk, command_prefix, pack
from app.store.watermarks import RAISE
from app.store.wire import StoreBusy, StoreError

#: How long a request waits for the store; the link itself gives up on a silent one after a second.
PATIENCE_S = 2.0
#: How long strict mode waits for the disk.
DURABLE_WITHIN_MS = 1_000
#: Commands go out in pieces of about this size, so that the store answers others in between, and so that decisions do:
#: some 30 events are made ready in a fifth of a millisecond.
CHUNK_BYTES = 4 * 1024
LOOKUPS_A_CHUNK = 40
#: What a stream adds to an entry: its id, lengths, its share of a node.
ENTRY_BYTES = 30
#: Letters that a shard keeps, the newest: with 256 shards some 50,000, in about 20 MB.
LETTERS_A_SHARD = 200
#: How often what the streams hold is looked at, in s. In between, each process adds what it appends itself.
LOOK_EVERY_S = 0.5
#: The same while this process appends nothing and little is held: a look costs the store half a millisecond, which the
#: decisions behind it wait.
LOOK_IDLE_EVERY_S = 4.0
#: Shares of the memory that the store may have beyond which nothing is collected: decisions need the rest.
MEMORY_SHARE_MAX = 0.85

_TIME = pack("TIME")
_GET = command_prefix(2, "GET")
ENTRY = bulk(b"*") + bulk(b"e")
_LOOK = pack("INFO", "memory") + pack("EXISTS", CTL_EVENTS_CONSUMED)
FIELD = b"e"


class Shut(NamedTuple):
    """Why nothing is collected now, and when to come again."""

    reason: str
    retry_after_s: int


class EventStore:
    """What the collect flow needs of the store."""

    def __init__(self, link: Link, keys: Keys, stream_bytes: int, *, strict: bool) -> None:
        """`stream_bytes`: what all event streams together may hold. `strict` waits for the disk."""
        self._link = link
        self._keys = keys
        self._stream_bytes = stream_bytes
        self._strict = strict
        self._consumed = False  # whether anybody reads the streams
        self._held_bytes = 0  # by the streams, as far as is known
        self._entry_bytes = 256.0  # a moving average, with what the stream adds
        self._appended = False  # anything since the last look
        self._events = [bulk(keys.events(shard)) for shard in range(keys.shards)]
        usage = [pack("MEMORY", "USAGE", keys.events(shard), "SAMPLES", 5) for shard in range(keys.shards)]
        self._asking = _LOOK + b"".join(usage)
        self._dead = [
            command_prefix(8, "XADD") + bulk(keys.dead_letters(shard)) + _words("MAXLEN", "~", LETTERS_A_SHARD) + ENTRY
            for shard in range(keys.shards)
        ]
        #: Why nothing may be collected; None while it may.
        self.shut: Shut | None = None

    async def resolve(self, aliases: Iterable[Alias], hash_key: bytes) -> tuple[int, dict[Alias, str]]:
        """The store's time (Unix ms) and the customer of each alias; of one that is not linked, its own key. Raises
        Problem `store_unavailable`."""
        wanted = list(aliases)
        time, *owners = await self._call(_lookups(wanted, hash_key))
        now_ms = int(time[0]) * 1000 + int(time[1]) // 1000
        customers = {
            alias: fallback_key(alias.kind, alias.value, hash_key) if owner is None else str(owner, "ascii")
            for alias, owner in zip(wanted, owners, strict=True)
        }
        return now_ms, customers

    async def append(self, events: Sequence[Collected], letters: Sequence[Letter]) -> None:
        """Write all of them; returns when they are as durable as the deployment promises. Raises Problem
        `store_unavailable`, `rate_limited`, `durability_unmet`: then some may be written."""
        await self._call(self._chunks(events, letters))
        if self._strict:
            (synced,) = await self._replies([(pack("WAITAOF", 1, 0, DURABLE_WITHIN_MS), 1)])
            # A store that does not know the command (before 7.2) confirms nothing.
            if isinstance(synced, ReplyError) or int(synced[0]) < 1:
                detail = "the events were noted, but the store did not confirm that they are on disk"
                raise Problem("durability_unmet", detail, retry_after_s=1)

    async def hear(self, types: Iterable[str], at_ms: int) -> None:
        """Sources say that of these types nothing is on its way at `at_ms`. Raises Problem."""
        marks = [word for name in types for word in (f"e:{name}", at_ms)]
        await self._call([(pack("EVAL", RAISE.source, 1, CTL_WATERMARKS, *marks), 1)])

    @property
    def look_again_s(self) -> float:
        """How long until `look` is worth its while again, in s."""
        idle = not self._appended and self.shut is None and self._held_bytes < self._stream_bytes / 4
        return LOOK_IDLE_EVERY_S if idle else LOOK_EVERY_S

    async def look(self) -> None:
        """See what the streams hold and whether there is room. Raises StoreError, ReplyError."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        self._appended = False
        info, consumed, *held = await self._link.call(self._asking, 2 + self._keys.shards, deadline)
        self._consumed = not isinstance(consumed, ReplyError) and bool(consumed)
        self._held_bytes = sum(size for size in held if isinstance(size, int))
        memory = {} if isinstance(info, ReplyError) else memory_facts(info)
        self.shut = self._why_shut(memory)

    def _why_shut(self, memory: dict[str, int]) -> Shut | None:
        most = memory.get("maxmemory") or memory.get("total_system_memory") or 0
        if most and memory.get("used_memory", 0) > MEMORY_SHARE_MAX * most:
            return Shut("the store's memory is nearly full", 10)
        if self._consumed and self._held_bytes > self._stream_bytes:
            return Shut("events come faster than they are worked off", 2)
        return None

    def _chunks(self, events: Sequence[Collected], letters: Sequence[Letter]) -> Iterable[tuple[bytes, int]]:
        """Commands, in pieces, with how many there are in each."""
        head, trim = self._head()
        self._appended = True
        chunk: list[bytes] = []
        size = 0
        for event in events:
            raw = encode(event)
            self._entry_bytes += 0.01 * (len(raw) + ENTRY_BYTES - self._entry_bytes)
            chunk.append(head + self._events[self._keys.shard_of(event.customer)] + trim + bulk(raw))
            size += len(raw) + ENTRY_BYTES
            self._held_bytes += len(raw) + ENTRY_BYTES
            if size > CHUNK_BYTES:
                yield b"".join(chunk), len(chunk)
                chunk, size = [], 0
        for letter in letters:
            chunk.append(self._dead[self._shard_of(letter)] + bulk(encode_letter(letter)))
        if chunk:
            yield b"".join(chunk), len(chunk)

    def _head(self) -> tuple[bytes, bytes]:
        """What stands before and after the name of the stream."""
        if self._consumed:
            return command_prefix(5, "XADD"), ENTRY
        at_most = max(100, round(self._stream_bytes / self._keys.shards / self._entry_bytes))
        return command_prefix(8, "XADD"), _words("MAXLEN", "~", at_most) + ENTRY

    def _shard_of(self, letter: Letter) -> int:
        """Where a letter lies: with its customer; nobody's letters are spread."""
        if letter.customer:
            return self._keys.shard_of(letter.customer)
        return int.from_bytes(letter.message_id, "big") % self._keys.shards

    async def _call(self, chunks: Iterable[tuple[bytes, int]]) -> list[Any]:
        """All replies, none of them a refusal."""
        replies = await self._replies(chunks)
        for reply in replies:
            if isinstance(reply, ReplyError):
                raise _refused(reply)
        if self._consumed and self._held_bytes > self._stream_bytes and self.shut is None:
            self.shut = Shut("events come faster than they are worked off", 2)
        return replies

    async def _replies(self, chunks: Iterable[tuple[bytes, int]]) -> list[Any]:
        """All replies. The chunks are made and sent one after the other, each when the one before was answered: so that
        what waits for this connection stays little, and both sides have time for others in between."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        replies: list[Any] = []
        try:
            for packed, count in chunks:
                replies += await self._link.call(packed, count, deadline)
        except StoreBusy as error:
            raise Problem("rate_limited", "more events than the store takes down now", retry_after_s=1) from error
        except StoreError as error:
            detail = f"the store failed (`{type(error).__name__}`): send it again, repeats are harmless"
            raise Problem("store_unavailable", detail, retry_after_s=2) from error
        return replies


def _lookups(aliases: Sequence[Alias], hash_key: bytes) -> Iterable[tuple[bytes, int]]:
    """The question for the time, and for who owns each alias, in pieces."""
    chunk = [_TIME]
    for alias in aliases:
        chunk.append(_GET + bulk(identity(alias.kind, identity_hash(alias.kind, alias.value, hash_key))))
        if len(chunk) == LOOKUPS_A_CHUNK:
            yield b"".join(chunk), len(chunk)
            chunk = []
    if chunk:
        yield b"".join(chunk), len(chunk)


def _refused(reply: ReplyError) -> Problem:
    code = str(reply).split(" ", 1)[0]
    if code == "OOM":
        return Problem("rate_limited", "the store's memory is full", retry_after_s=10)
    return Problem("store_unavailable", f"the store refused (`{code}`)", retry_after_s=2)


def _words(*words: str | int) -> bytes:
    return b"".join([bulk(str(word).encode()) for word in words])
