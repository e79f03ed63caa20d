"""Several nodes, and several workers: `python -m loadtests.nodes.bench`.

One, two and four servers on one store under the standard job, and `--workers 2` beside `--workers 1`, in turns. Nothing
is pinned: servers, store and driver share the cores that there are.

--quick               short rounds: a smoke test, figures mean little
--publish             and write the table to docs/scaling.md
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from statistics import median
from typing import Annotated

import typer

from loadtests.capacity.table import PAGE
from loadtests.lines import UNPINNED, Line, console, store_version, tell
from loadtests.nodes.stage import Round, Serving, Stage, stage
from loadtests.standard.machine import cores, describe, require_linux
from loadtests.standard.servers import CannotStart

NODES = (1, 2, 4)
#: For each node: decisions under way share writes and model runs, so that one costs a node with fewer of them more,
#: whatever other nodes do.
CONNECTIONS_A_NODE = 16
CONNECTIONS = 32  # of one worker, and of two together: they are one server to whoever calls it
WANTED = 1.4  # two workers over one


def in_turns(on: Stage, serving: Sequence[Serving], rounds: int) -> list[list[Round]]:
    """The rounds of each. Ledgers grow meanwhile, and other work comes and goes: neighbours in time share both."""
    found: list[list[Round]] = [[] for _ in serving]
    for number in range(rounds):
        turn = list(zip(serving, found, strict=True))
        for each, rounds_of in turn if number % 2 == 0 else reversed(turn):
            rounds_of.append(on.measure(each))
    return found


def nodes(on: Stage, rounds: int) -> list[Line]:
    """One, two and four servers."""
    with ExitStack() as stack:
        serving = [stack.enter_context(on.serving(count, count * CONNECTIONS_A_NODE)) for count in NODES]
        found = in_turns(on, serving, rounds)
    return [line for count, each in zip(NODES, found, strict=True) for line in of_nodes(count, each, found[0])]


def of_nodes(count: int, found: Sequence[Round], alone: Sequence[Round]) -> list[Line]:
    """`alone`: the rounds of one node."""
    over_one = median(many.server_us / one.server_us for many, one in zip(found, alone, strict=True))
    failed = sum(each.failed for each in found)
    return [
        Line(
            f"{count} node{'s' * (count > 1)}: decisions/s",
            "",
            f"{median(each.rate for each in found):,.0f}, on {median(each.cores for each in found):.2f} cores",
            None,
            {"rounds": [asdict(each) for each in found]},
        ),
        Line("… CPU µs a decision: servers, store, driver", "", in_us(found), None),
        Line("… servers' over one node's", "", f"{over_one:.2f} ×", None),
        Line("… conflicts of a million decisions", "", f"{median(each.conflicts for each in found):.0f}", None),
        Line("… failed", "0", f"{failed}", not failed),
    ]


def in_us(found: Sequence[Round]) -> str:
    middle = [median(getattr(each, name) for each in found) for name in ("server_us", "store_us", "driver_us")]
    return ", ".join(f"{us:.0f}" for us in middle)


def workers(on: Stage, rounds: int) -> list[Line]:
    """Two workers beside one."""
    with on.serving(1, CONNECTIONS, workers=1) as one, on.serving(1, CONNECTIONS, workers=2) as two:
        ones, twos = in_turns(on, (one, two), rounds)
    ratios = sorted(b.rate / a.rate for a, b in zip(ones, twos, strict=True))
    ratio = median(ratios)
    failed = sum(each.failed for each in (*ones, *twos))
    bound = f"{median(each.cores for each in ones):.2f} and {median(each.cores for each in twos):.2f}"
    return [
        Line("--workers 1: decisions/s", "", f"{median(each.rate for each in ones):,.0f}; µs {in_us(ones)}", None),
        Line("--workers 2: decisions/s", "", f"{median(each.rate for each in twos):,.0f}; µs {in_us(twos)}", None),
        Line(
            "… two over one, neighbours in time",
            f"≥ {WANTED:g} ×",
            f"{ratio:.2f} × [{ratios[0]:.2f}, {ratios[-1]:.2f}] of {len(ratios)}",
            ratio >= WANTED,
            {"ones": [asdict(each) for each in ones], "twos": [asdict(each) for each in twos]},
        ),
        Line("… cores that everything used, of those there are", "", bound, None),
        Line("… the most that two cores allow", "", f"{ceiling(ones):.2f} ×", None),
        Line("… failed", "0", f"{failed}", not failed),
    ]


def ceiling(ones: Sequence[Round]) -> float:
    """Two cores full, over one worker's core full, if a decision costs server, store and driver the same in both."""
    server, beside = (
        median(each.server_us for each in ones),
        median(each.store_us + each.driver_us for each in ones),
    )
    return 2 * server / (server + beside)


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Short rounds: a smoke test.")] = False,
    publishing: Annotated[bool, typer.Option("--publish", help="Write docs/scaling.md.")] = False,
) -> None:
    """Measure one, two and four nodes, and two workers beside one."""
    require_linux()
    seconds, rounds = (1, 2) if quick else (5, 7)
    out = console()
    try:
        with stage(seconds) as (on, name):
            machine = replace(describe(store_version(on.store), cores()), pinned=f"{UNPINNED}, driven by {name}")
            lines = [*nodes(on, rounds), *workers(on, rounds)]
    except CannotStart as error:
        raise SystemExit(str(error)) from error
    tell(out, lines, machine, "nodes", publishing=publishing, page=PAGE)


if __name__ == "__main__":
    typer.run(main)
