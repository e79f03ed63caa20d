"""The benchmark on the standard job: `python -m loadtests.standard.bench` (or `make bench`).

--quick                                  short rounds: a smoke test, figures mean little
--only project --c 16 --seconds 5        one server under one load, for work on the hot path
--part memory --part start_up            single parts
--soak 1000000                           alone: the project's memory over that many decisions
--publish                                and the figures to docs/performance.md
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import redis
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from loadtests.standard import parts, report
from loadtests.standard.machine import describe, require_linux
from loadtests.standard.measure import Contestant, NotTheJob
from loadtests.standard.results import Results
from loadtests.standard.servers import ROOT, CannotStart
from loadtests.standard.stage import ALL, PROJECT, QUICKSTART, Stage, contestants, stage

WIDTH = 120  # columns of the tables where no terminal says how wide it is
LOADS = (1, 4, 16, 64)
START_UP_TIMES = 3


class Part(StrEnum):
    THROUGHPUT = "throughput"
    LATENCY = "latency"
    EXPLANATION = "explanation"
    MEMORY = "memory"
    START_UP = "start_up"


@dataclass(frozen=True, slots=True)
class Plan:
    only: Sequence[str]
    parts: frozenset[Part]
    loads: Sequence[int]
    rounds: int
    soak: int


def carry_out(plan: Plan, on: Stage, progress: Progress) -> Results:
    results = Results(describe(_store_version(on.store), on.cores), notes=on.notes)
    task = progress.add_task("starting servers", total=None)
    entrants = contestants(on, plan.only)
    by_name = {one.name: one for one in entrants}
    open_entrants = [one for one in entrants if one.name in (PROJECT, QUICKSTART)]
    progress.update(task, total=_count(plan, entrants, open_entrants))

    def advance(what: str) -> None:
        progress.update(task, advance=1, description=what, refresh=True)

    found = results.measurements
    if Part.THROUGHPUT in plan.parts:
        found.extend(parts.throughput(on, entrants, plan.loads, plan.rounds, advance))
    if Part.LATENCY in plan.parts:
        peaks = parts.peaks_of(on, open_entrants, found)
        found.extend(parts.latency(on, open_entrants, peaks, plan.rounds, advance))
    if PROJECT in by_name:
        _project_alone(plan, on, by_name[PROJECT], results, advance)
    results.store_bytes_per_customer = on.store_bytes_per_customer
    results.ledger_length = parts.mean_ledger_length(on)
    return results


def _project_alone(plan: Plan, on: Stage, project: Contestant, results: Results, advance: parts.Advance) -> None:
    """What is measured of the project only."""
    if Part.EXPLANATION in plan.parts:
        results.measurements.extend(parts.explanation(on, project, plan.rounds, advance))
    if Part.MEMORY in plan.parts:
        results.memory = parts.memory(on)
        advance("store memory")
    if Part.START_UP in plan.parts:
        results.start_up = parts.start_up(on, START_UP_TIMES)
        advance("start-up")
    if plan.soak:
        results.soak = parts.soak(on, project, plan.soak, advance)


def _count(plan: Plan, entrants: Sequence[Contestant], open_entrants: Sequence[Contestant]) -> int | None:
    """How many times the bar advances; unknown for a soak, whose length depends on what the server does."""
    if plan.soak:
        return None
    count = 0
    if Part.THROUGHPUT in plan.parts:
        count += len(plan.loads) * plan.rounds * len(entrants)
    if Part.LATENCY in plan.parts:
        count += parts.latency_count(open_entrants, plan.rounds)
    if any(one.name == PROJECT for one in entrants):
        count += 2 * plan.rounds * (Part.EXPLANATION in plan.parts)
        count += (Part.MEMORY in plan.parts) + (Part.START_UP in plan.parts)
    return count


def _store_version(store: redis.Redis) -> str:
    info = store.info("server")
    return f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {info['redis_version']}"


def main(
    only: Annotated[str, typer.Option(help="Comma list of: " + ", ".join(ALL))] = ",".join(ALL),
    part: Annotated[list[Part] | None, typer.Option(help="Only these parts; with --c alone: throughput.")] = None,
    c: Annotated[list[int] | None, typer.Option(help="Connections of the closed loop.")] = None,
    seconds: Annotated[float, typer.Option(min=0.2, help="Measured time of one measurement.")] = 5.0,
    warm_up: Annotated[float, typer.Option(min=0.0, help="Seconds before each.")] = 1.0,
    rounds: Annotated[int, typer.Option(min=1, help="Times each contestant takes its turn.")] = 3,
    soak: Annotated[int, typer.Option(min=0, help="Decisions to watch the server's memory over.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="One short round of everything.")] = False,
    publish: Annotated[bool, typer.Option("--publish", help="Write docs/performance.md.")] = False,
) -> None:
    """Measure the project and its peers on the standard job, side by side."""
    require_linux()
    names = [name.strip() for name in only.split(",")]
    if unknown := set(names) - set(ALL):
        raise typer.BadParameter(f"no such contestant: {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    given = bool(c)
    if quick:
        seconds, warm_up, rounds, c = 1.0, 0.3, 1, c or [1, 16]
    alone = soak and not (part or c or quick)
    plan = Plan(
        only=[PROJECT] if alone else names,
        parts=frozenset() if alone else _parts(part or [], throughput_only=given and not quick),
        loads=c or LOADS,
        rounds=rounds,
        soak=soak,
    )
    _run(plan, warm_up, seconds, publish)


def _parts(named: Sequence[Part], throughput_only: bool) -> frozenset[Part]:
    """Those that were named, else the one that connections were given for, else all."""
    return frozenset(named or ([Part.THROUGHPUT] if throughput_only else Part))


def _run(plan: Plan, warm_up_s: float, seconds: float, publish: bool) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    # Drawn between measurements only: a thread that redraws would share the driver's core with the driver.
    progress = Progress(*columns, console=console, auto_refresh=False)
    try:
        with stage(warm_up_s, seconds) as on, progress:
            results = carry_out(plan, on, progress)
    except (CannotStart, NotTheJob) as problem:
        console.print(f"[bold red]{problem}", highlight=False)
        raise typer.Exit(1) from problem
    report.show(results, console)
    console.print(f"kept in {report.keep(results).relative_to(ROOT)}")
    if publish:
        report.publish(results)


if __name__ == "__main__":
    typer.run(main)
