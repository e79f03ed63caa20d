"""A load generator of one thread that costs a third of `loadtests.driver`: for loads beyond what a server can answer.

At four times the peak of a server that takes 7,000 decisions a second, 28,000 requests fall due in a second, and the
core that drives them is the store's as well. So this one is a bare loop over `epoll`: one `send` and one `recv` a
request, and nothing in between that is not counted. Requests fall due evenly (open loop), or as soon as a connection is
free (`rate` infinite: a closed loop).

Two latencies are told. From when a request was *sent*: what its caller saw, and what a budget is about. From when it
was *due*, where it could not be sent because no connection was free: then the server was behind, and it pays for that
(coordinated omission). How late the driver itself was is told apart (`Sent.late_ns`): it is no doing of the server's.
"""

from __future__ import annotations

import gc
import math
import select
import socket
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from loadtests.clock import Timer, now_ns
from loadtests.driver import Target, content_length
from loadtests.priority import ahead_of_others

#: Requests sent between two looks at what was answered, and answers taken at one look.
SENT_AT_ONCE, TAKEN_AT_ONCE = 8, 64
#: Idle, the loop wakes this often: requests of 7,000 to 28,000 a second are sent by that much too late at worst.
WAKE_NS = 100_000
ANSWER_BYTES = 16_384
#: The longest look for answers.
LOOK_S = 0.01
#: How long what is unanswered at the end is waited for.
DRAIN_S = 3.0


class Answer(NamedTuple):
    """What came back for one request; `data` is empty where the connection was lost or nothing came at all."""

    latency_ns: int
    at_ns: int
    data: bytes


Answered = Callable[[Answer], None]


class Sent(NamedTuple):
    """How the driver kept up."""

    requests: int
    late_ns: array[int]  # of each request: how much later than due it was sent, with a connection free
    unanswered: int


class _Drive:
    def __init__(self, target: Target, connections: int, rate: float, answered: Answered) -> None:
        self._requests = target.requests
        self._answered = answered
        self._gap_ns = 0.0 if math.isinf(rate) else 1e9 / rate
        self._poll = select.epoll()
        self._sockets = dict(_opened(target, connections))
        for fd in self._sockets:
            self._poll.register(fd, select.EPOLLIN)
        self._sends = {fd: each.send for fd, each in self._sockets.items()}
        self._receives = {fd: each.recv for fd, each in self._sockets.items()}
        #: The one that was idle longest goes first: a server closes those that nobody uses.
        self._idle = deque(self._sockets)
        self._since = dict.fromkeys(self._sockets, 0)  # of each connection: from when its request is counted
        self._parts: dict[int, bytes] = {}
        self._timer = Timer()
        self._poll.register(self._timer.fd, select.EPOLLIN | select.EPOLLET)
        self.late_ns: array[int] = array("q")
        self.count = 0

    def run(self, warm_up_s: float, seconds: float, edge: Callable[[], None]) -> Sent:
        begin = now_ns()
        self._measure_ns = begin + int(warm_up_s * 1e9)
        end = self._measure_ns + int(seconds * 1e9)
        self._until(begin, self._measure_ns)
        edge()
        self._until(self._measure_ns, end)
        edge()
        unanswered = self._drain(end)
        return Sent(self.count, self.late_ns, unanswered)

    def _until(self, begin: int, end: int) -> None:
        """Everything that falls due between two instants. The loop that all of this file is for."""
        idle, since, sends, requests = self._idle, self._since, self._sends, self._requests
        gap, due = self._gap_ns, float(begin)
        starved = False  # no connection was free: what is sent next counts from when it was due
        late = self.late_ns
        while True:
            now = now_ns()
            if now >= end:
                return
            sent = 0
            while due <= now and idle and sent < SENT_AT_ONCE:
                fd = idle.popleft()
                if gap:
                    since[fd] = int(due) if starved else now
                    if not starved:
                        late.append(now - int(due))
                else:
                    since[fd] = now
                try:
                    sends[fd](next(requests))
                except OSError:
                    self._lost(fd, now)
                sent += 1
                due = due + gap if gap else now
                if gap and sent & 1:
                    now = now_ns()
            self.count += sent
            behind = due <= now
            starved = bool(gap) and behind and (starved or not idle)
            if behind and idle:
                self._take(0.0)
                continue
            if idle:  # else nothing can be sent before an answer comes
                self._timer.set(min(max(int(due), now_ns() + WAKE_NS), end))
            self._take(LOOK_S)

    def _take(self, timeout_s: float) -> None:
        receives, parts = self._receives, self._parts
        for fd, _ in self._poll.poll(timeout_s, TAKEN_AT_ONCE):
            receive = receives.get(fd)
            if receive is None:  # the timer
                continue
            try:
                data = receive(ANSWER_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            now = now_ns()
            if not data:
                self._lost(fd, now)
                continue
            if parts and fd in parts:
                data = parts.pop(fd) + data
            headers_end = data.find(b"\r\n\r\n")
            if headers_end < 0 or len(data) < headers_end + 4 + content_length(data, headers_end):
                parts[fd] = data
                continue
            since = self._since[fd]
            self._since[fd] = 0
            if since >= self._measure_ns:
                self._answered(Answer(now - since, now, data))
            self._idle.append(fd)

    def _lost(self, fd: int, now: int) -> None:
        """A connection that the server closed; with a request on it, that is lost."""
        self._poll.unregister(fd)
        self._sockets.pop(fd).close()
        del self._receives[fd], self._sends[fd]
        if fd in self._idle:
            self._idle.remove(fd)
        since = self._since.pop(fd)
        if since >= self._measure_ns:
            self._answered(Answer(now - since, now, b""))

    def _drain(self, end: int) -> int:
        """Waits for what is still unanswered; what never comes counts as lost, with the time that it was waited for."""
        while now_ns() < end + DRAIN_S * 1e9:
            busy = [fd for fd, since in self._since.items() if since]
            if not busy:
                break
            self._take(LOOK_S)
        silent = [since for since in self._since.values() if since >= self._measure_ns]
        now = now_ns()
        for since in silent:
            self._answered(Answer(now - since, now, b""))
        for each in self._sockets.values():
            each.close()
        self._timer.close()
        self._poll.close()
        return len(silent)


def _opened(target: Target, count: int) -> Iterator[tuple[int, socket.socket]]:
    for _ in range(count):
        each = socket.create_connection((target.host, target.port), timeout=5.0)
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        each.setblocking(False)
        yield each.fileno(), each


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Without a garbage collector, whose pauses would be charged to the server."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def drive(
    target: Target,
    connections: int,
    rate: float,
    answered: Answered,
    *,
    warm_up_s: float,
    seconds: float,
    edge: Callable[[], None] = lambda: None,
) -> Sent:
    """Sends `rate` requests a second over so many connections; `answered` hears of each that was sent in the measured
    time, `edge` is called at both ends of it. Raises OSError where the server takes no connection."""
    with ahead_of_others(), _undisturbed():
        return _Drive(target, connections, rate, answered).run(warm_up_s, seconds, edge)
