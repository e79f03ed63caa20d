"""Lines of batches a second and server core: `python -m loadtests.nodes.batch`.

The standard job as lines of `POST /v1/decide/batch`, sent and read along over one connection; one worker on one core,
the store and the driver on another. The rate is over the processor time of the server, so that a driver or a store that
is short of its own core does not count for it; both are in the table.

--quick               few lines: a smoke test, figures mean little
--publish             and write the table to docs/scaling.md
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Annotated

import psutil
import typer

from loadtests.capacity.table import PAGE
from loadtests.lines import Line, console, store_version, tell
from loadtests.standard.job import decide_body, walk
from loadtests.standard.machine import describe, own_cpu_s, require_linux, usage
from loadtests.standard.measure import JOB_SHARE, NotTheJob, is_model_send
from loadtests.standard.servers import HOST, CannotStart, Server
from loadtests.standard.stage import Stage, add_loaded_project, stage

WANTED = 5_000  # decisions a second and server core
LINES_A_PIECE = 200
SAMPLE_EVERY = 64


@dataclass(frozen=True, slots=True)
class Sent:
    """One batch. µs are of processor time a line."""

    lines: int
    seconds: float
    server_us: float
    store_us: float
    driver_us: float

    @property
    def rate(self) -> float:
        return self.lines / self.seconds

    @property
    def rate_a_core(self) -> float:
        """A second of the server's processor time."""
        return 1e6 / self.server_us


def pieces(lines: int) -> Iterator[bytes]:
    """The body: so many customers in the walk's order, round and round."""
    bodies = [decide_body(str(key)) for key in walk()]
    for begin in range(0, lines, LINES_A_PIECE):
        some = (bodies[number % len(bodies)] for number in range(begin, min(begin + LINES_A_PIECE, lines)))
        yield b"\n".join(some) + b"\n"


def send(on: Stage, server: Server, lines: int) -> Sent:
    """One batch, written by a thread and read by this one. Raises NotTheJob unless every line was
    answered, as the job is."""
    body, store = list(pieces(lines)), psutil.Process(int(on.store.info("server")["process_id"]))
    connection = http.client.HTTPConnection(HOST, server.port, timeout=60)
    connection.putrequest("POST", "/v1/decide/batch")
    connection.putheader("content-type", "application/x-ndjson")
    connection.putheader("transfer-encoding", "chunked")
    before, begun = (server.usage().cpu_s, usage(store).cpu_s, own_cpu_s()), time.monotonic()
    connection.endheaders()

    def write() -> None:
        for piece in body:
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        connection.send(b"0\r\n\r\n")

    writing = threading.Thread(target=write, daemon=True)
    writing.start()
    answered, samples = _read(connection.getresponse())
    seconds = time.monotonic() - begun
    after = server.usage().cpu_s, usage(store).cpu_s, own_cpu_s()
    writing.join()
    connection.close()
    if answered != lines:
        raise NotTheJob(f"{answered} of {lines} lines were answered")
    check_job(samples)
    server_us, store_us, driver_us = ((b - a) / lines * 1e6 for a, b in zip(before, after, strict=True))
    return Sent(lines, seconds, server_us, store_us, driver_us)


def check_job(samples: list[bytes]) -> None:
    """Raises NotTheJob, with an answer that is not: as where the machine is so busy that lines miss their budget."""
    odd = [each for each in samples if not is_model_send(json.loads(each))]
    share = 1 - len(odd) / len(samples)
    if share < JOB_SHARE:
        raise NotTheJob(f"only {share:.1%} of the answers are the job; one that is not: {odd[0][:600]!r}")


def _read(response: http.client.HTTPResponse) -> tuple[int, list[bytes]]:
    """How many lines came, and some of them."""
    answered, rest, samples = 0, b"", []
    while data := response.read1(1 << 16):
        *whole, rest = (rest + data).split(b"\n")
        answered += len(whole)
        if whole and answered % SAMPLE_EVERY < len(whole):
            samples.append(whole[0])
    return answered, samples


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Few lines: a smoke test.")] = False,
    publishing: Annotated[bool, typer.Option("--publish", help="Write docs/scaling.md.")] = False,
) -> None:
    """Measure batches."""
    require_linux()
    lines_each, rounds = (4_000, 2) if quick else (40_000, 7)
    out = console()
    try:
        with stage(1.0, 1.0) as on:
            machine = describe(store_version(on.store), on.cores)
            (one,) = add_loaded_project(on)
            send(on, one.server, lines_each // 4)  # warm
            found = [send(on, one.server, lines_each) for _ in range(rounds)]
    except (CannotStart, NotTheJob) as error:
        raise SystemExit(str(error)) from error
    a_core = median(each.rate_a_core for each in found)
    lines = [
        Line("decisions/s of batches, a server core", f"≥ {WANTED:,}", f"{a_core:,.0f}", a_core >= WANTED),
        Line("… on the wall", "", f"{median(each.rate for each in found):,.0f}", None),
    ]
    for name in ("server_us", "store_us", "driver_us"):
        us = median(getattr(each, name) for each in found)
        lines.append(Line(f"… CPU µs a line: {name.removesuffix('_us')}", "", f"{us:.0f}", None))
    tell(out, lines, machine, "batches", publishing=publishing, page=PAGE)


if __name__ == "__main__":
    typer.run(main)
