"""A load generator for HTTP/1.1 keep-alive servers that costs little enough to leave its core to the store.

It parses no more of an answer than it must: the status, the end of the headers and `content-length`. Two ways to drive:

* `closed_loop`: c connections, each sends its next request when its last was answered. Says what the server can do.
* `open_loop`: requests fall due at a fixed rate, whatever the server does. Latency counts from the moment a request
  was due, so a server that stalls pays for all that waited, not only for the one it was asked (coordinated omission).

Both warm up first, then measure for a fixed time; `edge` is called at both ends of the measured time, so that the
caller can read processor clocks there.
"""

from __future__ import annotations

import asyncio
import gc
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from loadtests.clock import Timer, now_ns

SAMPLE_EVERY = 16  # answers kept to be looked at: enough to see one in a thousand go wrong, too few to cost anything
DRAIN_S = 10.0  # how long an open loop waits for what is still unanswered at its end
OPEN_CONNECTIONS = 256  # idle ones cost nothing; with all of them busy, requests wait, and their latency says so


@dataclass(frozen=True, slots=True)
class Target:
    """A server, and the whole bytes of the requests that it gets, without end."""

    host: str
    port: int
    requests: Iterator[bytes]


@dataclass(slots=True)
class Tally:
    """What came back within the measured time.

    A refusal is a failure and no latency: a server that sheds at once must not look fast by it. A request that was
    lost or never answered is both: somebody waited for it.
    """

    latencies_ns: list[int] = field(default_factory=list)
    answers: int = 0  # of any status
    good: int = 0  # of status 200
    failures: Counter[str] = field(default_factory=Counter)  # by HTTP status, `lost` or `unanswered`
    samples: list[bytes] = field(default_factory=list)  # bodies
    late_ns: list[int] = field(default_factory=list)  # open loop: how late the driver itself was
    seconds: float = 0.0  # measured time

    @property
    def rate(self) -> float:
        """Answers a second with status 200."""
        return self.good / self.seconds

    def add(self, latency_ns: int, answer: bytes, body_at: int) -> None:
        self.answers += 1
        if not answer.startswith(b"200", 9):
            self.failures[answer[9:12].decode("ascii", "replace")] += 1
            return
        self.latencies_ns.append(latency_ns)
        self.good += 1
        if self.good % SAMPLE_EVERY == 1:
            self.samples.append(answer[body_at:])

    def fail(self, latency_ns: int, what: str) -> None:
        self.latencies_ns.append(latency_ns)
        self.failures[what] += 1


#: Servers close connections that nobody uses, some after 5 s. A request that is sent in that very moment is lost, by a
#: mistake of the sender's: clients such as httpx let go of theirs before. So does this one.
IDLE_S_MAX = 3.0

