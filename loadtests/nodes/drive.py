"""Drives several servers at once with as little processor time as can be: by Debian's `wrk`, where it is there.

It shares two cores with what it measures. `wrk` takes some 5 µs a request, our own driver 25.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from loadtests.driver import Tally, Target, closed_loop, http_request
from loadtests.standard.machine import own_cpu_s
from loadtests.standard.servers import HOST

SCRIPT = Path(__file__).parent / "standard.lua"


@dataclass(frozen=True, slots=True)
class Driven:
    """What came back from all servers."""

    answers: int
    failed: int
    seconds: float
    cpu_s: float  # the driver's own

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return (self.answers - self.failed) / self.seconds


Drive = Callable[[Sequence[int], Sequence[bytes], int, int, Path], Driven]


def driver() -> tuple[str, Drive]:
    """The leanest that is there, and its name."""
    return ("wrk", by_wrk) if shutil.which("wrk") else ("our own driver; `apt-get install wrk` for a leaner one", by_us)


def by_wrk(ports: Sequence[int], bodies: Sequence[bytes], connections: int, seconds: int, folder: Path) -> Driven:
    """Closed loop over `connections`, shared by the ports; each begins elsewhere among the bodies."""
    file = folder / "bodies"
    if not file.exists():
        file.write_bytes(b"\n".join(bodies))
    before = _children_s()
    running = []
    for number, port in enumerate(ports):
        environment = {**os.environ, "BODIES": str(file), "SKIP": str(number * len(bodies) // len(ports))}
        command = ["wrk", "-t1", f"-c{connections // len(ports)}", f"-d{seconds}s", "-s", str(SCRIPT)]
        running.append(
            subprocess.Popen(
                [*command, f"http://{HOST}:{port}"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
        )
    told = [one.communicate(timeout=seconds + 60)[1].split() for one in running]
    if any(len(each) != 4 for each in told):
        raise RuntimeError(f"wrk failed: {told}")
    numbers = [[int(word) for word in each] for each in told]
    return Driven(
        answers=sum(each[0] for each in numbers),
        failed=sum(each[1] + each[2] for each in numbers),
        seconds=max(each[3] for each in numbers) / 1e6,
        cpu_s=_children_s() - before,
    )


def by_us(ports: Sequence[int], bodies: Sequence[bytes], connections: int, seconds: int, folder: Path) -> Driven:  # noqa: ARG001  # wrk's
    """The same by `loadtests.driver`."""

    async def all_of_them() -> list[Tally]:
        loops = []
        for number, port in enumerate(ports):
            skip = number * len(bodies) // len(ports)
            requests = [http_request("/v1/decide", body) for body in (*bodies[skip:], *bodies[:skip])]
            target = Target(HOST, port, itertools.cycle(requests))
            loops.append(closed_loop(target, connections // len(ports), warm_up_s=0.0, seconds=seconds))
        return await asyncio.gather(*loops)

    before = own_cpu_s()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        tallies = runner.run(all_of_them())
    failed = sum(tally.failures.total() for tally in tallies)
    answers = sum(tally.answers for tally in tallies)
    return Driven(answers, failed, max(tally.seconds for tally in tallies), own_cpu_s() - before)


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
