"""What the load generators can drive on one core each: `python -m loadtests.mix.ceiling` (`--seconds 3`: a smoke test).

A server that answers the same bytes to everything is on one core, the generator on another. Locust's ceiling is by what
it used of its core at a modest rate: where more falls due than it can send, planning that takes what sending needs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from loadtests.lines import Line, console, table
from loadtests.mix.findings import Findings
from loadtests.standard.machine import cores, require_linux
from loadtests.standard.servers import HOST, ROOT, free_port, started

CUSTOMERS = 1_000
RATE = 500  # requests a second, as `make load` has due in its spikes


def locust(url: str, folder: Path, customers: Path, rate: float, seconds: float) -> Findings:
    report = folder / f"locust-{rate:.0f}.json"
    command = [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--headless", "JourneyTool"]
    command += ["--host", url, "--shape", "steady", "--seconds", f"{seconds:g}", "--rate", f"{rate:g}"]
    command += ["--customers", str(customers), "--report", str(report), "--loglevel", "ERROR"]
    _pinned(command)
    return Findings.model_validate_json(report.read_text(encoding="utf-8"))


def peak(url: str, customers: Path, seconds: float, *more: str) -> str:
    command = [sys.executable, "-m", "loadtests.peak", url, "--seconds", f"{seconds:g}", "--customers", str(customers)]
    return _pinned([*command, *more])


def _pinned(command: list[str]) -> str:
    """What it printed, run on the driver's core."""
    core = cores().driver
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    os.sched_setaffinity(child.pid, {core})
    said, _ = child.communicate()
    return said


def measure(seconds: float) -> list[Line]:
    with tempfile.TemporaryDirectory(prefix="nextbest-ceiling-") as place:
        folder, port = Path(place), free_port()
        customers = folder / "customers.txt"
        customers.write_text("\n".join(f"load{number:05d}" for number in range(CUSTOMERS)), encoding="utf-8")
        command = [sys.executable, "-m", "loadtests.peers.canned", str(port)]
        with started("canned", command, port, core=cores().server, logs=folder, ready_path="/v1/bundle") as server:
            url = f"http://{HOST}:{port}"
            before = server.usage().cpu_s
            found = locust(url, folder, customers, RATE, seconds)
            leaner = peak(url, customers, seconds, "--connections", "64")
            steady = peak(url, customers, seconds, "--rps", f"{RATE}")
            busy = server.usage().cpu_s - before
    (endpoint,) = found.endpoints
    of = endpoint.found
    return [
        Line(
            "Locust, FastHttpUser, requests/s that fill a core",
            "",
            f"{of.due_a_second / found.driver_cpu:,.0f} ({found.driver_cpu / of.due_a_second * 1e6:.0f} µs each)",
            None,
        ),
        Line(f"… latency at {RATE}/s with bursts, p50 and p99", "", _ms(of.p50_ms, of.p99_ms), None),
        Line("loadtests.peak, closed loop", "", leaner.splitlines()[0], None),
        Line(f"… at {RATE}/s", "", " ".join(steady.splitlines()[1:2]), None),
        Line("CPU that the canned server used in all of it", "", f"{busy:.1f} s", None),
    ]


def _ms(*values: float | None) -> str:
    return ", ".join("none" if value is None else f"{value:.2f} ms" for value in values)


def main(seconds: Annotated[float, typer.Option(min=2, help="Of each of the three measurements.")] = 10.0) -> None:
    """Measure what the load generators themselves can do."""
    require_linux()
    console().print(table(measure(seconds)))


if __name__ == "__main__":
    typer.run(main)
