"""The soak: `python -m loadtests.soak --minutes 60` (`make soak`); `--minutes 1` is a smoke test.

Starts a deployment, drives the mix at it at one rate throughout, and asks at the end: did memory, files or connections
grow; is what the store holds more explained by what was done; is the p99 of the last sixth that of the first; is
everything that was answered in the store, once? Writes JSON and a page to `reports/`. Exit code 0: nothing that could
be shown was missed. A run of less than ten minutes shows the counts and the budgets alone.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from loadtests.mix.__main__ import machine_facts
from loadtests.mix.both_ends import compare
from loadtests.mix.findings import Findings
from loadtests.mix.report import keep, say
from loadtests.mix.stage import drive, stage
from loadtests.soak.explained import explained, growth_goal, page_part
from loadtests.soak.held import held
from loadtests.soak.verdict import growth_goals, p99_goals, parts
from loadtests.soak.watch import Watch
from loadtests.standard.machine import require_linux
from loadtests.standard.servers import ROOT, CannotStart

LOOKS = 240  # over the run: twelve for each stretch that its growth is taken from


def main(
    minutes: Annotated[float, typer.Option(min=0.1, help="How long.")] = 60.0,
    rate: Annotated[float, typer.Option(min=1, help="The journey tool's decisions a second, outside bursts.")] = 100.0,
    report: Annotated[Path | None, typer.Option(help="Where the JSON goes, with the page beside it.")] = None,
) -> None:
    """Drive the mix for long, and say whether anything grew, slowed down or got lost."""
    require_linux()
    path = report or ROOT / "reports" / f"soak-{time.strftime('%Y%m%dT%H%M%S')}.json"
    seconds = minutes * 60
    try:
        with stage() as on:
            facts = machine_facts(on)
            before = held(on.store)
            watch = Watch(on, seconds / LOOKS)
            drive(
                on.url,
                customers=str(on.folder / "customers.txt"),
                report=path,
                shape="soak",
                seconds=seconds,
                rate=rate,
                env=on.env,
                meanwhile=watch.look,
            )
            found = Findings.model_validate_json(path.read_text(encoding="utf-8"))
            both_ends = compare(on, found)  # waits until all is folded
            after = held(on.store)
            of = explained(before, after, found.counts)
            found.goals += [*growth_goals(watch, minutes), growth_goal(before, after, of, minutes)]
            found.goals += [*p99_goals(found, minutes), *both_ends]
            found.facts += facts
    except CannotStart as error:
        raise SystemExit(str(error)) from error
    say(found, keep(found, path, [*parts(watch), page_part(before, after, of)]))
    raise SystemExit(0 if found.met else 1)


if __name__ == "__main__":
    typer.run(main)
