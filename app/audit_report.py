"""How `nextbest audit data` shows what it found: a table for people, JSON with every list in full for tools."""

from __future__ import annotations

import json
from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from policy.audit import Audit, Row

#: Names of one kind of reader in the table; JSON has them all.
NAMES_SHOWN = 4
_COLOURS = {"none": "dim", "personal": "blue"}
_ABOUT = {
    "unused": "Unused",
    "owner": "Missing an owner",
    "contract": "Without a freshness contract",
    "approval": "Approval ended",
    "retention": "Without a retention",
}


def as_table(audit: Audit) -> None:
    """Prints the rows, kind by kind, then what a reviewer would ask about."""
    console = Console()
    console.print(f"Data of the bundle {audit.bundle}, owned by {audit.owner}", style="bold", highlight=False)
    table = Table("what", "owner", "sensitivity", "kept", "handling", "read by", "remarks")
    for kind, rows in groupby(audit.rows, key=lambda row: row.kind):
        table.add_section()
        for row in rows:
            table.add_row(*_cells(kind, row))
    console.print(table)
    for question in audit.questions:
        heading = Text(f"{_ABOUT[question.about]} ({len(question.names)}): ", style="bold")
        console.print(heading + Text(", ".join(question.names), style="not bold"))
        console.print(Text(f"  {question.why}", style="dim"))
    if not audit.questions:
        console.print("nothing unused, nothing without an owner")


def _cells(kind: str, row: Row) -> tuple[Text, ...]:
    """Everything is plain `Text`: rules hold brackets, which rich would read as its markup."""
    source = f" ← {', '.join(row.sources)}" if row.sources else ""
    approved = [f"approved by {row.approval}"] if row.approval else []
    purposes = [f"for {', '.join(row.purposes)}"] if row.purposes and kind != "consent" else []
    return (
        Text(f"{kind} {row.name}{source}"),
        Text(row.owner if row.owned else f"({row.owner})"),
        Text(row.sensitivity, style=_COLOURS.get(row.sensitivity, "red")),
        Text(row.kept),
        Text("; ".join(filter(None, (*purposes, row.handling, *approved)))),
        Text("; ".join(_readers(name, names) for name, names in row.readers.items())),
        Text("; ".join(row.remarks)),
    )


def _readers(kind: str, names: tuple[str, ...]) -> str:
    """`messages mens_email, womens_email +3`. Rules are counted: their text stands in JSON."""
    if kind == "rule":
        return f"{len(names)} rule{'s' * (len(names) != 1)}"
    more = f" +{len(names) - NAMES_SHOWN}" if len(names) > NAMES_SHOWN else ""
    return f"{kind}{'s' * (len(names) != 1)} {', '.join(names[:NAMES_SHOWN])}{more}"


def as_text_json(audit: Audit) -> str:
    """One JSON document: `{"bundle", "owner", "rows", "questions", "nodes", "edges"}`; an edge is `[from, to]`, both
    `kind:name`."""
    document = {
        "bundle": audit.bundle,
        "owner": audit.owner,
        "rows": [row._asdict() for row in audit.rows],
        "questions": [question._asdict() for question in audit.questions],
        "nodes": [str(node) for node in audit.graph.nodes],
        "edges": [[str(edge.before), str(edge.after)] for edge in audit.graph.edges],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)
