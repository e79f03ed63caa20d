"""Decisions alone and beside something else, in turns: what that costs the slowest of them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from statistics import median
from typing import Any, NamedTuple, TypeVar

import uvloop

from loadtests.driver import Tally, Target, open_loop
from loadtests.latency import nearest_rank, percentiles
from loadtests.priority import ahead_of_others, in_a_session_of_its_own

T = TypeVar("T")
WARM_UP_S = 1.0
SPIN_S, SPIN_EVERY_S = 0.009, 0.05
SPIN_WORDS = f"which computes {SPIN_S * 1000:.0f} of every {SPIN_EVERY_S * 1000:.0f} ms"


class Load(NamedTuple):
    """What is sent beside decisions: `prepare(n)` gives the whole bytes of so many requests, `rate` is of a second."""

    prepare: Callable[[int], list[bytes]]
    rate: float


@dataclass(slots=True)
class Beside:
    """What the rounds came to."""

    alone_ms: list[float] = field(default_factory=list)  # p99 of each round
    together_ms: list[float] = field(default_factory=list)
    spun_ms: list[float] = field(default_factory=list)  # beside a program that has nothing to do with us
    answers: int = 0  # to the load
    refused: int = 0  # 429 of them: decisions come first
    #: By status, `lost` or `unanswered`. Not kept as a Counter, which `asdict` mangles, so that raw figures cannot be
    #: written (https://github.com/python/cpython/issues/84110).
    decisions_failed: dict[str, int] = field(default_factory=dict)
    driver_late_ms: list[float] = field(default_factory=list)  # p99 of each round beside the load

    def ratio(self, beside_ms: Sequence[float] | None = None) -> tuple[float, str]:
        """The median of rounds that are neighbours in time, and its span in words. `beside_ms`: beside something else
        than the load."""
        ratios = sorted(b / a for a, b in zip(self.alone_ms, beside_ms or self.together_ms, strict=True))
        return median(ratios), f"[{ratios[0]:.2f}, {ratios[-1]:.2f}] of {len(ratios)}"


def run(work: Awaitable[T]) -> T:
    async def waited() -> T:
        return await work

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(waited())


def compare(
    deciding: Callable[[], Target],
    decide_rate: float,
    load: Load,
    seconds: float,
    rounds: int,
    meanwhile: Callable[[float], Awaitable[Any]] | None = None,
) -> Beside:
    """Rounds of decisions alone and beside the load. `meanwhile(seconds)` runs with each of the latter.

    The load is sent by a process of its own: in this one, writing it would make decisions late by half a millisecond,
    and their latency counts from when they were due.
    """
    found = Beside()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other, ahead_of_others():
        other.submit(_ready).result()

        async def one_round(*, loaded: bool) -> Tally:
            decisions = open_loop(deciding(), decide_rate, warm_up_s=WARM_UP_S, seconds=seconds)
            if not loaded:
                return await decisions
            prepared = load.prepare(round((seconds + WARM_UP_S) * load.rate) + 5)
            target = deciding()
            loop = asyncio.get_running_loop()
            sending = loop.run_in_executor(other, _send, target.host, target.port, prepared, load.rate, seconds)
            watching = meanwhile(seconds) if meanwhile is not None else asyncio.sleep(0)
            tally, told, _ = await asyncio.gather(decisions, sending, watching)
            if told.failures.keys() - {"429"}:
                raise RuntimeError(f"the load failed beside decisions: {dict(told.failures)}")
            found.answers += told.answers
            found.refused += told.failures.total()
            return tally

        for number in range(rounds):
            for loaded in (False, True) if number % 2 == 0 else (True, False):
                tally = run(one_round(loaded=loaded))
                (found.together_ms if loaded else found.alone_ms).append(percentiles(tally.latencies_ns).p99)
                found.decisions_failed = dict(Counter(found.decisions_failed) + tally.failures)
                if loaded:
                    found.driver_late_ms.append(nearest_rank(sorted(tally.late_ns), 0.99) / 1e6)
            with spinning():
                found.spun_ms.append(percentiles(run(one_round(loaded=False)).latencies_ns).p99)
    return found


@contextmanager
def spinning() -> Iterator[None]:
    """Another program on the machine, which uses a core for `SPIN_S` of every `SPIN_EVERY_S`: what any neighbour costs
    the slowest decisions here, whatever it does."""
    script = (
        f"import time\nwhile True:\n until = time.perf_counter() + float({SPIN_S})\n"
        f" while time.perf_counter() < until: pass\n time.sleep({SPIN_EVERY_S - SPIN_S})"
    )
    program = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    try:
        yield
    finally:
        program.kill()
        program.wait()


def _ready() -> None:
    """Has a process started and its modules read."""
    in_a_session_of_its_own()


def _send(host: str, port: int, prepared: Sequence[bytes], rate: float, seconds: float) -> Tally:
    target: Iterator[bytes] = iter(prepared)
    return run(open_loop(Target(host, port, target), rate, warm_up_s=WARM_UP_S, seconds=seconds))
