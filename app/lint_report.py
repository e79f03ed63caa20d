"""How `nextbest lint` shows what it found."""

from __future__ import annotations

import json
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from policy.reports import Report


def as_table(report: Report) -> None:
    """Prints a table of all mistakes, then the notes, then one line that sums them up."""
    console = Console()
    if report.mistakes:
        table = Table("where", "what", "write instead", show_lines=True)
        for mistake in report.mistakes:
            # `Text`: a message may hold brackets, which rich would read as its markup.
            table.add_row(f"{mistake.file}:{mistake.line}", Text(mistake.message), Text(mistake.remedy))
        console.print(table)
    for note in report.notes:
        console.print(f"note: {note}", markup=False, highlight=False)
    count = len(report.mistakes)
    console.print("no mistakes" if not count else f"{count} mistake{'s' if count > 1 else ''}")


def as_text_json(report: Report) -> str:
    """The report as one JSON document: `{"mistakes": [{file, line, code, message, remedy}], "notes": [...]}`."""
    document = {"mistakes": [asdict(mistake) for mistake in report.mistakes], "notes": list(report.notes)}
    return json.dumps(document, indent=2, ensure_ascii=False, default=asdict)
