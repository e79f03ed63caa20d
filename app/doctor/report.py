"""How `nextbest doctor` shows what it found."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.doctor.command import Diagnosis
from app.doctor.finding import Finding, Severity

_COLOURS = {Severity.SEVERE: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "dim"}


def as_table(diagnosis: Diagnosis) -> None:
    """Prints the findings, the most severe first, and one line that sums them up."""
    console = Console()
    if diagnosis.findings:
        table = Table("", "what", "how many", "what to do", show_lines=True)
        for finding in diagnosis.findings:
            word = Text(finding.severity.name.lower(), style=_COLOURS[finding.severity])
            table.add_row(word, Text(finding.what), Text(_how_many(finding)), Text(finding.remedy))
        console.print(table)
    for owner, (oldest, newest) in diagnosis.ages.items():
        console.print(f"attributes of {owner}: written from {_day(oldest)} to {_day(newest)}", markup=False)
    counts = [(sum(each.severity is level for each in diagnosis.findings), level) for level in reversed(Severity)]
    found = ", ".join(f"{count} {level.name.lower()}" for count, level in counts if count) or "nothing"
    looked_at = f"a sample of {diagnosis.customers:,}" if diagnosis.sampled else f"all {diagnosis.customers:,}"
    console.print(f"{found}; {looked_at} customers looked at, bundle {diagnosis.bundle}", style="bold", markup=False)


def as_text_json(diagnosis: Diagnosis) -> str:
    """`{"bundle", "customers", "sampled", "findings": [{severity, code, what, remedy, count, of, share, interval}],
    "ages"}`."""
    document = diagnosis._asdict()
    document["ages"] = {owner: {"oldest": _iso(o), "newest": _iso(n)} for owner, (o, n) in diagnosis.ages.items()}
    document["findings"] = [_finding(each) for each in diagnosis.findings]
    return json.dumps(document, indent=2, ensure_ascii=False)


def _finding(finding: Finding) -> dict[str, Any]:
    found = asdict(finding) | {"severity": finding.severity.name.lower()}
    return found | {"share": finding.share, "interval": finding.interval}


def _how_many(finding: Finding) -> str:
    if finding.share is None:
        return f"{finding.count:,}"
    text = f"{finding.count:,} of {finding.of:,}: {finding.share:.1%}"
    if finding.interval is not None:
        low, high = finding.interval
        text += f" ({low:.1%} to {high:.1%} of all)"
    return text


def _day(at_ms: int) -> str:
    return _iso(at_ms)[:10]


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()