Answered = Callable[["Connection", bytes, int], None]


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request in flight."""

    __slots__ = ("_answered", "_part", "busy", "closed", "idle_since_ns", "since_ns", "transport")

    def __init__(self, answered: Answered) -> None:
        self.transport: asyncio.WriteTransport | None = None
        self.since_ns = 0  # from when the request in flight is counted
        self.idle_since_ns = now_ns()
        self.busy = False
        self.closed = False
        self._answered = answered
        self._part = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream's transport can write

    def send(self, request: bytes, since_ns: int) -> None:
        assert self.transport is not None
        self.since_ns = since_ns
        self.busy = True
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._part:
            data = self._part + data
        headers_end = data.find(b"\r\n\r\n")
        if headers_end < 0 or len(data) < headers_end + 4 + content_length(data, headers_end):
            self._part = data
            return
        self._part = b""
        self.busy = False
        self.idle_since_ns = now_ns()
        self._answered(self, data, headers_end + 4)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # the protocol's signature
        self.closed = True
        if self.busy:
            self.busy = False
            self._answered(self, b"", 0)


def content_length(head: bytes, headers_end: int) -> int:
    """Bytes of the body. Raises ValueError where the server does not say: this driver reads no chunked answers."""
    at = head.find(b"content-length:", 0, headers_end)
    if at < 0:
        head = head[:headers_end].lower()
        at = head.find(b"content-length:")
        if at < 0:
            raise ValueError("an answer without content-length")
    line_end = head.find(b"\r", at)
    return int(head[at + 15 : line_end if line_end >= 0 else headers_end])


class _Closed:
    def __init__(self, target: Target) -> None:
        self.target = target
        self.tally = Tally()
        self.running = True
        self.quiet = asyncio.Event()  # set when nothing is in flight any more
        self.in_flight = 0

    def start(self, open_connections: list[Connection]) -> None:
        self.in_flight = len(open_connections)
        for connection in open_connections:
            connection.send(next(self.target.requests), now_ns())

    def answered(self, connection: Connection, answer: bytes, body_at: int) -> None:
        now = now_ns()
        if answer:
            self.tally.add(now - connection.since_ns, answer, body_at)
        else:
            self.tally.fail(now - connection.since_ns, "lost")
        if self.running and not connection.closed:
            connection.send(next(self.target.requests), now)
            return
        self.in_flight -= 1
        if not self.in_flight:
            self.quiet.set()


async def closed_loop(
    target: Target, connections: int, *, warm_up_s: float, seconds: float, edge: Callable[[], None] = lambda: None
) -> Tally:
    """Drive with `connections` requests in flight at all times. Latency counts from sending."""
    run = _Closed(target)
    async with connected(target, connections, run.answered) as open_connections:
        run.start(open_connections)
        await asyncio.sleep(warm_up_s)
        edge()
        run.tally, begun_ns = Tally(), now_ns()
        await asyncio.sleep(seconds)
        tally, run.tally = run.tally, Tally()
        tally.seconds = (now_ns() - begun_ns) / 1e9
        edge()
        run.running = False
        # A connection closed in the middle of a request would charge the next measurement with this one's work.
        await asyncio.wait([asyncio.create_task(run.quiet.wait())], timeout=DRAIN_S)
    return tally


class _Open:
    """Requests that fall due every `gap_ns`; an idle connection takes each, or it waits for one."""

    def __init__(self, target: Target, rate: float, tally: Tally) -> None:
        self.target = target
        self.tally = tally
        self.idle: deque[Connection] = deque()
        self.waiting: deque[int] = deque()  # when each was due
        self.timer = Timer()
        self.drained = asyncio.Event()
        self.in_flight = 0
        self.begin_ns = self.measure_ns = self.end_ns = 0
        self._gap_ns = 1e9 / rate
        self._issued = 0
        self._all: list[Connection] = []
        self._opening: set[asyncio.Future[None]] = set()

    def start(self, open_connections: list[Connection], warm_up_s: float, seconds: float) -> None:
        self._all = open_connections
        self.idle.extend(open_connections)
        self.begin_ns = now_ns()
        self.measure_ns = self.begin_ns + int(warm_up_s * 1e9)
        self.end_ns = self.measure_ns + int(seconds * 1e9)
        asyncio.get_running_loop().add_reader(self.timer.fd, self.due)
        self.timer.set(self.begin_ns)

    def due(self) -> None:
        self.timer.clear()
        now = now_ns()
        while (due_ns := self.begin_ns + int(self._issued * self._gap_ns)) <= now:
            if due_ns >= self.end_ns:
                self._end()
                return
            self._issued += 1
            connection = self._living()
            if connection is not None:
                self._send(connection, due_ns, now)
            else:
                self.waiting.append(due_ns)
        self.timer.set(due_ns)

    def _living(self) -> Connection | None:
        """An idle connection, the last one that was used; those that were idle for long are opened anew."""
        oldest_ns = now_ns() - int(IDLE_S_MAX * 1e9)
        while self.idle:
            connection = self.idle.pop()
            transport = connection.transport
            if transport is not None and not transport.is_closing():
                if connection.idle_since_ns >= oldest_ns:
                    return connection
                transport.close()
            opening = asyncio.ensure_future(self._open())
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)
        return None

    async def _open(self) -> None:
        connection = Connection(self.answered)
        with suppress(OSError):  # a server that takes none has fewer, and what waits says so
            await asyncio.get_running_loop().create_connection(lambda: connection, self.target.host, self.target.port)
            self._all.append(connection)
            if self.waiting:
                self.in_flight += 1
                connection.send(next(self.target.requests), self.waiting.popleft())
            else:
                self.idle.appendleft(connection)

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self.timer.fd)
        self._check_drained()

    def _send(self, connection: Connection, due_ns: int, now: int) -> None:
        self.in_flight += 1
        if due_ns >= self.measure_ns:
            self.tally.late_ns.append(now - due_ns)
        connection.send(next(self.target.requests), due_ns)

    def answered(self, connection: Connection, answer: bytes, body_at: int) -> None:
        now = now_ns()
        self.in_flight -= 1
        if connection.since_ns >= self.measure_ns:
            if answer:
                self.tally.add(now - connection.since_ns, answer, body_at)
            else:
                self.tally.fail(now - connection.since_ns, "lost")
        if connection.closed:
            pass
        elif self.waiting:
            # Not the driver's lateness: no connection was free, because the server was behind.
            self.in_flight += 1
            connection.send(next(self.target.requests), self.waiting.popleft())
        else:
            self.idle.append(connection)
        self._check_drained()

    def _check_drained(self) -> None:
        if not self.in_flight and not self.waiting and now_ns() >= self.end_ns:
            self.drained.set()

    def give_up(self, open_connections: list[Connection]) -> None:
        """What is still unanswered counts with the time it has waited so far: less than the truth, but not nothing."""
        now = now_ns()
        silent = [connection for connection in open_connections if connection.busy]
        for connection in silent:
            connection.busy = False  # closing it later is not a second failure
        for since_ns in [*(connection.since_ns for connection in silent), *self.waiting]:
            if since_ns >= self.measure_ns:
                self.tally.fail(now - since_ns, "unanswered")


async def open_loop(
    target: Target,
    rate: float,
    *,
    warm_up_s: float,
    seconds: float,
    edge: Callable[[], None] = lambda: None,
    connections: int = OPEN_CONNECTIONS,
    tally: Tally | None = None,
) -> Tally:
    """Drive with `rate` requests a second, evenly spaced. Latency counts from when each was due. `tally`: what counts
    the answers, where that is not the usual."""
    run = _Open(target, rate, Tally() if tally is None else tally)
    async with connected(target, connections, run.answered) as open_connections:
        run.start(open_connections, warm_up_s, seconds)
        await asyncio.sleep(max(run.measure_ns - now_ns(), 0) / 1e9)
        edge()
        await asyncio.sleep(max(run.end_ns - now_ns(), 0) / 1e9)
        edge()
        try:
            await asyncio.wait_for(run.drained.wait(), DRAIN_S)
        except TimeoutError:
            run.give_up(open_connections)
        run.timer.close()
    run.tally.seconds = seconds
    return run.tally


@asynccontextmanager
async def connected(target: Target, count: int, answered: Answered) -> AsyncIterator[list[Connection]]:
    """`count` open connections, and no garbage collector: its pauses would be charged to the server."""
    loop = asyncio.get_running_loop()
    connections = []
    for _ in range(count):
        _, connection = await loop.create_connection(lambda: Connection(answered), target.host, target.port)
        connections.append(connection)
    gc.collect()
    gc.disable()
    try:
        yield connections
    finally:
        gc.enable()
        for connection in connections:
            if connection.transport is not None:
                connection.transport.close()


def http_request(path: str, body: bytes, host: str = "127.0.0.1") -> bytes:
    """The whole bytes of one JSON request."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
