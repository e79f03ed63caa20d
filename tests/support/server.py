"""Real server processes for tests: `nextbest serve` on a free port, and a client that takes the time of its answers.

    with Server.on(store.url) as server:
        answer = await server.client.decide("cus_1", "once")

Servers are told everything through their environment, as an operator would. Their logs are kept in a file.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from app.store.embedded import end_with_us
from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
#: Limits of 1, 2 and 3, a placement without any, models of every mood, a receipt: see its files.
BUNDLE = Path(__file__).parent / "bundle"
#: How long is waited before something is taken to hang: many times what it takes on a machine that others use too.
START_TIMEOUT_S = 120.0  # 2 s on an idle machine
STOP_TIMEOUT_S = 60.0
#: A server closes a connection that was idle for five seconds, maybe just when the next request is on its way.
IDLE_S = 3.0
#: Nothing takes so long, however busy the machine.
HANGS_AFTER_S = 60.0


class Server:
    """One `nextbest serve`, with the processes that it starts."""

    def __init__(self, settings: Mapping[str, str], folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = Client(self.port)
        self._log = folder / f"server-{self.port}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", "from app.cli import main; main()", "serve", "--port", str(self.port)],
                cwd=ROOT,
                env=_clean_environment() | dict(settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that what it starts can be ended with it
            )
        self._watchdog = end_with_us(self._process.pid)

    @classmethod
    @contextmanager
    def on(
        cls, store_url: str, bundle: Path = BUNDLE, *, wait: bool = True, workers: int = 1, **settings: str
    ) -> Iterator[Server]:
        """A server on a store; `settings` are `NEXTBEST_…` variables in lower case, or others in upper case. With
        `wait` it is ready when the block begins."""
        given = {"redis_url": store_url, "bundle": str(bundle), "workers": str(workers)}
        # Few tests are about these, and each takes a second of CPU to start.
        given |= {"event_worker": "false", "archive": "off"} | settings
        environment = {name if name.isupper() else f"NEXTBEST_{name.upper()}": value for name, value in given.items()}
        with tempfile.TemporaryDirectory(prefix="nextbest-test-") as folder:
            server = cls(environment, Path(folder))
            try:
                server.wait(server.is_ready if wait else server.is_live)
                yield server
            finally:
                server.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        """All that it wrote to its standard output and error."""
        return self._log.read_text(errors="replace")

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body; raises OSError while nobody listens."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=60) as answer:
                return answer.status, answer.read()
        except HTTPError as refused:
            return refused.code, refused.read()

    def is_live(self) -> bool:
        with contextlib.suppress(OSError):
            return self.get("/health/live")[0] == 200
        return False

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError):
            return self.get("/health/ready")[0] == 200
        return False

    def findings(self) -> list[str]:
        """Why it is not ready; empty when it is."""
        return list(json.loads(self.get("/health/ready")[1])["findings"])

    def metric(self, name: str) -> float:
        """The sum of all series of a metric whose line begins with this: `decisions_total`, `x_total{kind="a"}`."""
        lines = self.get("/metrics")[1].decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"nextbest_{name}"))

    def wait(self, condition: Callable[[], bool], timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait for what another process does; fails with the server's log when it does not come."""
        give_up_at = time.monotonic() + timeout_s
        while not condition():
            assert self._process.poll() is None, f"the server ended:\n{self.log}"
            assert time.monotonic() < give_up_at, f"it did not happen in {timeout_s:g} s:\n{self.log}"
            time.sleep(0.01)

    def workers(self) -> list[int]:
        """Process ids of the worker processes, where there are several."""
        found = []
        for children in Path(f"/proc/{self.pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                for child in children.read_text().split():
                    if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                        found.append(int(child))
        return found

    def ended(self) -> None:
        """Wait until it has ended by itself."""
        self._process.wait(STOP_TIMEOUT_S)

    def stop(self) -> None:
        """End it in order, and then all that it may have left behind."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(STOP_TIMEOUT_S)
        self._watchdog.kill()
        self._watchdog.communicate()


@asynccontextmanager
async def serving(store_url: str, bundle: Path = BUNDLE, **settings: Any) -> AsyncIterator[Server]:
    """`Server.on`, in a test that asks it."""
    with Server.on(store_url, bundle, **settings) as server:
        try:
            yield server
        finally:
            await server.client.close()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, and how long it took from the first byte sent to the last one received."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def first(self) -> Any:
        """The first decision."""
        assert self.status == 200, self.body
        return self.json()["decisions"][0]

    @property
    def sends(self) -> bool:
        return bool(self.first["action"] == "send")

    @property
    def is_problem(self) -> bool:
        return self.headers.get("content-type") == "application/problem+json"


@dataclass(slots=True)
class Client:
    """Keep-alive HTTP/1.1, as many connections as there are requests at once. One event loop at a time."""

    port: int
    _idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter, float]] = field(default_factory=list)
    _loop: asyncio.AbstractEventLoop | None = None

    async def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """`body`: bytes as they are, anything else as JSON."""
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", f"host: 127.0.0.1:{self.port}", f"content-length: {len(raw)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        reader, writer = await self._connection()
        begun = time.perf_counter()
        try:
            writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + raw)
            status, got = _parse(await reader.readuntil(b"\r\n\r\n"))
            content = await _content(reader, got)
        except BaseException:
            await _closed(writer)
            raise
        seconds = time.perf_counter() - begun
        if got.get("connection") == "close":
            await _closed(writer)
        else:
            self._idle.append((reader, writer, time.monotonic()))
        return Answer(status, got, content, seconds)

    async def decide(
        self, customer: Any, *placements: str, key: str | None = None, budget_ms: int | None = 2000, **more: Any
    ) -> Answer:
        """`POST /v1/decide`; `key` is the idempotency key. The budget is the longest: few tests are about it."""
        body = {"customer": customer, "placements": list(placements)} | more
        if budget_ms is not None:
            body["budget_ms"] = budget_ms
        return await self.ask("POST", "/v1/decide", body, None if key is None else {"idempotency-key": key})

    async def welcome(self, *customers: str, **attributes: Any) -> None:
        """Make customers known, with every consent that they can give."""
        for customer in customers:
            body = {"attributes": attributes, "region": "DE", "timezone": "Europe/Berlin", "consent": CONSENTS}
            answer = await self.ask("PUT", f"/v1/customers/{customer}", body)
            assert answer.status == 200, answer.body

    async def consent(self, customer: str, state: str) -> Answer:
        body = {"state": state, "source": "preference_centre", "basis": "consent"}
        return await self.ask("PUT", f"/v1/customers/{customer}/consent/marketing/email", body)

    async def record(self, decision_id: str) -> Answer:
        return await self.ask("GET", f"/v1/decisions/{decision_id}")

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # connections of an earlier test's loop are of no use here
            self._loop, self._idle = loop, []
        while self._idle:
            reader, writer, since = self._idle.pop()
            fresh = time.monotonic() < since + IDLE_S
            if fresh and not reader.at_eof() and not writer.is_closing():
                return reader, writer
            await _closed(writer)
        return await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)

    async def close(self) -> None:
        while self._idle:
            await _closed(self._idle.pop()[1])


async def eventually(holds: Callable[[], Awaitable[bool] | bool], timeout_s: float = HANGS_AFTER_S) -> None:
    """Wait for what has no event of its own here, such as what another process comes to say; fails when it does not."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + timeout_s
    while not ((await held) if isinstance(held := holds(), Awaitable) else held):
        assert loop.time() < give_up_at, f"it did not happen within {timeout_s:g} s"
        await asyncio.sleep(0.01)


CONSENTS = [
    {"purpose": purpose, "channel": channel, "state": "granted", "source": "signup_form", "basis": "consent"}
    for purpose, channel in (("marketing", "email"), ("personalisation", "*"))
]


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0–1) of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _parse(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.split(": ", 1) for line in lines if line)
    return int(first.split(" ", 2)[1]), {name.lower(): value for name, value in pairs}


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _content(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers.get("content-length", 0)))
    pieces = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        pieces.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return b"".join(pieces)


def _clean_environment() -> dict[str, str]:
    """Ours, without what would configure a server."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("NEXTBEST_", "OTEL_"))}
