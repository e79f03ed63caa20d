"""How `nextbest replay` says whether the records decided again to the same bytes."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.replay_records import Replay


def as_table(found: Replay) -> None:
    """Prints the counts, and the first decisions that differ."""
    console = Console()
    decisions = found.same + found.different
    how = f", {found.rescored:,} of them scored by the model again" if found.rescored else ""
    console.print(
        f"{found.requests:,} requests, {decisions:,} decisions decided again{how}: "
        f"{found.same:,} the same to the byte, {found.different:,} differ",
        style="bold" if found.proved else "bold red",
        highlight=False,
    )
    if found.without_bundle:
        console.print(f"{found.without_bundle:,} requests refer to a bundle that the file does not hold")
    if found.unreadable:
        console.print(f"{found.unreadable:,} requests cannot be decided again at all")
    for refused in sorted(found.refused):
        console.print(Text(refused))
    if found.differences:
        table = Table("decision", "what differs")
        for difference in found.differences:
            table.add_row(Text(difference.decision), Text(difference.what))
        console.print(table)
