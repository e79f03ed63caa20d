"""Requests of 3 placements with 50 candidates each: `python -m loadtests.nodes.wide`.

The standard job's messages and model, with 150 messages in three placements; one worker on one core, the store and the
driver on another.

--quick               short rounds: a smoke test, figures mean little
--publish             and write the table to docs/scaling.md
"""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
import yaml

from loadtests.capacity.table import PAGE
from loadtests.driver import Target, http_request
from loadtests.lines import Line, console, store_version, tell
from loadtests.standard.job import BUNDLE, walk
from loadtests.standard.machine import describe, require_linux
from loadtests.standard.measure import Contestant, NotTheJob, is_model_send
from loadtests.standard.servers import (
    HOST,
    CannotStart,
    free_port,
    load_project,
    project_command,
    project_env,
)
from loadtests.standard.stage import Stage, stage

PLACEMENTS, CANDIDATES = 3, 50
CONNECTIONS = 16
WANTED = 600  # requests a second of one worker


def wide_bundle(folder: Path) -> Path:
    """The standard bundle with as many placements, and as many messages for each of them."""
    shutil.copytree(BUNDLE, folder)
    (placement,) = _read(folder / "placements.yaml")["placements"]
    messages = _read(folder / "messages.yaml")["messages"]
    names = [f"wide{number}" for number in range(PLACEMENTS)]
    wide = [{**placement, "id": name, "default": f"{name}_m0"} for name in names]
    many = [
        {**messages[number % len(messages)], "id": f"{name}_m{number}", "placements": [name]}
        for name in names
        for number in range(CANDIDATES)
    ]
    _write(folder / "placements.yaml", {"placements": wide})
    _write(folder / "messages.yaml", {"messages": many})
    return folder


def _read(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def _write(file: Path, document: Any) -> None:
    file.write_text(yaml.safe_dump(document), encoding="utf-8")


def body(key: str) -> bytes:
    context = {"language": "de", "region": "DE"}
    asked = {"customer": key, "placements": [f"wide{number}" for number in range(PLACEMENTS)], "context": context}
    return json.dumps(asked, separators=(",", ":")).encode()


def is_wide(answer: Any) -> bool:
    """Every placement sends what the model chose among all its candidates."""
    decisions = answer["decisions"]
    return (
        is_model_send(answer)
        and len(decisions) == PLACEMENTS
        and all(each["funnel"]["candidates"] == CANDIDATES for each in decisions)
    )


def contestant(on: Stage) -> Contestant:
    bundle, port = wide_bundle(on.directory / "bundle"), free_port()
    env = project_env(on.redis_url)
    server = on.start("wide", project_command(port, bundle), port, env=env)
    load_project(port)
    requests = [http_request("/v1/decide", body(str(key))) for key in walk()]
    return Contestant("wide", server, Target(HOST, port, itertools.cycle(requests)), is_wide)


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Short rounds: a smoke test.")] = False,
    publishing: Annotated[bool, typer.Option("--publish", help="Write docs/scaling.md.")] = False,
) -> None:
    """Measure wide requests."""
    require_linux()
    seconds, rounds = (1.0, 2) if quick else (6.0, 7)
    out = console()
    try:
        with stage(1.0, seconds) as on:
            machine = describe(store_version(on.store), on.cores)
            one = contestant(on)
            found = [on.meter.closed(one, CONNECTIONS) for _ in range(rounds)]
    except (CannotStart, NotTheJob) as error:
        raise SystemExit(str(error)) from error
    rate = median(each.rate for each in found)
    failed = sum(sum(each.failures.values()) for each in found)
    what = f"requests/s of {PLACEMENTS} placements × {CANDIDATES} candidates, a worker, {CONNECTIONS} connections"
    lines = [
        Line(what, f"≥ {WANTED}", f"{rate:,.0f}", rate >= WANTED, {"rounds": [each.as_dict() for each in found]}),
        Line("… CPU µs a request: server", "", f"{median(each.cpu_us for each in found):,.0f}", None),
        Line("… store", "", f"{median(each.store_cpu_us for each in found):,.0f}", None),
        Line("… p50, p99", "", ", ".join(f"{median(_of(found, name)):.1f} ms" for name in ("p50", "p99")), None),
        Line("… failed", "0", str(failed), failed == 0),
    ]
    tell(out, lines, machine, "wide", publishing=publishing, page=PAGE)


def _of(found: list[Any], name: str) -> list[float]:
    return [getattr(each.latency, name) for each in found]


if __name__ == "__main__":
    typer.run(main)
