"""Servers on one store, driven all at once, and what their decisions cost."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import redis

from app.core.decision.request import BUDGET_MS_MAX
from loadtests.nodes.drive import Drive, driver
from loadtests.standard.job import BUNDLE, decide_body, walk
from loadtests.standard.machine import cores, usage
from loadtests.standard.measure import is_model_send
from loadtests.standard.servers import (
    HOST,
    CannotStart,
    Server,
    free_port,
    load_project,
    project_env,
    started,
    valkey,
)


@dataclass(frozen=True, slots=True)
class Round:
    """What one measurement came to. µs are of processor time a decision."""

    rate: float
    server_us: float
    store_us: float
    driver_us: float
    conflicts: float  # a million decisions
    failed: int
    cores: float  # that everything used together


@dataclass(frozen=True, slots=True)
class Serving:
    """Servers that are measured together."""

    servers: Sequence[Server]
    connections: int


@dataclass(slots=True)
class Stage:
    """One store with the standard customers."""

    folder: Path
    url: str
    store: redis.Redis
    store_process: psutil.Process
    bodies: Sequence[bytes]
    drive: Drive
    seconds: int

    @contextmanager
    def serving(self, count: int, connections: int, workers: int = 1) -> Iterator[Serving]:
        """So many servers, ready, warm, and known to do the job; driven over so many connections in all."""
        with ExitStack() as stack:
            ports = [free_port() for _ in range(count)]
            run = [sys.executable, "-c", "from app.cli import main; main()", "serve", "--bundle", str(BUNDLE)]
            env = project_env(self.url) | {"NEXTBEST_EVENT_WORKER": "false"}
            servers = [
                stack.enter_context(
                    started(
                        f"node-{port}",
                        [*run, "--host", HOST, "--port", str(port), "--workers", str(workers)],
                        port,
                        core=None,
                        logs=self.folder,
                        env=env,
                    )
                )
                for port in ports
            ]
            for server in servers:
                if not is_model_send(ask(server.port, patient(self.bodies[0]))):
                    raise CannotStart("an answer is not the standard job's")
            self.drive(ports, self.bodies, connections, 1, self.folder)
            yield Serving(servers, connections)

    def measure(self, serving: Serving) -> Round:
        """One round over all of them."""
        servers, ports = serving.servers, [server.port for server in serving.servers]

        def clocks() -> tuple[float, float, float]:
            conflicts = sum(metric(port, "commit_conflicts_total") for port in ports)
            return sum(server.usage().cpu_s for server in servers), usage(self.store_process).cpu_s, conflicts

        before = clocks()
        driven = self.drive(ports, self.bodies, serving.connections, self.seconds, self.folder)
        after = clocks()
        answers = max(driven.answers, 1)
        server_s, store_s = after[0] - before[0], after[1] - before[1]
        return Round(
            rate=driven.rate,
            server_us=server_s / answers * 1e6,
            store_us=store_s / answers * 1e6,
            driver_us=driven.cpu_s / answers * 1e6,
            conflicts=(after[2] - before[2]) / answers * 1e6,
            failed=driven.failed,
            cores=(server_s + store_s + driven.cpu_s) / driven.seconds,
        )


@contextmanager
def stage(seconds: int) -> Iterator[tuple[Stage, str]]:
    """Raises CannotStart. Beside it the driver's name."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nextbest-bench-")))
        store, url = stack.enter_context(valkey(folder, cores().driver))
        process = psutil.Process(int(store.info("server")["process_id"]))
        process.cpu_affinity([])  # wherever the system likes
        bodies = [decide_body(str(key)) for key in walk()]
        name, drive = driver()
        on = Stage(folder, url, store, process, bodies, drive, seconds)
        port = free_port()
        run = [sys.executable, "-c", "from app.cli import main; main()", "serve", "--bundle", str(BUNDLE)]
        loader = started("loader", [*run, "--port", str(port)], port, core=None, logs=folder, env=project_env(url))
        with loader:
            load_project(port)
        yield on, name


def patient(body: bytes) -> bytes:
    """The same, with time to spare: the first answers of a process that has just begun take longest."""
    return json.dumps({**json.loads(body), "budget_ms": BUDGET_MS_MAX}).encode()


def ask(port: int, body: bytes) -> Any:
    return httpx.post(f"http://{HOST}:{port}/v1/decide", content=body, timeout=10).json()


def metric(port: int, name: str) -> float:
    """The sum of a metric's series."""
    text = httpx.get(f"http://{HOST}:{port}/metrics", timeout=10).text
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(f"nextbest_{name}"))
