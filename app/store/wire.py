"""One living connection to the store, shared by all requests of a process.

Commands of all requests of a loop turn go out in one write (or in two: `EARLY`); the store answers in order, so the
oldest call owns the next reply. Three rules hold everything together:

1. A reply belongs to the head of `_pending`, always. A call that timed out stays there until its replies have come
   and are thrown away; only so do later replies find their own calls.
2. A connection whose order can no longer be trusted (garbled, silent, closed) is never used again: it ends, once,
   and everything that waits on it fails at that moment.
3. A call says whether its bytes were handed to the network (`sent`). A commit that was sent and not answered may
   have been applied; one that was never sent has not.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from hiredis import ProtocolError, Reader

#: No complete reply for this long with work pending: the connection is as good as dead (DESIGN section 10, Link).
SILENCE_S_MAX = 1.0
#: Commands that wait for their replies, in bytes. A commit takes about 1 KiB, so this is thousands of decisions,
#: more than any budget leaves time for; beyond it, refusing is kinder than queueing.
PENDING_BYTES_MAX = 4 * 1024 * 1024

#: Calls answered in one turn of the loop. A store that stood still answers hundreds at once, and if all that wait for
#: it went on in one turn, who is refused meanwhile would wait for the end of it: so the rest goes on in the next.
ANSWERED_AT_ONCE = 48
#: Calls of one turn after which a store with nothing to do is given them at once, while the turn goes on: where 16
#: callers are begun together, server and store otherwise wait for each other (a tenth more answers; with 64 callers
#: the store is never without work, and nothing changes).
EARLY = 8

_INCOMPLETE = object()


class StoreError(Exception):
    """The store did not answer. `sent` tells whether it may have carried out what it was asked."""

    def __init__(self, detail: str, *, sent: bool) -> None:
        super().__init__(detail)
        self.sent = sent


class StoreTimeout(StoreError):
    """The deadline passed first. The connection lives on; the reply will be thrown away."""


class StoreDown(StoreError):
    """There is no connection, or it ended before the reply came."""


class StoreBusy(StoreError):
    """Too many bytes wait for replies already. Nothing was sent."""


@dataclass(slots=True)
class LinkCounters:
    """What happened on a link since the process started; metrics read these."""

    calls: int = 0
    timeouts: int = 0
    refused: int = 0
    disconnects: int = 0
    reconnects: int = 0


class Waiter(Protocol):
    """Who waits for the replies of a call: a future, or what looks at them before a future gets them."""

    def done(self) -> bool: ...

    def set_result(self, got: list[Any], /) -> None: ...

    def set_exception(self, error: StoreError, /) -> None: ...


class Caller(Protocol):
    """What calls can be made on: a link, or what will be one when its `on_connect` has run."""

    def call(self, packed: bytes, replies: int, deadline: float) -> asyncio.Future[list[Any]]:
        """See `Link.call`."""


class _Call:
    __slots__ = ("deadline", "future", "got", "packed", "replies", "size")

    def __init__(self, packed: bytes, replies: int, deadline: float, future: Waiter) -> None:
        self.packed = packed
        self.size = len(packed)
        self.replies = replies
        self.deadline = deadline
        self.future = future
        self.got: list[Any] = []


class Wire(asyncio.Protocol):
    """The protocol of one connection, from the end of its handshake to its end. `on_end(reason)` is called once."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, counters: LinkCounters, on_end: Callable[[Wire, str], None]
    ) -> None:
        self._loop = loop
        self._counters = counters
        self._on_end = on_end
        self._reader = Reader(notEnoughData=_INCOMPLETE)
        self._transport: asyncio.Transport | None = None
        self._outbox: list[_Call] = []
        self._pending: deque[_Call] = deque()
        self._flushing = False
        self._paused = False
        self._deadline_timer: asyncio.TimerHandle | None = None
        self._next_deadline = float("inf")
        self._silence_timer: asyncio.TimerHandle | None = None
        self._progress_at = 0.0
        self._suspect = False
        self._more_comes = False  # replies that have come are given out in the next turn
        self.bytes_pending = 0
        self.end_reason: str | None = None

    def take_over(self, transport: asyncio.Transport, leftover: bytes) -> None:
        """Speak on `transport` from now on. `leftover` is what its former owner had received and not read."""
        self._transport = transport
        transport.set_protocol(self)
        if leftover:
            self.data_received(leftover)
        if transport.is_closing():
            self.end("the store closed the connection")

    # Calls

    def call(self, packed: bytes, replies: int, deadline: float) -> asyncio.Future[list[Any]]:
        """See `Link.call`."""
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        self.send(packed, replies, deadline, future)
        return future

    def send(self, packed: bytes, replies: int, deadline: float, future: Waiter) -> None:
        """The same for one who waits already."""
        if self.end_reason is not None:
            future.set_exception(StoreDown(self.end_reason, sent=False))
        elif self.bytes_pending + len(packed) > PENDING_BYTES_MAX:
            self._counters.refused += 1
            future.set_exception(StoreBusy(f"{self.bytes_pending} bytes wait for the store already", sent=False))
        elif deadline <= self._loop.time():
            self._counters.timeouts += 1
            future.set_exception(StoreTimeout("the deadline had passed before the store was asked", sent=False))
        else:
            self._counters.calls += 1
            self.bytes_pending += len(packed)
            self._outbox.append(_Call(packed, replies, deadline, future))
            if not self._flushing:
                self._flushing = True
                self._loop.call_soon(self._flush)
            elif not self._pending and len(self._outbox) == EARLY:
                self._flush()
            if deadline < self._next_deadline:
                self._arm_deadline(deadline)

    def _flush(self) -> None:
        """Hand everything that was called since the last time to the network, in one write."""
        self._flushing = False
        if self._paused or self._transport is None or self.end_reason is not None:
            return
        if not self._pending:
            self._progress_at = self._loop.time()  # silence counts from the first unanswered call
        chunks = []
        for call in self._outbox:
            if call.future.done():  # timed out or given up before it was sent: then it never is
                self.bytes_pending -= call.size
            else:
                chunks.append(call.packed)
                self._pending.append(call)
        self._outbox.clear()
        if chunks:
            if self._silence_timer is None:
                self._silence_timer = self._loop.call_later(SILENCE_S_MAX, self._check_silence)
            self._transport.write(chunks[0] if len(chunks) == 1 else b"".join(chunks))

    # Replies

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
        except MemoryError:
            self.end("the store sent a reply that cannot be read")
            return
        if not self._more_comes:
            self._answer()

    def _answer(self) -> None:
        """Give callers what has come."""
        self._more_comes = False
        reader, pending = self._reader, self._pending
        waiting = len(pending)
        enough = waiting - ANSWERED_AT_ONCE
        try:
            while (reply := reader.gets()) is not _INCOMPLETE:
                call = pending[0]
                call.got.append(reply)
                if len(call.got) == call.replies:
                    pending.popleft()
                    self.bytes_pending -= call.size
                    if not call.future.done():
                        call.future.set_result(call.got)
                    if len(pending) == enough:
                        self._more_comes = True
                        self._loop.call_soon(self._answer)
                        break
        except (
            ProtocolError,
            TypeError,
            ValueError,
            MemoryError,
        ):  # hiredis has them all: maps whose keys are lists, …
            self.end("the store sent a reply that cannot be read")
            return
        except IndexError:
            self.end("the store sent a reply that nobody asked for")
            return
        if len(pending) < waiting:  # half a reply is no progress: a trickle must not keep a dead connection
            self._progress_at = self._loop.time()
            self._suspect = False

    # Deadlines and silence

    def _arm_deadline(self, deadline: float) -> None:
        """One timer for all calls, for the earliest deadline. Answered calls leave it alone: firing for nothing once
        a budget is cheaper than a timer a call."""
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
        self._next_deadline = deadline
        self._deadline_timer = self._loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        """Fail the calls whose deadline has passed, and wait for the next deadline."""
        now = self._loop.time()
        self._deadline_timer = None
        self._next_deadline = float("inf")
        earliest = float("inf")
        for calls, sent in ((self._pending, True), (self._outbox, False)):
            for call in calls:
                if call.future.done():
                    continue
                if call.deadline <= now:
                    self._counters.timeouts += 1
                    call.future.set_exception(StoreTimeout("the store did not answer in time", sent=sent))
                elif call.deadline < earliest:
                    earliest = call.deadline
        if earliest < float("inf"):
            # Under a frozen store every call waits; a millisecond between two looks bounds what looking costs.
            self._arm_deadline(max(earliest, now + 0.001))

    def _check_silence(self) -> None:
        self._silence_timer = None
        if not self._pending:
            return
        silent_s = self._loop.time() - self._progress_at
        if silent_s < SILENCE_S_MAX:
            self._silence_timer = self._loop.call_later(SILENCE_S_MAX - silent_s, self._check_silence)
        elif not self._suspect:
            # If this process was the one that slept, the replies lie in the socket: one more look at it decides.
            self._suspect = True
            self._silence_timer = self._loop.call_later(0.01, self._check_silence)
        else:
            self.end(f"the store sent no reply for {SILENCE_S_MAX:g} s")

    # Flow control and the end

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        while self._more_comes:
            self._answer()
        self.end("the store closed the connection" if exc is None else "the connection to the store broke")

    def end(self, reason: str) -> None:
        """Close for good; everything that waits fails now. Safe to call twice."""
        if self.end_reason is not None:
            return
        self.end_reason = reason
        for timer in (self._deadline_timer, self._silence_timer):
            if timer is not None:
                timer.cancel()
        for calls, sent in ((self._pending, True), (self._outbox, False)):
            for call in calls:
                if not call.future.done():
                    call.future.set_exception(StoreDown(reason, sent=sent))
            calls.clear()
        self.bytes_pending = 0
        if self._transport is not None:
            self._transport.abort()
        self._on_end(self, reason)
