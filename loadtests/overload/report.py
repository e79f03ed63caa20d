"""Tables for the terminal, the same in Markdown for `docs/overload.md`, a plot, and JSON for machines."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from loadtests.overload.plot import plot
from loadtests.overload.results import Found, Goal, Results, goals_of
from loadtests.standard.servers import ROOT

REPORTS = ROOT / "reports"
PAGE = ROOT / "docs" / "overload.md"
PICTURE = ROOT / "docs" / "overload.svg"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
COLUMNS = (
    "load", "peak/s", "asked/s", "useful/s", "of the peak", "possible", "late/s", "undecided/s", "refused/s",
    "p50 ms", "p99 ms", "refusal p50", "refusal p99", "server", "store", "driver", "driver late p99",
)  # fmt: skip


def line(one: Found) -> str:
    return (
        f"{one.factor:g} ×: {one.useful:,.0f}/s in time ({one.goodput:.0%} of the peak, {one.possible:.0%} possible), "
        f"{one.refused:,.0f}/s refused (p99 {one.refusal_p99:.1f} ms)"
    )


def cells(one: Found) -> tuple[str, ...]:
    rates = (f"{value:,.0f}" for value in (one.peak, one.asked, one.useful))
    goodput = (f"{share:.0%}" for share in (one.goodput, one.possible))
    others = (f"{value:,.0f}" for value in (one.late, one.undecided, one.refused))
    times = (f"{value:.1f}" for value in (one.p50, one.p99, one.refusal_p50, one.refusal_p99))
    shares = (f"{value:.0%}" for value in (one.server_share, one.store_share, one.driver_share))
    name = f"{one.factor:g} × the peak"
    return (name, *rates, *goodput, *others, *times, *shares, f"{one.driver_late_p99:.1f} ms")


def goal_cells(goal: Goal) -> tuple[str, ...]:
    return (goal.name, goal.wanted, goal.found, "met" if goal.met else "NOT met")


def facts(results: Results) -> list[str]:
    machine = results.machine
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    return [
        "peak: the better of 16 and 64 connections in a closed loop, before and after each load, in the mean; budget "
        f"{results.budget_ms} ms; {results.seconds:g} s each",
        f"reading a request and writing a refusal, with nothing in between: {results.found[0].floor_us:.1f} µs; "
        "*possible* is the goodput of a server whose refusals cost no more, and whose decisions cost what they do at "
        "the peak",
        f"{machine.processor}, {machine.cores} cores, {machine.memory_gib} GiB, {machine.system}; {machine.pinned}",
        f"{machine.python}, {machine.store}, {packages}",
        f"load average {machine.load_before} before the run",
    ]


def show(results: Results, console: Console) -> None:
    table = Table("target", "wanted", "found", "", title="Beyond the peak")
    for goal in goals_of(results):
        table.add_row(*goal_cells(goal), style="green" if goal.met else "bold red")
    console.print(table)
    for fact in facts(results):
        console.print(f"· {fact}", highlight=False)


def keep(results: Results) -> Path:
    """JSON and plot in `reports/`, under the time of the run. Returns the JSON's path."""
    REPORTS.mkdir(exist_ok=True)
    stem = REPORTS / f"overload-{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}"
    path = stem.with_suffix(".json")
    path.write_text(json.dumps(results.as_dict(), indent=1))
    stem.with_suffix(".svg").write_text(plot(results))
    return path


def publish(results: Results) -> None:
    """Put the figures between the markers of `docs/overload.md`, and the plot beside it."""
    head, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n{markdown(results)}\n{END}{rest.split(END)[1]}")
    PICTURE.write_text(plot(results))


def markdown(results: Results) -> str:
    goals = _table(("target", "wanted", "found", ""), map(goal_cells, goals_of(results)))
    rows = _table(COLUMNS, map(cells, results.found))
    picture = f"![What was answered in time, by second]({PICTURE.name})"
    lines = "\n".join(f"- {fact}" for fact in facts(results))
    return f"Run of {dt.datetime.now(dt.UTC):%Y-%m-%d}.\n\n{goals}\n\n{picture}\n\n{rows}\n\n{lines}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(one)} |" for one in lines)
