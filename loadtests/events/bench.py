"""The benchmark of events: `python -m loadtests.events.bench` (or `make bench-events`).

--quick               short rounds: a smoke test of less than a minute, figures mean little
--part sustained      single parts: sustained, beside, fold, size, burst, takeover
--pinned              the server on one core, everything else on another, instead of all on all
--publish             and write the table to docs/performance.md
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from loadtests.events import parts, storms
from loadtests.events.parts import Line
from loadtests.events.size import bytes_a_customer
from loadtests.events.stage import Stage, stage
from loadtests.standard.machine import Machine, cores, describe, require_linux
from loadtests.standard.servers import ROOT, CannotStart

WIDTH = 132
SUSTAINED_WANTED = 5_000
BYTES_WANTED = 2_048
#: What the streams may hold in the burst, so little that the door has to be shut: some 40,000 events, in the short
#: one 10,000.
BURST_ROOM_BYTES, BURST_ROOM_BYTES_QUICK = 8 * 1024 * 1024, 2 * 1024 * 1024
PINNED, UNPINNED = "the server on one core, all else on another", "all processes on all cores"
BEGIN, END = "<!-- events: begin -->", "<!-- events: end -->"


class Part(StrEnum):
    SUSTAINED = "sustained"
    BESIDE = "beside"
    SIZE = "size"
    TAKEOVER = "takeover"
    BURST = "burst"
    FOLD = "fold"


def measure(
    chosen: Sequence[Part], *, quick: bool, pinned: bool, say: Callable[[str], None]
) -> tuple[list[Line], Machine]:
    """All chosen parts, in this order: the fold alone last, when nothing else runs."""
    seconds, rounds = (2.0, 2) if quick else (20.0, 5)
    markers = [f"marker{number:05d}" for number in range(round(rounds * (seconds + 6) * 10))]
    lines: list[Line] = []

    def add(part: Part, act: Callable[[], list[Line]]) -> None:
        if part in chosen:
            say(part)
            lines.extend(act())

    with stage(markers, pinned=pinned) as on:
        machine = replace(describe(_store_version(on), cores()), pinned=PINNED if pinned else UNPINNED)
        add(Part.SUSTAINED, lambda: parts.sustained(on, seconds, SUSTAINED_WANTED))
        add(Part.BESIDE, lambda: parts.beside(on, seconds / 3, 3 * rounds, markers))  # medians of many short rounds
        add(Part.SIZE, lambda: _sizes(on))
        add(Part.TAKEOVER, lambda: storms.takeover(on))
    if Part.BURST in chosen:
        say(Part.BURST)
        with stage((), BURST_ROOM_BYTES_QUICK if quick else BURST_ROOM_BYTES, pinned=pinned) as on:
            lines.extend(storms.burst(on, 2.0 if quick else 60.0))
    add(Part.FOLD, parts.fold_alone)
    return lines, machine


def _sizes(on: Stage) -> list[Line]:
    each = bytes_a_customer(on.store)
    found = [
        Line(
            "store bytes of an active customer, 12 features",
            f"≤ {BYTES_WANTED:,}",
            f"{each:,.0f}",
            each <= BYTES_WANTED,
        )
    ]
    applied = on.visible.count()
    if applied:
        seen = on.visible.bytes_of(b"{s*}:seen:*") / applied
        words = f"store bytes to know a repeat for 72 h, an event (of {applied:,})"
        found.append(Line(words, "", f"{seen:.1f}", None, {"bytes_an_event": seen}))
    return found


def _store_version(on: Stage) -> str:
    info = on.store.info("server")
    return f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {info['redis_version']}"


def table(lines: Sequence[Line]) -> Table:
    shown = Table(expand=False)
    for head in ("", "wanted", "found", ""):
        shown.add_column(head, overflow="fold")
    for line in lines:
        shown.add_row(line.what, line.wanted, line.found, _verdict(line), style="red" if line.met is False else "")
    return shown


def _verdict(line: Line) -> str:
    return {None: "", True: "met", False: "NOT met"}[line.met]


def markdown(lines: Sequence[Line], machine: Machine) -> str:
    """The table and the machine, for the docs."""
    rows = "\n".join(f"| {line.what} | {line.wanted} | {line.found} | {_verdict(line)} |" for line in lines)
    facts = (
        f"{machine.processor}, {machine.cores} cores, {machine.pinned}, {machine.memory_gib:g} GiB, {machine.system}, "
        f"{machine.python}, {machine.store}, load average {machine.load_before} before the run"
    )
    return f"Run of {date.today()}: {facts}.\n\n| | wanted | found | |\n|---|---|---|---|\n{rows}\n"


def publish(lines: Sequence[Line], machine: Machine) -> Path:
    """Put the table where the docs keep it."""
    page = ROOT / "docs" / "performance.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{markdown(lines, machine)}{END}{after}", encoding="utf-8")
    return page


def main(
    part: Annotated[list[Part] | None, typer.Option(help="Only these parts.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Short rounds, less than a minute.")] = False,
    pinned: Annotated[bool, typer.Option("--pinned", help="The server on one core, all else on another.")] = False,
    publishing: Annotated[bool, typer.Option("--publish", help="Write docs/performance.md.")] = False,
) -> None:
    """Measure events through the whole machine: how many, how soon, beside decisions, in how much memory, and what
    happens in a storm."""
    require_linux()
    out = Console(width=WIDTH if not Console().is_terminal else None)
    try:
        lines, machine = measure(
            part or list(Part), quick=quick, pinned=pinned, say=lambda what: out.print(f"… {what}", style="dim")
        )
    except CannotStart as error:
        raise SystemExit(str(error)) from error
    out.print(table(lines))
    out.print(
        f"{machine.processor}, {machine.cores} cores, {machine.pinned}, {machine.system}, {machine.python}, "
        f"{machine.store}, load average {machine.load_before} before the run"
    )
    reports = ROOT / "reports"
    reports.mkdir(exist_ok=True)
    kept = reports / f"events-{time.strftime('%Y%m%dT%H%M%S')}.json"
    kept.write_text(json.dumps({"machine": machine.as_dict(), "lines": [asdict(line) for line in lines]}, indent=1))
    out.print(f"raw figures: {kept}")
    if publishing:
        out.print(f"written: {publish(lines, machine)}")


if __name__ == "__main__":
    typer.run(main)
