"""How `nextbest why` shows its answer: one screen."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from app import why_words
from app.why import Told
from app.why_words import Line, Mark

_COLOURS = {Mark.PASSED: "green", Mark.STOPPED: "red", Mark.OPEN: "dim"}


def show(told: Told, message: str | None) -> None:
    """Prints the answer, the gate, every candidate; with `message` its whole way instead of the others."""
    console = Console()
    console.print(Text(why_words.sentence(told), style="bold"))
    when = why_words.window(told)
    if when:
        console.print(Text(when))
    degraded = told.decision["degraded"]
    if degraded:
        console.print(Text(f"Less than full: {', '.join(degraded)}.", style="yellow"))
    _print(console, "the gate", why_words.gate(told))
    if message is None:
        _print(console, "messages", why_words.candidates(told))
    else:
        _print(console, f"the way of {message}", why_words.chain(told, message))


def _print(console: Console, title: str, lines: Iterable[Line]) -> None:
    console.print()
    console.print(Text(title, style="bold"))
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(width=3, justify="right")
    table.add_column(max_width=48)
    table.add_column(overflow="fold")
    for mark, what, detail in lines:
        style = _COLOURS[mark]
        table.add_row(
            Text(mark, style=style), Text(what, style="dim" if mark is Mark.OPEN else ""), Text(detail, style="dim")
        )
    console.print(table)
