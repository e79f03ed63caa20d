"""The benchmark of outcomes: `python -m loadtests.outcomes.bench` (or `make bench-outcomes`).

Signed SendGrid batches of 100 through the webhook door: as many as go in, then at 2,000 a second beside decisions.

--quick               short rounds: a smoke test of less than a minute, figures mean little
--publish             and write the table to docs/performance.md
"""

from __future__ import annotations

import itertools
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import psutil
import redis
import typer

from loadtests.beside import Load, compare, run
from loadtests.driver import Target, closed_loop
from loadtests.events.ask import asker
from loadtests.lines import UNPINNED, Line, console, ratio_lines, store_version, tell
from loadtests.outcomes.traffic import BATCH, CUSTOMERS, Batches, decision, decisions, new_key, person, public
from loadtests.standard.machine import cores, describe, require_linux, usage
from loadtests.standard.servers import (
    HOST,
    CannotStart,
    Server,
    bulk,
    free_port,
    project_command,
    project_env,
    started,
    valkey,
)

BUNDLE = Path(__file__).parent / "bundle"
RATE, DECIDE_RATE = 2_000, 500  # a second
CONNECTIONS = 4
TRIES_MAX = 20


@dataclass(slots=True)
class Stage:
    """What is measured, running."""

    server: Server
    store: redis.Redis
    store_process: psutil.Process
    batches: Batches

    def target(self) -> Target:
        return Target(HOST, self.server.port, decisions())

    def used_s(self) -> dict[str, float]:
        return {"server": self.server.usage().cpu_s, "store": usage(self.store_process).cpu_s}

    def noted(self) -> int:
        """Outcomes in the store's streams: each is there once."""
        return sum(self.store.xlen(name) for name in self.store.scan_iter("{s*}:outcomes", 1000))


@contextmanager
def stage() -> Iterator[Stage]:
    """A store, a server with its event worker, and a send for each customer. Raises CannotStart."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nextbest-bench-")))
        store, url = stack.enter_context(valkey(folder, cores().driver))
        store_process = psutil.Process(int(store.info("server")["process_id"]))
        store_process.cpu_affinity([])  # wherever the system likes
        key = new_key()
        env = project_env(url) | {"NEXTBEST_WEBHOOK_SENDGRID_SECRETS": public(key)}
        port = free_port()
        server = stack.enter_context(
            started("project", project_command(port, BUNDLE), port, core=None, logs=folder, env=env)
        )
        bulk(port, (json.dumps(person(number)) for number in range(CUSTOMERS)))
        yield Stage(server, store, store_process, Batches(key, run(_sends(port))))


async def _sends(port: int) -> list[tuple[int, str]]:
    """A decision that sends, for each customer."""
    sent = []
    async with asker(HOST, port) as one:
        for number in range(CUSTOMERS):
            for _ in range(TRIES_MAX):
                (made,) = json.loads((await one.ask(decision(number))).body)["decisions"]
                if not made["retryable"]:  # on a busy machine an answer may come too late
                    break
            if made["action"] != "send":
                raise RuntimeError(f"nothing was sent: {made['reason']}")
            sent.append((number, made["decision_id"]))
    return sent


def sustained(on: Stage, seconds: float) -> list[Line]:
    """As many outcomes as go in."""
    prepared, sent = on.batches.prepare(round(seconds * 150)), itertools.count()
    requests = (prepared[next(sent)] for _ in itertools.repeat(None))
    noted, used = on.noted(), on.used_s()
    began = time.monotonic()
    tally = run(closed_loop(Target(HOST, on.server.port, requests), CONNECTIONS, warm_up_s=0.0, seconds=seconds))
    took_s, count = time.monotonic() - began, next(sent) * BATCH
    each_us = {name: (after - used[name]) / count * 1e6 for name, after in on.used_s().items()}
    found = on.noted() - noted
    return [
        Line("outcomes/s by webhook, batches of 100", f"≥ {RATE:,}", f"{count / took_s:,.0f}", count / took_s >= RATE),
        Line("… of them noted, once", "all", f"{found:,} of {count:,}", found == count and not tally.failures),
        Line("… CPU µs an outcome", "", ", ".join(f"{name} {us:.0f}" for name, us in each_us.items()), None),
    ]


def beside(on: Stage, seconds: float, rounds: int) -> list[Line]:
    """Decisions alone and beside outcomes."""
    found = compare(on.target, DECIDE_RATE, Load(on.batches.prepare, RATE / BATCH), seconds, rounds)
    refused = f"{found.refused / found.answers:.1%}"
    return [
        Line(f"batches refused for the decisions' sake, of {found.answers:,}", "", refused, None, asdict(found)),
        *ratio_lines(found, f"{RATE:,} outcomes/s"),
    ]


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Short rounds, less than a minute.")] = False,
    publishing: Annotated[bool, typer.Option("--publish", help="Write docs/performance.md.")] = False,
) -> None:
    """Measure outcomes by webhook: how many, and beside decisions."""
    require_linux()
    out = console()
    seconds, rounds = (2.0, 2) if quick else (6.0, 15)
    try:
        with stage() as on:
            machine = replace(describe(store_version(on.store), cores()), pinned=UNPINNED)
            lines = [*beside(on, seconds, rounds), *sustained(on, seconds)]
    except CannotStart as error:
        raise SystemExit(str(error)) from error
    tell(out, lines, machine, "outcomes", publishing=publishing)


if __name__ == "__main__":
    typer.run(main)
