"""Tables for the terminal, the same in Markdown for `docs/performance.md`, and JSON for machines."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from loadtests.standard.measure import pairwise
from loadtests.standard.plot import latency_plot
from loadtests.standard.results import SIXTEEN, Goal, Results, Row, goals_of, rows_of
from loadtests.standard.servers import ROOT
from loadtests.standard.stage import PROJECT, QUICKSTART

REPORTS = ROOT / "reports"
PAGE = ROOT / "docs" / "performance.md"
PLOT = ROOT / "docs" / "performance-latency.svg"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
COLUMNS = ("load", "server", "per second", "CPU µs", "store µs", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "failed")


def cells(row: Row) -> tuple[str, ...]:
    doubts = {"driver-bound": row.driver_bound, "held up": row.held_up, "driver late": row.driver_late}
    doubt = "".join(f" ({what})" for what, true in doubts.items() if true)
    latencies = (f"{value:.2f}" for value in (row.p50, row.p90, row.p99, row.p999))
    costs = (f"{row.cpu_us:.0f}", f"{row.store_cpu_us:.0f}")
    return (row.label, row.name, f"{row.rate:,.0f}{doubt}", *costs, *latencies, str(row.failures))


def goal_cells(goal: Goal) -> tuple[str, ...]:
    bound = "≥" if goal.at_least else "≤"
    verdict = {True: "met", False: "NOT met", None: "not measured"}[goal.met]
    found = "" if goal.found is None else f"{goal.found:,.2f} {goal.unit}"
    return (goal.name, f"{bound} {goal.wanted:g} {goal.unit}", found, verdict)


def facts(results: Results) -> list[str]:
    """What a figure means nothing without, a line each."""
    machine = results.machine
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    lines = [
        f"{machine.processor}, {machine.cores} cores, {machine.memory_gib} GiB, {machine.system}; {machine.pinned}",
        f"{machine.python}, {machine.store}, {packages}",
        f"load average {machine.load_before} before the run",
    ]
    if results.memory:
        memory = results.memory
        parts = f"profile {memory.profile:.0f}, features {memory.features:.0f}, ledger {memory.ledger:.0f}"
        encodings = ", ".join(f"{kind}: {encoding}" for kind, encoding in memory.encodings.items())
        lines.append(f"memory of {memory.what}: {parts} bytes ({encodings})")
    if results.store_bytes_per_customer:
        lines.append(f"whole store, a loaded customer without ledger: {results.store_bytes_per_customer:,} bytes")
    if results.start_up:
        lines.append(f"ready on a running store after {results.start_up.running_store_s:.2f} s")
    cpu_ratio = pairwise(results.cpu_us(QUICKSTART, SIXTEEN), results.cpu_us(PROJECT, SIXTEEN))
    if cpu_ratio:
        lines.append(f"CPU a decision at {SIXTEEN}, the quickstart's over the project's: {cpu_ratio:.2f} ×")
    late = max((one.late_p99_ms for one in results.measurements), default=0.0)
    if late:
        lines.append(
            f"the driver itself was up to {late:.2f} ms late (p99 of the worst open loop), which is in the latencies"
        )
    if results.ledger_length:
        lines.append(f"ledger entries a customer at the end: {results.ledger_length:.1f}")
    if results.soak:
        made, rss = results.soak.points[-1]
        lines.append(f"resident memory after {made:,} decisions: {rss / 2**20:.0f} MiB")
    return [*lines, *results.notes]


def show(results: Results, console: Console) -> None:
    if results.measurements:
        table = Table(*COLUMNS, title="The standard job: medians over the rounds")
        for row in rows_of(results.measurements):
            table.add_row(*cells(row))
        console.print(table)
    _show_goals(goals_of(results), console)
    for line in facts(results):
        console.print(f"· {line}", highlight=False)


def _show_goals(goals: Sequence[Goal], console: Console) -> None:
    """Those that this run measured; how many it did not, in a word."""
    table = Table("target", "wanted", "found", "", title="Targets: medians of pairwise ratios")
    for goal in goals:
        if goal.met is not None:
            table.add_row(*goal_cells(goal), style="green" if goal.met else "bold red")
    if table.rows:
        console.print(table)
    if missing := sum(goal.met is None for goal in goals):
        console.print(f"· {missing} of {len(goals)} targets were not measured in this run", highlight=False)


def keep(results: Results) -> Path:
    """JSON and plot in `reports/`, under the time of the run. Returns the JSON's path."""
    REPORTS.mkdir(exist_ok=True)
    stem = REPORTS / f"bench-{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}"
    path = stem.with_suffix(".json")
    path.write_text(json.dumps(results.as_dict(), indent=1))
    plot = latency_plot(results.measurements)
    if plot:
        stem.with_suffix(".svg").write_text(plot)
    return path


def publish(results: Results) -> None:
    """Put the figures between the markers of `docs/performance.md`, and the plot beside it."""
    page = PAGE.read_text()
    head, rest = page.split(BEGIN)
    tail = rest.split(END)[1]
    PAGE.write_text(f"{head}{BEGIN}\n{markdown(results)}\n{END}{tail}")
    plot = latency_plot(results.measurements)
    if plot:
        PLOT.write_text(plot)


def markdown(results: Results) -> str:
    today = f"{dt.datetime.now(dt.UTC):%Y-%m-%d}"
    targets = _markdown_table(("target", "wanted", "found", ""), map(goal_cells, goals_of(results)))
    rows = _markdown_table(COLUMNS, map(cells, rows_of(results.measurements)))
    plot = f"![Latency by percentile]({PLOT.name})\n\n" if latency_plot(results.measurements) else ""
    return f"Run of {today}.\n\n{targets}\n\n{plot}{rows}\n\n" + "\n".join(f"- {line}" for line in facts(results))


def _markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
