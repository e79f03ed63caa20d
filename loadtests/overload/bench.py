"""Beyond the peak: `python -m loadtests.overload.bench` (or `make bench-overload`).

--quick      five seconds at each load: a smoke test, figures mean little
--publish    and the figures to docs/overload.md

The standard job, one worker on one core, the store and the driver on another. The peak is measured first, by a closed
loop; then 1.5, 2 and 4 times as many requests fall due, evenly, whatever the server does, over a thousand connections.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
import time
from dataclasses import replace
from typing import Annotated

import typer
from rich.console import Console

from loadtests.driver import Target, http_request
from loadtests.lean import drive
from loadtests.lines import store_version
from loadtests.overload import report
from loadtests.overload.results import FACTORS, Calm, Found, Results
from loadtests.overload.tally import Overload
from loadtests.standard import servers
from loadtests.standard.job import walk
from loadtests.standard.machine import describe, own_cpu_s, require_linux, usage
from loadtests.standard.measure import Contestant
from loadtests.standard.servers import HOST, CannotStart
from loadtests.standard.stage import Stage, add_loaded_project, stage

#: As many as there are callers when nobody waits for a free one: at four times the peak, with the budget below, some
#: hundreds of decisions are under way at once, and refusals are on their way as well.
CONNECTIONS = 1024
#: What a message on a page may take (the demo's placement); the job's own 200 ms would leave room for a long line.
BUDGET_MS = 100
PEAK_AT = (16, 64)
FLOOR_RATE = 20_000.0  # refusals a second at about four times the peak
CALM_WITHIN_S = 10.0


def carry_out(on: Stage, seconds: float, peak_s: float, console: Console) -> Results:
    # The store writes its file anew whenever that has doubled, at the cost of half a core for seconds: this core is
    # driver and store in one, and that is not what is measured (docs/overload.md).
    on.store.config_set("auto-aof-rewrite-percentage", 0)
    floor_us = cost_of_refusing(on, 2.0)
    project = add_loaded_project(on)[0]
    target = overload_target(project)
    found = []
    # A decision costs more the longer its customer's ledger is: so each load stands between two looks at the peak.
    before = _peak(target, peak_s)
    console.print(f"peak: {before:,.0f} decisions/s; reading and refusing alone: {floor_us:.1f} µs", highlight=False)
    for factor in FACTORS:
        one = measured(on, project, target, factor, before, floor_us, seconds)
        after = _peak(target, peak_s)
        one = replace(one, peak=(before + after) / 2)
        console.print(report.line(one), highlight=False)
        found.append(one)
        before = after
    return Results(describe(store_version(on.store), on.cores), BUDGET_MS, seconds, found)


def cost_of_refusing(on: Stage, seconds: float) -> float:
    """µs of a core for reading one request and writing a refusal, in a server that does nothing else."""
    port = servers.free_port()
    with servers.started(
        "floor",
        [sys.executable, "-m", "loadtests.overload.floor", str(port)],
        port,
        core=on.cores.server,
        logs=on.directory,
        ready_path="/",
    ) as floor:
        clocks: list[float] = []
        tally = Overload(budget_ns=BUDGET_MS * 1_000_000)
        target = Target(HOST, port, itertools.repeat(http_request("/v1/decide", _body(0))))
        drive(
            target,
            CONNECTIONS,
            FLOOR_RATE,
            tally.add,
            warm_up_s=0.5,
            seconds=seconds,
            edge=lambda: clocks.append(floor.usage().cpu_s),
        )
    return (clocks[1] - clocks[0]) / tally.refused * 1e6


def _peak(target: Target, seconds: float) -> float:
    return max(_closed(target, connections, seconds) for connections in PEAK_AT)


def overload_target(project: Contestant) -> Target:
    requests = [http_request("/v1/decide", _body(key)) for key in walk()]
    return Target(HOST, project.server.port, itertools.cycle(requests))


def _body(customer: int) -> bytes:
    context = {"language": "de", "region": "DE"}
    body = {"customer": str(customer), "placements": ["standard"], "context": context, "budget_ms": BUDGET_MS}
    return json.dumps(body).encode()


def measured(
    on: Stage, project: Contestant, target: Target, factor: float, peak: float, floor_us: float, seconds: float
) -> Found:
    """One load, and how long it takes until everything is taken again after it."""
    tally = Overload(budget_ns=BUDGET_MS * 1_000_000)
    clocks: list[tuple[float, float, float]] = []

    def edge() -> None:
        clocks.append((project.server.usage().cpu_s, usage(on.meter.store).cpu_s, own_cpu_s()))

    sent = drive(
        target, CONNECTIONS, peak * factor, tally.add, warm_up_s=min(2.0, seconds / 4), seconds=seconds, edge=edge
    )
    calm = _calm(target, peak)
    before, after = clocks
    server_s, store_s, driver_s = (b - a for a, b in zip(before, after, strict=True))
    return Found.of(factor, peak, floor_us, tally, sent, seconds, server_s, store_s, driver_s, calm)


def _calm(target: Target, peak: float) -> Calm:
    """After the load: half of the peak is asked, a moment at a time, until nothing of it is refused or late."""
    begun = time.monotonic()
    while time.monotonic() - begun < CALM_WITHIN_S:
        tally = Overload(budget_ns=BUDGET_MS * 1_000_000)
        drive(target, PEAK_AT[-1], peak / 2, tally.add, warm_up_s=0.0, seconds=0.25)
        if tally.answers and tally.useful == tally.answers:
            return Calm(time.monotonic() - begun)
    return Calm(None)


def _closed(target: Target, connections: int, seconds: float) -> float:
    """Useful answers a second with so many requests under way at all times."""
    tally = Overload(budget_ns=BUDGET_MS * 1_000_000)
    drive(target, connections, math.inf, tally.add, warm_up_s=1.0, seconds=seconds)
    return tally.useful / seconds


def main(
    seconds: Annotated[float, typer.Option(min=1.0, help="Measured time of each load.")] = 60.0,
    quick: Annotated[bool, typer.Option("--quick", help="Five seconds each.")] = False,
    publish: Annotated[bool, typer.Option("--publish", help="Write docs/overload.md.")] = False,
) -> None:
    """Measure what the project still answers beyond its peak."""
    require_linux()
    console = Console()
    if quick:
        seconds = 5.0
    try:
        with stage(1.0, seconds) as on:
            results = carry_out(on, seconds, 2.0 if quick else 5.0, console)
    except CannotStart as problem:
        console.print(f"[bold red]{problem}", highlight=False)
        raise typer.Exit(1) from problem
    report.show(results, console)
    console.print(f"kept in {report.keep(results).relative_to(servers.ROOT)}")
    if publish:
        report.publish(results)


if __name__ == "__main__":
    typer.run(main)
