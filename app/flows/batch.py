"""The way of a batch: pieces of a body → lines → answers, in the order of the lines, to the spool.

Memory is bounded whatever the number of lines: one piece, one unfinished line, `WINDOW` answers that wait for a slower
one before them, and what the spool holds.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from app.core.lines import Line, LineSplitter
from app.errors import Problem
from app.flows.pace import Pace
from app.spool import Spool, Untaken

LINE_BYTES_MAX = 64 * 1024
#: Answers that may wait for the one before them, so that a slow line holds back its successors late: at 16 a line
#: that takes its whole budget of 40 ms would stop the batch for that long, at 256 it does not.
WINDOW = 256
#: Split at once. A piece of nothing but newlines takes 1 ms, and others want their turn after it.
PIECE_BYTES = 4096
#: How long a stopping server still takes in, and drops, what the caller goes on to send: closing a connection with
#: bytes unread would take away answers that the caller has not read yet. Under half of what a stopping server waits.
LINGER_S = 4.0

Answer = Callable[[Line], Awaitable[bytes]]
Render = Callable[[int, Problem], bytes]


class _Place:
    """The place of a line's answer in the order. It holds the task that decides it, which nothing else keeps alive."""

    __slots__ = ("answer", "deciding")

    answer: bytes | None
    deciding: asyncio.Task[None]


class Batch:
    """One batch under way."""

    def __init__(self, answer: Answer, render: Render, pace: Pace, spool: Spool, stopping: Callable[[], bool]) -> None:
        """`answer` never raises; `render` makes a line of a problem; `stopping()`: the server was asked to stop."""
        self._answer = answer
        self._render = render
        self._pace = pace
        self._spool = spool
        self._stopping = stopping
        self._splitter = LineSplitter(LINE_BYTES_MAX)
        self._places: deque[_Place] = deque()
        self._moved = asyncio.Event()  # an answer left the window
        self._loop = asyncio.get_running_loop()
        self._number = 0  # of the last line that was begun
        self._ended: Problem | None = None
        self._drop_until_s = 0.0  # loop time; for a server that stops

    async def run(self, pieces: AsyncIterator[bytes]) -> None:
        """Put an answer for every line into the spool and finish it. Returns when the body has ended, or when the batch
        was ended early and its caller has had time to stop sending.

        `pieces` gives empty ones while nothing comes, so that a stop is noticed. What it raises goes through, after
        the lines in flight have been decided: their decisions count, answered or not.
        """
        try:
            async for piece in pieces:
                await self._take(piece)
                if self._is_over():
                    break
            else:
                await self._begin(self._splitter.close())
        finally:
            if self._places:
                await asyncio.wait([place.deciding for place in self._places])
        if self._ended is not None:
            self._spool.put(self._render(self._number + 1, self._ended))
        self._spool.finish()
        if self._ended is not None:
            await self._drop(pieces)

    async def _take(self, piece: bytes) -> None:
        for begin in range(0, len(piece), PIECE_BYTES):
            await self._begin(self._splitter.feed(piece[begin : begin + PIECE_BYTES]))
            if self._ended is not None:
                return
            await asyncio.sleep(0)

    async def _begin(self, lines: Sequence[Line]) -> None:
        """Begin to decide lines, each as soon as there is room for its answer and a place for its decision."""
        for line in lines:
            await self._room()
            if self._is_over():
                return
            await self._pace.enter()
            self._number = line.number
            place = _Place()
            place.answer = None
            place.deciding = self._loop.create_task(self._decide(line, place))
            self._places.append(place)

    async def _room(self) -> None:
        """Wait for those who take the answers, and for answers that are overtaken."""
        try:
            await self._spool.settle()
        except Untaken:
            self._end("too many answers wait unread: read while you write, or send smaller batches")
        while len(self._places) >= WINDOW:
            self._moved.clear()
            await self._moved.wait()

    async def _decide(self, line: Line, place: _Place) -> None:
        try:
            place.answer = await self._answer(line)
        finally:
            self._pace.leave()
        while self._places and (answer := self._places[0].answer) is not None:
            self._places.popleft()
            self._spool.put(answer)
            self._moved.set()

    def _is_over(self) -> bool:
        if self._ended is None and self._stopping():
            self._end("the server is stopping")
        return self._ended is not None

    def _end(self, why: str) -> None:
        self._drop_until_s = self._loop.time() + LINGER_S
        self._ended = Problem("batch_interrupted", f"{why}; the lines from {self._number + 1} on were not decided")

    async def _drop(self, pieces: AsyncIterator[bytes]) -> None:
        """Read what nobody will decide. A caller who writes all before reading any comes to read at the end of its
        body, however long that is; a server that stops waits until the caller pauses, and not long."""
        now_s = self._loop.time
        async for piece in pieces:
            if self._stopping() and (not piece or now_s() >= self._drop_until_s):
                return
