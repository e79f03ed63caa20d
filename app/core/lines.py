"""Lines of newline-delimited JSON out of chunks that break anywhere. Pure, bounded memory."""

from __future__ import annotations

from typing import NamedTuple


class Line(NamedTuple):
    """A line that is not blank; `number` counts from 1, blank ones included. `text` is None when it was too long."""

    number: int
    text: bytes | None


class LineSplitter:
    """Feed it chunks; it holds at most one unfinished line of `limit_bytes`. What is longer is passed over unread."""

    __slots__ = ("_limit_bytes", "_number", "_rest", "_too_long")

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._number = 0
        self._rest = b""
        self._too_long = False

    def feed(self, chunk: bytes) -> list[Line]:
        """The lines that this chunk ends."""
        *ended, rest = chunk.split(b"\n")
        lines = [line for text in ended if (line := self._end(text)) is not None]
        self._hold(rest)
        return lines

    def close(self) -> list[Line]:
        """The last line, when no newline ended it."""
        line = self._end(b"")
        return [] if line is None else [line]

    def _hold(self, part: bytes) -> None:
        self._rest += part
        if len(self._rest) > self._limit_bytes:
            self._rest = b""
            self._too_long = True

    def _end(self, part: bytes) -> Line | None:
        self._number += 1
        self._hold(part)
        text, too_long = self._rest.strip(), self._too_long
        self._rest, self._too_long = b"", False
        if too_long:
            return Line(self._number, None)
        return Line(self._number, text) if text else None
