"""Limits of keys, counted over all workers of a server.

A worker that counted for itself would let a key ask once for each worker, and a share for each would refuse a caller
whose connections all landed on one of them. So the workers count together, in a file that they all have mapped: one
64-bit number a key (`app.core.rates`), changed under a lock of the file system on that key's bytes. That costs a
microsecond or two where a key has a limit, and nothing where it has none; the store is not asked. Each server of
several counts alone, like the shared zone of nginx's `limit_req`
(https://nginx.org/en/docs/http/ngx_http_limit_req_module.html): behind a balancer give a key its rate divided by them.

Fails open: a lock that a worker holds on to, since it lost its processor, is not waited for; one request more may pass.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import time
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

from app.core.rates import Rate, Standing, standing, take

#: Keys with a limit that one server can tell apart until it is started again; each takes 16 bytes.
KEYS_MAX = 65_536
#: Attempts at a lock, of about a microsecond each, and the processor is given away between them, since the holder may
#: be waiting for it: with four processes that do nothing else, on two processors, no attempt was in vain.
ATTEMPTS = 200


class Cells(Protocol):
    """One number for each of several names."""

    def place(self, name: str) -> int:
        """Where the number of `name` is; the same in all workers."""

    def take(self, place: int, rate: Rate) -> int:
        """Nanoseconds to wait; 0: one request was taken."""

    def standing(self, place: int, rate: Rate) -> Standing:
        """What is left."""


class OwnCells:
    """For a server with one worker."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._numbers: list[int] = []

    def place(self, name: str) -> int:
        if name not in self._places:
            self._places[name] = len(self._numbers)
            self._numbers.append(0)
        return self._places[name]

    def take(self, place: int, rate: Rate) -> int:
        self._numbers[place], wait_ns = take(rate, self._numbers[place], time.monotonic_ns())
        return wait_ns

    def standing(self, place: int, rate: Rate) -> Standing:
        return standing(rate, self._numbers[place], time.monotonic_ns())


class SharedCells:
    """For the workers of one server. The monotonic clock is one for all processes of a machine."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        size = KEYS_MAX * 16
        os.ftruncate(self._descriptor, size)  # a hole: only what is used takes space
        self._numbers = memoryview(mmap.mmap(self._descriptor, size)).cast("q")

    def place(self, name: str) -> int:
        """A table by hash, with the next free place where two meet; pairs of (hash, number). Raises ValueError when it
        is full."""
        digest = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big", signed=True) or 1
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)  # a change of the keys file: all workers come at once, and wait
        try:
            for step in range(KEYS_MAX):
                at = 2 * ((digest + step) % KEYS_MAX)
                if self._numbers[at] in {0, digest}:
                    self._numbers[at] = digest
                    return at + 1
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
        raise ValueError(f"this server has seen {KEYS_MAX} keys with a limit: start it again")

    def take(self, place: int, rate: Rate) -> int:
        locked = self._lock(place)
        try:
            earned_at_ns, wait_ns = take(rate, self._numbers[place], time.monotonic_ns())
            if not wait_ns:
                self._numbers[place] = earned_at_ns
        finally:
            if locked:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 8, 8 * place)
        return wait_ns

    def standing(self, place: int, rate: Rate) -> Standing:
        return standing(rate, self._numbers[place], time.monotonic_ns())

    def _lock(self, place: int) -> bool:
        for _ in range(ATTEMPTS):
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 8, 8 * place)
            except OSError:
                os.sched_yield()
                continue
            return True
        return False


def open_cells(folder: str | None, workers: int) -> Cells:
    """`folder`: where the workers of one server meet."""
    return SharedCells(Path(folder) / "rates") if folder is not None and workers > 1 else OwnCells()


class Limit:
    """What one key may ask."""

    __slots__ = ("_cells", "_place", "policy", "rate")

    def __init__(self, cells: Cells, key_id: str, rate: Rate) -> None:
        self._cells = cells
        self._place = cells.place(key_id)
        self.rate = rate
        self.policy = b'"key";q=%d;w=%d' % rate

    def take(self) -> int:
        """Takes one request: 0, or the whole seconds after which the next one fits."""
        wait_ns = self._cells.take(self._place, self.rate)
        return -(-wait_ns // 1_000_000_000)

    def headers(self) -> list[tuple[bytes, bytes]]:
        """`RateLimit-Policy` and `RateLimit`: the quota and its window, what is left of it, and the seconds until all
        of it is there again. draft-ietf-httpapi-ratelimit-headers-10,
        https://www.ietf.org/archive/id/draft-ietf-httpapi-ratelimit-headers-10.txt"""
        left = self._cells.standing(self._place, self.rate)
        return [(b"ratelimit-policy", self.policy), (b"ratelimit", b'"key";r=%d;t=%d' % left)]
