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
    "| what happened | s | requests | what callers were answered | late | p50 ms | p99 | max | well after, s | lost |",
    "|---|--:|--:|---|--:|--:|--:|--:|--:|---|",
)


def table(endured: list[Endured]) -> Iterator[str]:
    words = {fault.name: fault.words for fault in FAULTS}
    yield from HEAD
    for each in endured:
        row = each.row
        yield (
            f"| {words[row.fault]} | {row.seconds:g} | {row.requests} | {in_words(row.said)} | {row.late} "
            f"| {row.p50_ms:g} | {row.p99_ms:g} | {row.max_ms:g} | {row.well_after_s:g} | {row.lost} |"
        )


def publish(endured: list[Endured]) -> None:
    """Replace what is between the markers."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    noise_ms = max(each.noise_ms for each in endured)
    said = (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}, CPython {platform.python_version()}; the machine was late by "
        f"{noise_ms:.0f} ms at the most."
    )
    PAGE.write_text("\n".join([before + BEGIN, said, "", *table(endured), END]) + after)
