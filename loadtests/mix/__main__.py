"""The load test: `python -m loadtests.mix` (`make load`), or `… --url https://…` (`make load-url URL=…`).

Without `--url` it starts a server with an embedded store and customers, drives the mix at it for five minutes, and
counts at the end whether everything that was answered is in the store. Exit code 0: every budget of `slo.yaml` was
kept.

--quick               twenty seconds
--url URL             drives a deployment that runs; NEXTBEST_KEY holds its key
--shape steady        another shape: stepped, spiking, stepped-then-spiking, steady
--rate 300            decisions a second of the journey tool at 100 %, outside bursts
--customers FILE      keys of customers to ask about, one a line, or how many to make; with `--url`
--slo FILE            other budgets
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from loadtests.lines import UNPINNED, store_version
from loadtests.mix.both_ends import compare
from loadtests.mix.findings import Findings
from loadtests.mix.report import keep, say
from loadtests.mix.slo import DEFAULT
from loadtests.mix.stage import Stage, drive, stage
from loadtests.standard.machine import cores, describe, require_linux
from loadtests.standard.servers import ROOT, CannotStart

SECONDS, QUICK_SECONDS = 300.0, 20.0
Shape = Literal["stepped", "spiking", "stepped-then-spiking", "steady"]


def machine_facts(on: Stage) -> list[str]:
    """What a figure means nothing without."""
    machine = replace(describe(store_version(on.store), cores()), pinned=UNPINNED)
    return [
        f"{machine.processor}, {machine.cores} cores, {machine.memory_gib:g} GiB, {machine.system}, {machine.python}, "
        f"{machine.store}; {machine.pinned}; load average {machine.load_before} before the run"
    ]


def main(
    url: Annotated[str | None, typer.Option(help="A deployment that runs; else one is started.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Twenty seconds.")] = False,
    seconds: Annotated[float | None, typer.Option(min=5, help="How long the whole shape takes.")] = None,
    shape: Annotated[Shape, typer.Option(help="How the load goes up and down.")] = "stepped-then-spiking",
    rate: Annotated[float, typer.Option(min=1, help="The journey tool's decisions a second, at 100 %.")] = 100.0,
    customers: Annotated[str, typer.Option(help="With --url: a file of keys, or how many to make.")] = "1000",
    slo: Annotated[Path, typer.Option(help="The budgets.")] = DEFAULT,
    report: Annotated[Path | None, typer.Option(help="Where the JSON goes, with the page beside it.")] = None,
) -> None:
    """Drive the mix at a server, and say whether the budgets were kept."""
    require_linux()
    path = report or ROOT / "reports" / f"load-{time.strftime('%Y%m%dT%H%M%S')}.json"
    seconds = seconds or (QUICK_SECONDS if quick else SECONDS)
    try:
        if url is not None:
            code = drive(url, customers=customers, report=path, shape=shape, seconds=seconds, rate=rate, slo=slo)
            say(Findings.model_validate_json(path.read_text(encoding="utf-8")), path.with_suffix(".html"))
            raise SystemExit(code)
        with stage() as on:
            facts = machine_facts(on)
            file = str(on.folder / "customers.txt")
            drive(on.url, customers=file, report=path, shape=shape, seconds=seconds, rate=rate, slo=slo, env=on.env)
            found = Findings.model_validate_json(path.read_text(encoding="utf-8"))
            found.goals += compare(on, found)
            found.facts += facts
    except CannotStart as error:
        raise SystemExit(str(error)) from error
    say(found, keep(found, path))
    raise SystemExit(0 if found.met else 1)


if __name__ == "__main__":
    typer.run(main)
