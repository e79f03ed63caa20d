"""Puts findings where people look: a terminal, a JSON file, a page beside it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from loadtests.lines import console
from loadtests.mix.findings import Findings
from loadtests.mix.page import page
from loadtests.mix.slo import Goal
from loadtests.standard.servers import ROOT

WORDS = {True: "met", False: "NOT met", None: "not shown"}


def keep(found: Findings, path: Path | None, more: Sequence[str] = ()) -> Path:
    """Writes the JSON to `path` (`reports/load-<time>.json` when None) and the page beside it, with `more` parts.
    Returns the page's path."""
    path = path or ROOT / "reports" / f"load-{time.strftime('%Y%m%dT%H%M%S')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(found.model_dump_json(indent=1), encoding="utf-8")
    shown = path.with_suffix(".html")
    shown.write_text(page(found, more), encoding="utf-8")
    return shown


def say(found: Findings, path: Path) -> None:
    """The verdict, in a terminal."""
    out = console()
    out.print(table(found.goals))
    for fact in found.facts:
        out.print(f"· {fact}", highlight=False)
    out.print(f"{'every budget was kept' if found.met else 'NOT every budget was kept'}: {path}", highlight=False)


def table(goals: list[Goal]) -> Table:
    shown = Table("", "wanted", "found", "")
    for goal in goals:
        style = {True: "", False: "bold red", None: "dim"}[goal.met]
        shown.add_row(goal.what, goal.wanted, goal.found, WORDS[goal.met], style=style)
    return shown
