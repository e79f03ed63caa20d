"""The table of `docs/faults.md`, between its markers, from a run."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from datetime import UTC, datetime

from tests.chaos.faults import FAULTS
from tests.chaos.run import Endured
from tests.chaos.seen import in_words
from tests.support.server import ROOT

PAGE = ROOT / "docs" / "faults.md"
BEGIN, END = "<!-- chaos: begin -->", "<!-- chaos: end -->"
HEAD = (
    "| what happened | s | requests | what callers were answered | late | by itself | p50 ms | p99 | max "
    "| well after, s | lost |",
    "|---|--:|--:|---|--:|--:|--:|--:|--:|--:|---|",
)


def table(endured: list[Endured]) -> Iterator[str]:
    words = {fault.name: fault.words for fault in FAULTS}
    yield from HEAD
    for each in endured:
        row = each.row
        yield (
            f"| {words[row.fault]} | {row.seconds:g} | {row.requests} | {in_words(row.said)} | {row.late} "
            f"| {row.late_by_itself} | {row.p50_ms:g} | {row.p99_ms:g} | {row.max_ms:g} | {row.well_after_s:g} "
            f"| {row.lost} |"
        )


def publish(endured: list[Endured]) -> None:
    """Replace what is between the markers. What was not kept is told as well, and what could not be made."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    broken = [each for each in endured if each.wrong]
    left_out = {fault.name for fault in FAULTS} - {each.row.fault for each in endured}
    said = [
        f"Measured on {datetime.now(UTC):%Y-%m-%d}, CPython {platform.python_version()}. Of {len(endured)} faults "
        f"{len(endured) - len(broken)} were kept. While an answer was on its way its server waited for a processor "
        f"for up to {max(each.row.waited_most_ms for each in endured):.0f} ms.",
        *(f"- **{each.row.fault}** was not: {'; '.join(f'`{wrong}`' for wrong in each.wrong[:3])}" for each in broken),
        *(f"- `{name}` was left out: it cannot be made here." for name in sorted(left_out)),
    ]
    PAGE.write_text("\n".join([before + BEGIN, *said, "", *table(endured), END]) + after)
