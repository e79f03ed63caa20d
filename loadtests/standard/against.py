"""What a change costs: the standard job before and after it, and a bundle that uses everything, in one run.

    python -m loadtests.standard.against REVISION

Each contestant has a store of its own and the same customers. Rounds alternate, so that what the machine does besides
meets all of them alike; costs are compared pair by pair, as ratios with intervals.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import psutil
import redis
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from loadtests.driver import Target, http_request
from loadtests.standard import servers
from loadtests.standard.job import BUNDLE, CUSTOMERS, walk
from loadtests.standard.machine import Cores, cores
from loadtests.standard.measure import Contestant, Measurement, Meter, decide_target, is_model_send
from tests.support import privacy

BEFORE, AFTER, EVERYTHING = "before", "after", "everything"
CONNECTIONS = 16
RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Entrant:
    """A contestant, with the store that it alone uses."""

    contestant: Contestant
    meter: Meter

    def measure(self) -> Measurement:
        return self.meter.closed(self.contestant, CONNECTIONS)


@contextmanager
def checkout(revision: str) -> Iterator[Path]:
    """The tree of a revision, beside this one."""
    with TemporaryDirectory(prefix="nextbest-before-") as folder:
        tree = Path(folder) / "tree"
        subprocess.run(["git", "worktree", "add", "--detach", tree, revision], check=True, capture_output=True)
        try:
            yield tree
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", tree], check=True, capture_output=True)


def is_scored(answer: Any) -> bool:
    """Not all are sent where customers are held out; all are decided the whole way."""
    return all(one["funnel"]["scored"] > 0 for one in answer["decisions"])


def everything_target(port: int) -> Target:
    requests = [http_request("/v1/decide", privacy.decide_body(f"c{key}")) for key in walk()]
    return Target(servers.HOST, port, itertools.cycle(requests))


def load_everything(port: int) -> None:
    servers.bulk(port, (json.dumps(line) for line in privacy.customers(CUSTOMERS)))


def entrant(stack: ExitStack, where: Cores, name: str, root: Path, seconds: float) -> Entrant:
    """Start and load one; it runs the code of the tree at `root`."""
    directory = Path(stack.enter_context(TemporaryDirectory(prefix=f"nextbest-{name}-")))
    store, url = stack.enter_context(servers.valkey(directory, where.driver))
    port = servers.free_port()
    bundle = privacy.BUNDLE if name == EVERYTHING else BUNDLE
    command = servers.project_command(port, bundle)
    server = stack.enter_context(
        servers.started(name, command, port, core=where.server, logs=directory, env=servers.project_env(url), tree=root)
    )
    load: Callable[[int], None] = load_everything if name == EVERYTHING else servers.load_project
    load(port)
    made = (
        Contestant(name, server, everything_target(port), is_scored)
        if name == EVERYTHING
        else Contestant(name, server, decide_target(server), is_model_send)
    )
    return Entrant(made, Meter(_process(store), 1.0, seconds))


def _process(store: redis.Redis) -> psutil.Process:
    return psutil.Process(store.info("server")["process_id"])


def ratio(ours: list[float], theirs: list[float]) -> tuple[float, float, float]:
    """Median of the rounds' ratios, with a 95 % bootstrap interval."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    chance = random.Random(1)
    medians = sorted(median(chance.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    return median(ratios), medians[RESAMPLES // 40], medians[-RESAMPLES // 40]


def report(found: dict[str, list[Measurement]]) -> Table:
    table = Table("", "CPU µs a decision", "of before", "95 % interval", "decisions/s", "p99 ms", "store CPU µs")
    costs = {name: [each.cpu_us for each in measured] for name, measured in found.items()}
    for name, measured in found.items():
        middle, low, high = ratio(costs[name], costs[BEFORE])
        table.add_row(
            name,
            f"{median(costs[name]):.0f}",
            f"{middle:.3f}",
            "" if name == BEFORE else f"{low:.3f} – {high:.3f}",
            f"{median(each.rate for each in measured):,.0f}",
            f"{median(each.latency.p99 for each in measured):.1f}",
            f"{median(each.store_cpu_us for each in measured):.0f}",
        )
    return table


def main(
    revision: Annotated[str, typer.Argument(help="What is compared with: a commit.")],
    rounds: Annotated[int, typer.Option(min=2, help="Measurements of each.")] = 12,
    seconds: Annotated[float, typer.Option(min=1, help="Length of one.")] = 4.0,
) -> None:
    """Compares what a decision costs before and after a change."""
    where, affinity = cores(), os.sched_getaffinity(0)
    with ExitStack() as stack:
        root = stack.enter_context(checkout(revision))
        os.sched_setaffinity(0, {where.driver})
        stack.callback(os.sched_setaffinity, 0, affinity)
        trees = {BEFORE: root, AFTER: servers.ROOT, EVERYTHING: servers.ROOT}
        entrants = {name: entrant(stack, where, name, tree, seconds) for name, tree in trees.items()}
        found: dict[str, list[Measurement]] = {name: [] for name in entrants}
        with Progress() as progress:
            task = progress.add_task("rounds", total=rounds * len(entrants))
            for _ in range(rounds):
                for name, each in entrants.items():
                    found[name].append(each.measure())
                    progress.advance(task)
    Console().print(report(found))


if __name__ == "__main__":
    typer.run(main)
