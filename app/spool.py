"""Bytes on their way to a caller who may not be taking them yet: first in memory, then in a bounded temporary file.

A caller may write its whole body before it reads any answer. To keep reading from it, its answers must go somewhere:
here. Memory holds up to `memory_bytes` and what is put after that, a file the rest, up to `file_bytes`; then whoever
puts must wait. The file has no name, so nothing is left of it when the process ends, however it ends. It lies where the
system keeps temporary files (`TMPDIR`), and is worked on in threads, so that a slow disk delays nobody else.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from types import TracebackType
from typing import IO, Any, TypeVar, cast

MEMORY_BYTES = 256 * 1024  # some 350 answers: a caller who reads along never touches the disk
FILE_BYTES = 1024**3  # the answers to a million lines of a caller who reads none before it has written all
BLOCK_BYTES = 64 * 1024  # read back at once: what the kernel takes for one connection

Result = TypeVar("Result")


class Untaken(Exception):
    """The spool is full, and nobody took anything from it for as long as its patience lasts."""


class Spool:
    """First in, first out. One task puts and settles, one takes. Use it in `async with`, which frees the file."""

    def __init__(self, patience_s: float, memory_bytes: int = MEMORY_BYTES, file_bytes: int = FILE_BYTES) -> None:
        """`patience_s`: how long a full spool waits for a taker."""
        self._patience_s = patience_s
        self._memory_bytes = memory_bytes
        self._ring = Ring(file_bytes)
        self._tail = bytearray()  # behind what is in the file
        self._spilling = False  # the tail's beginning is on its way into the file
        self._finished = False
        self._filled = asyncio.Event()
        self._taken = asyncio.Event()

    async def __aenter__(self) -> Spool:
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        await self._ring.close()

    def put(self, data: bytes) -> None:
        """Append. Call `settle` between puts: it is what keeps the memory bounded."""
        self._tail += data
        self._filled.set()

    def finish(self) -> None:
        """Nothing more will be put."""
        self._finished = True
        self._filled.set()

    async def settle(self) -> None:
        """Wait until memory has room again, by way of the file if need be. Raises `Untaken`."""
        while len(self._tail) > self._memory_bytes:
            if await self._spill():
                continue
            self._taken.clear()
            try:
                async with asyncio.timeout(self._patience_s):
                    await self._taken.wait()
            except TimeoutError:
                raise Untaken from None

    async def take(self) -> bytes:
        """The next bytes, as many as there are up to a block of the file or the whole memory; empty at the end."""
        while True:
            if self._ring.used:
                data = await self._ring.read(BLOCK_BYTES)
                self._taken.set()
                return data
            if self._tail and not self._spilling:
                data, self._tail = bytes(self._tail), bytearray()
                self._taken.set()
                return data
            if self._finished and not self._spilling:
                return b""
            self._filled.clear()
            await self._filled.wait()

    async def _spill(self) -> bool:
        """Move what fits from memory into the file. False: nothing fits, or the disk takes no more (which comes to the
        same: whoever puts waits until somebody takes)."""
        data = bytes(self._tail[: self._ring.room])
        if not data:
            return False
        self._spilling = True  # the bytes stay in memory until the file has them, so a failure loses nothing
        try:
            await self._ring.append(data)
        except OSError:
            return False
        else:
            del self._tail[: len(data)]
            return True
        finally:
            self._spilling = False
            self._filled.set()


class Ring:
    """A file without a name whose bytes are used round and round, so that the bound is on what is unread."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._file: IO[bytes] | None = None
        self._written = self._read = 0  # bytes since the beginning
        self._running: set[asyncio.Future[Any]] = set()

    @property
    def used(self) -> int:
        return self._written - self._read

    @property
    def room(self) -> int:
        return self._size_bytes - self.used

    async def append(self, data: bytes) -> None:
        """At most `room` bytes. Raises OSError, having appended nothing."""
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the spool)
        at, number = self._written % self._size_bytes, self._file.fileno()
        until_end = self._size_bytes - at

        def write() -> None:
            _write(number, data[:until_end], at)
            _write(number, data[until_end:], 0)

        await self._in_thread(write)
        self._written += len(data)

    async def read(self, most_bytes: int) -> bytes:
        """At least one byte; only where some are used. Raises OSError."""
        file = cast("IO[bytes]", self._file)
        at, number = self._read % self._size_bytes, file.fileno()
        count = min(most_bytes, self.used, self._size_bytes - at)
        data = await self._in_thread(lambda: os.pread(number, count, at))
        self._read += len(data)
        return data

    async def close(self) -> None:
        """A thread may still be at work for somebody who was cancelled: its file must not be closed under it, since
        the number could be another file's by then."""
        await asyncio.gather(*self._running, return_exceptions=True)
        if self._file is not None:
            self._file.close()

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        running = asyncio.get_running_loop().run_in_executor(None, work)
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return await asyncio.shield(running)


def _write(number: int, data: bytes, at: int) -> None:
    """All of it: a system may take less than it is given."""
    while data:
        count = os.pwrite(number, data, at)
        data, at = data[count:], at + count
