"""A timer with nanosecond resolution for an event loop.

uvloop's and asyncio's own timers round to milliseconds. At 2,000 requests a second that would send two at a time and
charge the server for up to a millisecond of our own lateness, so the open loop wakes by Linux's `timerfd` instead
(https://man7.org/linux/man-pages/man2/timerfd_create.2.html; in the standard library only from Python 3.13 on).
"""

from __future__ import annotations

import ctypes
import os
import time

_LIBC = ctypes.CDLL(None, use_errno=True)
_NONBLOCK = 0o4000
_ABSOLUTE = 1  # TFD_TIMER_ABSTIME


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Timerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


def now_ns() -> int:
    """Nanoseconds on the clock that `Timer` keeps (CLOCK_MONOTONIC)."""
    return time.monotonic_ns()


class Timer:
    """A file descriptor that becomes readable at the instant it was set to."""

    def __init__(self) -> None:
        self.fd: int = _LIBC.timerfd_create(time.CLOCK_MONOTONIC, _NONBLOCK)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._spec = _Timerspec()

    def set(self, at_ns: int) -> None:
        """An instant that has passed makes it readable at once."""
        self._spec.value.seconds, self._spec.value.nanoseconds = divmod(at_ns, 1_000_000_000)
        if _LIBC.timerfd_settime(self.fd, _ABSOLUTE, ctypes.byref(self._spec), None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime failed")

    def clear(self) -> None:
        """Take the wake-up that has come, so that the descriptor is quiet until it is set again."""
        try:
            os.read(self.fd, 8)
        except BlockingIOError:
            return

    def close(self) -> None:
        os.close(self.fd)
