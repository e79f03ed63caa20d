"""Several nodes, and several workers: `python -m loadtests.nodes.bench`.

One, two and four servers on one store under the standard job, and `--workers 2` beside `--workers 1`, in turns. Nothing
is pinned: servers, store and driver share the cores that there are.

--quick               short rounds: a smoke test, figures mean little
--publish             and write the table to docs/scaling.md
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import httpx
import psutil
import redis
import typer

from loadtests.capacity.table import PAGE
from loadtests.lines import UNPINNED, Line, console, store_version, tell
from loadtests.nodes.drive import Drive, driver
from loadtests.standard.job import BUNDLE, decide_body, walk
from loadtests.standard.machine import cores, describe, require_linux, usage
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

NODES = (1, 2, 4)
CONNECTIONS = 32  # over all nodes; eight at least for each
WANTED = 1.4  # two workers over one


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
    def serving(self, count: int, workers: int = 1) -> Iterator[list[Server]]:
        """So many servers, ready, warm, and known to do the job."""
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
                if not is_model_send(ask(server.port, self.bodies[0])):
                    raise CannotStart("an answer is not the standard job's")
            self.drive(ports, self.bodies, CONNECTIONS, 1, self.folder)
            yield servers

    def measure(self, servers: Sequence[Server]) -> Round:
        """One round over all of them."""
        ports = [server.port for server in servers]

        def clocks() -> tuple[float, float, float]:
            conflicts = sum(metric(port, "commit_conflicts_total") for port in ports)
            return sum(server.usage().cpu_s for server in servers), usage(self.store_process).cpu_s, conflicts

        before = clocks()
        driven = self.drive(ports, self.bodies, CONNECTIONS, self.seconds, self.folder)
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


def ask(port: int, body: bytes) -> Any:
    return httpx.post(f"http://{HOST}:{port}/v1/decide", content=body, timeout=10).json()


def metric(port: int, name: str) -> float:
    """The sum of a metric's series."""
    text = httpx.get(f"http://{HOST}:{port}/metrics", timeout=10).text
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(f"nextbest_{name}"))


def nodes(on: Stage, rounds: int) -> list[Line]:
    """One, two and four servers, in turns."""
    lines, first = [], 0.0
    for count in NODES:
        with on.serving(count) as servers:
            found = [on.measure(servers) for _ in range(rounds)]
        server_us, store_us = median(each.server_us for each in found), median(each.store_us for each in found)
        first = first or server_us
        lines += [
            Line(
                f"{count} node{'s' * (count > 1)}: decisions/s",
                "",
                f"{median(each.rate for each in found):,.0f}, on {median(each.cores for each in found):.2f} cores",
                None,
                {"rounds": [asdict(each) for each in found]},
            ),
            Line("… CPU µs a decision: servers, store, driver", "", in_us(found), None),
            Line("… servers' over one node's", "", f"{server_us / first:.2f} ×", None, {"store_us": store_us}),
            Line("… conflicts of a million decisions", "", f"{median(each.conflicts for each in found):.0f}", None),
            Line("… failed", "0", f"{sum(each.failed for each in found)}", not any(each.failed for each in found)),
        ]
    return lines


def in_us(found: Sequence[Round]) -> str:
    middle = [median(getattr(each, name) for each in found) for name in ("server_us", "store_us", "driver_us")]
    return ", ".join(f"{us:.0f}" for us in middle)


def workers(on: Stage, rounds: int) -> list[Line]:
    """Two workers beside one, in turns."""
    ones: list[Round] = []
    twos: list[Round] = []
    with on.serving(1, workers=1) as one, on.serving(1, workers=2) as two:
        for number in range(rounds):
            turn = [(ones, one), (twos, two)] if number % 2 == 0 else [(twos, two), (ones, one)]
            for rounds_of, servers in turn:
                rounds_of.append(on.measure(servers))
    ratios = sorted(b.rate / a.rate for a, b in zip(ones, twos, strict=True))
    ratio = median(ratios)
    bound = f"{median(each.cores for each in ones):.2f} and {median(each.cores for each in twos):.2f}"
    return [
        Line("--workers 1: decisions/s", "", f"{median(each.rate for each in ones):,.0f}; µs {in_us(ones)}", None),
        Line("--workers 2: decisions/s", "", f"{median(each.rate for each in twos):,.0f}; µs {in_us(twos)}", None),
        Line(
            "… two over one, neighbours in time",
            f"≥ {WANTED:g} ×",
            f"{ratio:.2f} × [{ratios[0]:.2f}, {ratios[-1]:.2f}] of {len(ratios)}",
            ratio >= WANTED,
            {"ones": [asdict(each) for each in ones], "twos": [asdict(each) for each in twos]},
        ),
        Line("… cores that everything used, of those there are", "", bound, None),
        Line("… the most that two cores allow", "", f"{ceiling(ones):.2f} ×", None),
    ]


def ceiling(ones: Sequence[Round]) -> float:
    """Two cores full, over one worker's core full, where a decision costs store and driver the same."""
    server, beside = (
        median(each.server_us for each in ones),
        median(each.store_us + each.driver_us for each in ones),
    )
    return 2 * server / (server + beside)


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Short rounds: a smoke test.")] = False,
    publishing: Annotated[bool, typer.Option("--publish", help="Write docs/scaling.md.")] = False,
) -> None:
    """Measure one, two and four nodes, and two workers beside one."""
    require_linux()
    seconds, rounds = (1, 2) if quick else (5, 7)
    out = console()
    try:
        with stage(seconds) as (on, name):
            machine = replace(describe(store_version(on.store), cores()), pinned=f"{UNPINNED}, driven by {name}")
            lines = [*nodes(on, rounds), *workers(on, rounds)]
    except CannotStart as error:
        raise SystemExit(str(error)) from error
    tell(out, lines, machine, "nodes", publishing=publishing, page=PAGE)


if __name__ == "__main__":
    typer.run(main)
