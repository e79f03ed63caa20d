"""Where a decision's processor time goes: `python -m loadtests.standard.flame`, `--publish` for docs/performance.md.

py-spy looks at the server's stack five hundred times a second while the standard job runs at 16 connections. Each look
belongs to the innermost function that is ours, so what a library does for it (parsing, packing, the model's trees)
counts with it; the shares are of the processor time that the operating system measured in the same seconds.
"""

from __future__ import annotations

import math
import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from loadtests.lean import Answer, drive
from loadtests.lines import Line, console, store_version, tell
from loadtests.standard.machine import describe, require_linux
from loadtests.standard.servers import ROOT, CannotStart, Server
from loadtests.standard.stage import Stage, add_loaded_project, stage

CONNECTIONS, RATE_HZ = 16, 500
PICTURE = ROOT / "docs" / "performance-flame.svg"


class Part(NamedTuple):
    """What belongs together, by how the innermost frame's file or function begins; the first that fits has it."""

    name: str
    budget_us: int  # DESIGN section 8
    beginnings: tuple[str, ...]


PARTS = (
    Part("the event loop: both sockets' reads and writes", 0, ("Runner.run", "Server.", "run (", "asyncio_run")),
    Part(
        "HTTP, JSON, validation", 39,
        ("app/http/", "app/admission", "app/core/decision/request", "app/core/decision/ids",
         "app/core/decision/situation"),
    ),
    Part(
        "read: packing, replies, decoding", 36,
        ("DecisionStore.read", "DecisionStore._read", "DecisionStore._decode", "app/store/profile", "app/store/ledger",
         "app/store/wire", "app/store/link", "app/store/resp", "app/store/node_link", "app/store/features"),
    ),
    Part(
        "record and commit: MessagePack, words, reply", 40,
        ("app/core/decision/record", "app/core/decision/commit", "app/store/"),
    ),
    Part("the model's trees, one run a turn", 30, ("models/", "app/scoring", "app/core/decision/score")),
    Part("rules, limits, arbitration", 65, ("policy/", "app/core/decision/", "app/core/")),
    Part("count and trace", 9, ("app/telemetry",)),
    Part("the flow and its steps", 5, ("app/",)),
)  # fmt: skip
REST = "rest"


def parts_of(stacks: Iterable[str]) -> Counter[str]:
    """Looks by part. A stack: frames from the outermost, `function (file:line)`, joined by `;`, then how often. Threads
    beside the loop's are left out: they wait."""
    found: Counter[str] = Counter()
    for stack in stacks:
        frames, _, times = stack.rpartition(" ")
        if not frames.startswith("Thread."):
            found[part_of(frames.split(";"))] += int(times)
    return found


def part_of(frames: list[str]) -> str:
    """The part that the innermost frame of ours belongs to."""
    for frame in reversed(frames):
        function, _, file = frame.partition(" (")
        for part in PARTS:
            if file.startswith(part.beginnings) or function.startswith(part.beginnings):
                return part.name
    return REST


def looked(on: Stage, seconds: float, picture: Path) -> list[Line]:
    """The table, and the flame graph at `picture`. Raises CannotStart where py-spy is not there."""
    project = add_loaded_project(on)[0]
    answers: list[Answer] = []
    clocks: list[float] = []

    def edge() -> None:
        clocks.append(project.server.usage().cpu_s)

    def run(span_s: float) -> None:
        drive(project.target, CONNECTIONS, math.inf, answers.append, warm_up_s=1.0, seconds=span_s, edge=edge)

    run(seconds)
    cpu_us = (clocks[1] - clocks[0]) / len(answers) * 1e6
    raw = on.directory / "stacks.txt"
    for kind, path in (("raw", raw), ("flamegraph", picture)):
        spy = _spy(project.server, kind, path, seconds)
        run(seconds + 2)
        if spy.wait():
            raise CannotStart(f"py-spy ended with {spy.returncode}")
    found = parts_of(raw.read_text().splitlines())
    looks = found.total()
    lines = [Line("all of it", "224 µs", f"{cpu_us:.0f} µs", None)]
    for part in PARTS:
        share = found[part.name] / looks
        lines.append(
            Line(part.name, f"{part.budget_us} µs" if part.budget_us else "", f"{share * cpu_us:.0f} µs", None)
        )
    lines.append(Line(REST, "", f"{found[REST] / looks * cpu_us:.0f} µs", None))
    return lines


def _spy(server: Server, kind: str, path: Path, seconds: float) -> subprocess.Popen[bytes]:
    command = ["py-spy", "record", "--pid", str(server.process.pid), "--rate", str(RATE_HZ)]
    command += ["--duration", str(round(seconds)), "--format", kind, "--output", str(path)]
    try:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except FileNotFoundError as error:
        raise CannotStart("py-spy is not there: `make test` installs it with all else that developers need") from error


def main(
    seconds: Annotated[float, typer.Option(min=2.0, help="How long the stack is looked at.")] = 20.0,
    publish: Annotated[bool, typer.Option("--publish", help="Write docs/performance.md.")] = False,
) -> None:
    """Say for each part of a decision what it costs."""
    require_linux()
    out = console()
    try:
        with stage(1.0, seconds) as on:
            machine = describe(store_version(on.store), on.cores)
            lines = looked(on, seconds, PICTURE if publish else on.directory / "flame.svg")
    except CannotStart as error:
        raise SystemExit(str(error)) from error
    tell(out, lines, machine, "flame", publishing=publish)


if __name__ == "__main__":
    typer.run(main)
