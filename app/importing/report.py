"""How `nextbest import` shows how far it is, and what became of it: for people, and as JSON for tools."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from app.importing import progress
from app.importing.columns import IGNORE
from app.importing.run import Outcome


class Bar:
    """A progress bar on standard error, where that is a terminal: rows a second, taken, not taken, time left."""

    def __init__(self, name: str) -> None:
        console = Console(stderr=True)
        numbers = TextColumn(
            "{task.fields[rate]:,.0f} rows/s, {task.fields[taken]:,} taken, {task.fields[not_taken]:,} not"
        )
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), numbers, TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task(name, total=1.0, rate=0.0, taken=0, not_taken=0)

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def tell(self, outcome: Outcome, share: float) -> None:
        done = outcome.done
        elapsed_s = self._bar.tasks[0].elapsed or 0.0
        rate = (done.rows - outcome.skipped) / elapsed_s if elapsed_s else 0.0
        self._bar.update(self._task, completed=share, rate=rate, taken=done.accepted, not_taken=done.rejected)


def as_table(outcomes: Sequence[Outcome]) -> None:
    """Prints, of every file, which column is what, and what became of its rows."""
    console = Console()
    for outcome in outcomes:
        console.print(_columns(outcome))
        console.print(_words(outcome), style="bold", markup=False, highlight=False)
        if outcome.done.codes:
            console.print(_codes(outcome))
        if outcome.dropped:
            console.print(f"not kept, as the bundle says: {', '.join(sorted(outcome.dropped))}", markup=False)
        if outcome.done.rejected and not outcome.dry:
            console.print(f"all of them: {progress.rejections(outcome.path)}", markup=False, highlight=False)


def _columns(outcome: Outcome) -> Table:
    table = Table("column", "field", title=outcome.path.name, title_justify="left")
    for column in outcome.columns:
        if column.field is None:
            near = f"; did you mean --map {column.name}={column.nearest}?" if column.nearest else ""
            table.add_row(Text(column.name), Text(f"not known, left out{near}", style="yellow"))
        else:
            table.add_row(Text(column.name), Text("left out" if column.field == IGNORE else _shown(column.field)))
    return table


def _shown(field: str) -> str:
    return f"{field}, as its SHA-256 digest" if field in ("email", "phone") else field


def _words(outcome: Outcome) -> str:
    done = outcome.done
    if outcome.skipped and outcome.skipped == done.rows and done.finished:
        return f"imported before: {done.accepted:,} taken, {done.rejected:,} not; --no-resume imports it again"
    taken = "would be taken" if outcome.dry else "taken"
    rate = (done.rows - outcome.skipped) / outcome.seconds if outcome.seconds else 0.0
    words = (
        f"{done.rows:,} rows: {done.accepted:,} {taken}, {done.rejected:,} not; {outcome.seconds:.1f} s, {rate:,.0f}/s"
    )
    if outcome.skipped:
        words += f"; {outcome.skipped:,} by an earlier run"
    if outcome.waited_s >= 1:
        words += f"; {outcome.waited_s:.0f} s waited for the server"
    return words


def _codes(outcome: Outcome) -> Table:
    table = Table("why not", "rows", "such as")
    for code, rows in outcome.done.codes.most_common():
        shown = outcome.examples.get(code, [])
        table.add_row(Text(code), f"{rows:,}", Text("\n".join(f"line {each.number}: {each.detail}" for each in shown)))
    return table


def as_text_json(outcomes: Sequence[Outcome]) -> str:
    """`{"files": [{"file", "dry_run", "rows", "accepted", "rejected", "codes", "examples", "columns", …}]}`."""
    return json.dumps({"files": [_document(outcome) for outcome in outcomes]}, indent=2, ensure_ascii=False)


def _document(outcome: Outcome) -> dict[str, Any]:
    done = outcome.done
    return {
        "file": str(outcome.path),
        "dry_run": outcome.dry,
        "finished": done.finished,
        "rows": done.rows,
        "rows_of_an_earlier_run": outcome.skipped,
        "accepted": done.accepted,
        "rejected": done.rejected,
        "codes": dict(done.codes),
        "examples": {
            code: [{"line": e.number, "detail": e.detail} for e in es] for code, es in outcome.examples.items()
        },
        "dropped": sorted(outcome.dropped),
        "columns": [column._asdict() for column in outcome.columns],
        "seconds": round(outcome.seconds, 3),
        "waited_s": round(outcome.waited_s, 3),
    }
