"""A wall clock that steps while processes run: libfaketime in front of their C library. Time that only goes on (the
monotonic clock), by which deadlines are kept, is left alone, as it is when an administrator sets a clock.

https://github.com/wolfcw/libfaketime: `FAKETIME_TIMESTAMP_FILE` holds the offset, and is read again after
`FAKETIME_CACHE_DURATION` (whole seconds).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

CACHE_S = 1


def library() -> Path | None:
    """The library, as its wheel ships it for Linux; None elsewhere."""
    wheel = importlib.util.find_spec("libfaketime")
    for folder in (wheel.submodule_search_locations or []) if wheel is not None else []:
        for found in Path(folder).glob("vendor/libfaketime/src/libfaketime.so*"):
            return found
    return None


class Clock:
    """One clock for all processes that are started with `variables`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.offset_s, self.moved = 0, False
        self._file.write_text("+0\n")

    @property
    def variables(self) -> dict[str, str]:
        preloaded = library()
        if preloaded is None:
            return {}
        return {
            "LD_PRELOAD": str(preloaded),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": str(CACHE_S),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def step(self, by_s: int) -> None:
        """Seen by all within two seconds."""
        self.offset_s += by_s
        self.moved = True
        self._file.write_text(f"{self.offset_s:+d}\n")
