"""What a benchmark found, line by line: as a table in a terminal, as raw figures in `reports/`, and in the docs."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import redis
from rich.console import Console
from rich.table import Table

from loadtests.beside import SPIN_WORDS, Beside
from loadtests.standard.machine import Machine
from loadtests.standard.servers import ROOT

WIDTH = 132
PAGE = ROOT / "docs" / "performance.md"
PINNED, UNPINNED = "the server on one core, all else on another", "all processes on all cores"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table."""

    what: str
    wanted: str
    found: str
    met: bool | None  # None: nothing was promised
    raw: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        return {None: "", True: "met", False: "NOT met"}[self.met]


def ratio_lines(found: Beside, what: str) -> list[Line]:
    """What it costs decisions that something else happens."""
    ratio, span = found.ratio()
    return [
        Line("decide p99 alone, median of rounds", "", f"{median(found.alone_ms):.2f} ms", None),
        Line(f"decide p99 beside {what}", "", f"{median(found.together_ms):.2f} ms", None),
        Line("… ratio, neighbours in time", "≤ 1.5 ×", f"{ratio:.2f} × {span}", ratio <= 1.5),
        Line("… decisions that failed", "0", _failures(found), not found.decisions_failed),
        Line("… of it the driver's own lateness, p99", "", f"{median(found.driver_late_ms):.2f} ms", None),
        Line(f"… for comparison: beside another program, {SPIN_WORDS}", "", _spun(found), None),
    ]


def _spun(found: Beside) -> str:
    ratio, span = found.ratio(found.spun_ms)
    return f"{median(found.spun_ms):.2f} ms, {ratio:.2f} × {span}"


def _failures(found: Beside) -> str:
    """How many, and in which way."""
    return ", ".join(f"{number} {what}" for what, number in sorted(found.decisions_failed.items())) or "0"


def store_version(store: redis.Redis) -> str:
    """What the store is, for the table."""
    info = store.info("server")
    return f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {info['redis_version']}"


def console() -> Console:
    return Console(width=WIDTH if not Console().is_terminal else None)


def tell(
    out: Console, lines: Sequence[Line], machine: Machine, name: str, *, publishing: bool, page: Path | None = None
) -> None:
    """Print the table, keep the raw figures, and, `publishing`, put it where the docs keep the table of this name."""
    out.print(table(lines))
    out.print(
        f"{machine.processor}, {machine.cores} cores, {machine.pinned}, {machine.system}, {machine.python}, "
        f"{machine.store}, load average {machine.load_before} before the run"
    )
    reports = ROOT / "reports"
    reports.mkdir(exist_ok=True)
    kept = reports / f"{name}-{time.strftime('%Y%m%dT%H%M%S')}.json"
    kept.write_text(json.dumps({"machine": machine.as_dict(), "lines": [asdict(line) for line in lines]}, indent=1))
    out.print(f"raw figures: {kept}")
    if publishing:
        out.print(f"written: {publish(lines, machine, name, page)}")


def table(lines: Sequence[Line]) -> Table:
    shown = Table(expand=False)
    for head in ("", "wanted", "found", ""):
        shown.add_column(head, overflow="fold")
    for line in lines:
        shown.add_row(line.what, line.wanted, line.found, line.verdict, style="red" if line.met is False else "")
    return shown


def markdown(lines: Sequence[Line], machine: Machine) -> str:
    """The table and the machine, for the docs."""
    rows = "\n".join(f"| {line.what} | {line.wanted} | {line.found} | {line.verdict} |" for line in lines)
    facts = (
        f"{machine.processor}, {machine.cores} cores, {machine.pinned}, {machine.memory_gib:g} GiB, {machine.system}, "
        f"{machine.python}, {machine.store}, load average {machine.load_before} before the run"
    )
    return f"Run of {date.today()}: {facts}.\n\n| | wanted | found | |\n|---|---|---|---|\n{rows}\n"


def publish(lines: Sequence[Line], machine: Machine, name: str, page: Path | None = None) -> Path:
    """Put the table between the marks of its name, in `page` or docs/performance.md."""
    page = page or PAGE  # looked up now: tests put another one in its place
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    if not found:
        raise RuntimeError(f"{page.name} has no mark `{begin}`")
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n{markdown(lines, machine)}{end}{after}", encoding="utf-8")
    return page
