"""The import of many customers, or of many stops: lines in, batches to the store, a tally out. Memory is bounded by two
batches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from app.core.lines import Line, LineSplitter
from app.errors import Problem

LINE_BYTES_MAX = 64 * 1024
#: Writes of one round trip. Enough to make the trip cheap; few enough that a decision that comes between two batches
#: waits for about 5 ms of the store's time.
BATCH = 100
#: Lines checked before other requests of this process get a turn: about 1 ms.
LINES_PER_TURN = 16
#: Rejections that are listed; the rest are counted.
LISTED_MAX = 1_000


class Write(Protocol):
    """What a line asks for: a `CustomerWrite`, or a `SuppressionWrite`."""

    @property
    def dropped(self) -> tuple[str, ...]: ...


Checked = TypeVar("Checked", bound=Write)
Check = Callable[[bytes], Checked]
WriteMany = Callable[[Sequence[Checked]], Awaitable[Sequence[object]]]


@dataclass(slots=True)
class Tally:
    """What became of the lines."""

    accepted: int = 0
    rejected_total: int = 0
    rejected: list[dict[str, Any]] = field(default_factory=list)
    dropped: set[str] = field(default_factory=set)  # attributes that the bundle wants not kept

    def refuse(self, number: int, problem: Problem) -> None:
        self.rejected_total += 1
        if len(self.rejected) < LISTED_MAX:
            errors = {"errors": problem.errors} if problem.errors else {}
            self.rejected.append({"line": number, "code": problem.code, "detail": problem.detail, **errors})

    def body(self) -> dict[str, Any]:
        self.rejected.sort(key=lambda rejection: rejection["line"])
        tally = {"accepted": self.accepted, "rejected": self.rejected, "rejected_total": self.rejected_total}
        return tally | ({"dropped": sorted(self.dropped)} if self.dropped else {})


class _Import(Generic[Checked]):
    """One import under way: a batch is filled while the one before it is being written; the order is kept."""

    def __init__(self, check: Check[Checked], write_many: WriteMany[Checked]) -> None:
        self.tally = Tally()
        self._check = check
        self._write_many = write_many
        self._batch: list[tuple[int, Checked]] = []
        self._writing: asyncio.Task[None] | None = None

    async def take(self, lines: Sequence[Line]) -> None:
        for count, line in enumerate(lines, 1):
            self._add(line)
            if len(self._batch) >= BATCH:
                await self.flush()
            elif count % LINES_PER_TURN == 0:
                await asyncio.sleep(0)

    async def flush(self) -> None:
        """Begin to write what is gathered, once the batch before is written."""
        await self.settle()
        if self._batch:
            batch, self._batch = self._batch, []
            self._writing = asyncio.create_task(self._write(batch))

    async def settle(self) -> None:
        """Wait for the batch that is being written; raises its Problem when the store failed."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            await writing

    def _add(self, line: Line) -> None:
        try:
            if line.text is None:
                raise Problem("payload_too_large", f"a line is at most {LINE_BYTES_MAX // 1024} KiB")
            write = self._check(line.text)
            self._batch.append((line.number, write))
            if write.dropped:
                self.tally.dropped.update(write.dropped)
        except Problem as problem:
            self.tally.refuse(line.number, problem)

    async def _write(self, batch: Sequence[tuple[int, Checked]]) -> None:
        results = await self._write_many([write for _, write in batch])
        for (number, _), result in zip(batch, results, strict=True):
            if isinstance(result, Problem):
                self.tally.refuse(number, result)
            else:
                self.tally.accepted += 1


async def import_customers(
    chunks: AsyncIterator[bytes], check: Check[Checked], write_many: WriteMany[Checked]
) -> Tally:
    """Write every good line, in order, and say which were not and why; blank lines are passed over.

    Raises the Problem of a store that failed in mid-import, with how many lines were written before; the import can be
    repeated whole, since writing a customer twice is harmless.
    """
    splitter = LineSplitter(LINE_BYTES_MAX)
    running = _Import(check, write_many)
    try:
        async for chunk in chunks:
            await running.take(splitter.feed(chunk))
        await running.take(splitter.close())
        await running.flush()
        await running.settle()
    except Problem as problem:
        problem.detail = f"{problem.detail}; {running.tally.accepted} lines were written before"
        raise
    finally:
        await running.settle()  # a caller who left does not leave a batch behind
    return running.tally
