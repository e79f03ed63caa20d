"""The benchmark of events: `python -m loadtests.events.bench` (or `make bench-events`).

--quick               short rounds: a smoke test of less than a minute, figures mean little
--part sustained      single parts: sustained, beside, fold, size, burst, takeover
--pinned              the server on one core, everything else on another, instead of all on all
--publish             and write the table to docs/performance.md
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Annotated

import typer

from loadtests.events import parts, storms
from loadtests.events.size import bytes_a_customer
from loadtests.events.stage import Stage, stage
from loadtests.lines import PINNED, UNPINNED, Line, console, store_version, tell
from loadtests.standard.machine import Machine, cores, describe, require_linux
from loadtests.standard.servers import CannotStart

SUSTAINED_WANTED = 5_000
BYTES_WANTED = 2_048
#: What the streams may hold in the burst, so little that the door has to be shut: some 40,000 events, in the short
#: one 10,000.
BURST_ROOM_BYTES, BURST_ROOM_BYTES_QUICK = 8 * 1024 * 1024, 2 * 1024 * 1024


class Part(StrEnum):
    SUSTAINED = "sustained"
    BESIDE = "beside"
    SIZE = "size"
    TAKEOVER = "takeover"
    BURST = "burst"
    FOLD = "fold"


def measure(
    chosen: Sequence[Part], *, quick: bool, pinned: bool, say: Callable[[str], None]
) -> tuple[list[Line], Machine]:
    """All chosen parts, in this order: the fold alone last, when nothing else runs."""
    seconds, rounds = (2.0, 2) if quick else (20.0, 5)
    markers = [f"marker{number:05d}" for number in range(round(rounds * (seconds + 6) * 10))]
    lines: list[Line] = []

    def add(part: Part, act: Callable[[], list[Line]]) -> None:
        if part in chosen:
            say(part)
            lines.extend(act())

    with stage(markers, pinned=pinned) as on:
        machine = replace(describe(store_version(on.store), cores()), pinned=PINNED if pinned else UNPINNED)
        add(Part.SUSTAINED, lambda: parts.sustained(on, seconds, SUSTAINED_WANTED))
        add(Part.BESIDE, lambda: parts.beside(on, seconds / 3, 3 * rounds, markers))  # medians of many short rounds
        add(Part.SIZE, lambda: _sizes(on))
        add(Part.TAKEOVER, lambda: storms.takeover(on))
    if Part.BURST in chosen:
        say(Part.BURST)
        with stage((), BURST_ROOM_BYTES_QUICK if quick else BURST_ROOM_BYTES, pinned=pinned) as on:
            lines.extend(storms.burst(on, 2.0 if quick else 60.0))
    add(Part.FOLD, parts.fold_alone)
    return lines, machine


def _sizes(on: Stage) -> list[Line]:
    each = bytes_a_customer(on.store)
    found = [
        Line(
            "store bytes of an active customer, 12 features",
            f"≤ {BYTES_WANTED:,}",
            f"{each:,.0f}",
            each <= BYTES_WANTED,
        )
    ]
    applied = on.visible.count()
    if applied:
        seen = on.visible.bytes_of(b"{s*}:seen:*") / applied
        words = f"store bytes to know a repeat for 72 h, an event (of {applied:,})"
        found.append(Line(words, "", f"{seen:.1f}", None, {"bytes_an_event": seen}))
    return found


def main(
    part: Annotated[list[Part] | None, typer.Option(help="Only these parts.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Short rounds, less than a minute.")] = False,
    pinned: Annotated[bool, typer.Option("--pinned", help="The server on one core, all else on another.")] = False,
    publishing: Annotated[bool, typer.Option("--publish", help="Write docs/performance.md.")] = False,
) -> None:
    """Measure events through the whole machine: how many, how soon, beside decisions, in how much memory, and what
    happens in a storm."""
    require_linux()
    out = console()
    try:
        lines, machine = measure(
            part or list(Part), quick=quick, pinned=pinned, say=lambda what: out.print(f"… {what}", style="dim")
        )
    except CannotStart as error:
        raise SystemExit(str(error)) from error
    tell(out, lines, machine, "events", publishing=publishing)


if __name__ == "__main__":
    typer.run(main)
