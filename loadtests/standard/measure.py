"""One measurement of one server, and whether what came back was the job at all."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal, TypeAlias

import psutil
import uvloop

from loadtests.driver import Tally, Target, closed_loop, http_request, open_loop
from loadtests.latency import Percentiles, curve, nearest_rank, percentiles
from loadtests.priority import ahead_of_others
from loadtests.standard.job import decide_body, walk
from loadtests.standard.machine import Usage, own_cpu_s, usage
from loadtests.standard.servers import HOST, Server

JOB_SHARE = 0.99  # of sampled answers that must be the job's: a benchmark of suppressed answers is worth nothing

Loop: TypeAlias = Literal["closed", "open"]
Drive: TypeAlias = Coroutine[Any, Any, Tally]


class NotTheJob(Exception):
    """The server answered something else than the work that is measured."""


@dataclass(frozen=True, slots=True)
class Contestant:
    name: str
    server: Server
    target: Target
    is_job: Callable[[Any], bool]  # whether an answer, parsed, is the work that is measured


@dataclass(frozen=True, slots=True)
class Measurement:
    """Latencies in ms; processor time in µs a request, user + system, children included."""

    name: str
    loop: Loop
    label: str  # what the load was, in words; measurements of one label are compared
    load: float  # closed: connections; open: requests a second that fell due
    rate: float  # good answers a second
    latency: Percentiles
    cpu_us: float
    store_cpu_us: float
    driver_share: float  # of their core that driver and store used; near 1 the rate is theirs, not the server's
    server_share: float  # of its core that the server used; a closed loop that leaves it idle was held up by others
    late_p99_ms: float  # open loop: how late the driver itself was; part of the latencies
    rss_bytes: int
    failures: dict[str, int]
    job_share: float  # of sampled answers
    curve: tuple[tuple[float, float], ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def closed_label(connections: int) -> str:
    """How tables name a closed loop."""
    return f"c = {connections}"


def decide_target(server: Server) -> Target:
    """Every standard customer asked for in the walk's order, round and round."""
    requests = [http_request("/v1/decide", decide_body(str(key))) for key in walk()]
    return Target(HOST, server.port, itertools.cycle(requests))


def feast_target(server: Server, what: Mapping[str, Any]) -> Target:
    """`what`: the features asked for, as a list or as a feature service."""
    bodies = (json.dumps({**what, "entities": {"customer": [str(key)]}}).encode() for key in walk())
    requests = [http_request("/get-online-features", body) for body in bodies]
    return Target(HOST, server.port, itertools.cycle(requests))


def is_model_send(answer: Any) -> bool:
    """A message chosen by the model: the whole way was gone."""
    return all(one["action"] == "send" and one["rung"] == "model" for one in answer["decisions"])


def is_full_row(answer: Any) -> bool:
    """Feast found every feature of the entity."""
    return all(status == "PRESENT" for column in answer["results"] for status in column["statuses"])


@dataclass(frozen=True, slots=True)
class _Clocks:
    server: Usage
    store: Usage
    driver_s: float


@dataclass(frozen=True, slots=True)
class Meter:
    """Measures contestants over one store."""

    store: psutil.Process
    warm_up_s: float
    seconds: float

    def closed(self, one: Contestant, connections: int, label: str = "") -> Measurement:
        clocks = _Edges(one.server, self.store)
        run = closed_loop(one.target, connections, warm_up_s=self.warm_up_s, seconds=self.seconds, edge=clocks)
        return self._measured(one, "closed", label or closed_label(connections), connections, run, clocks)

    def open(self, one: Contestant, rate: float, label: str) -> Measurement:
        clocks = _Edges(one.server, self.store)
        run = open_loop(one.target, rate, warm_up_s=self.warm_up_s, seconds=self.seconds, edge=clocks)
        return self._measured(one, "open", label, rate, run, clocks)

    def _measured(
        self, one: Contestant, loop: Loop, label: str, load: float, run: Drive, clocks: _Edges
    ) -> Measurement:
        with ahead_of_others(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            tally: Tally = runner.run(run)
        share = job_share(one, tally)
        before, after = clocks.taken
        count = max(tally.answers, 1)
        server_s = after.server.cpu_s - before.server.cpu_s
        driver_s = after.driver_s - before.driver_s
        store_s = after.store.cpu_s - before.store.cpu_s
        return Measurement(
            name=one.name,
            loop=loop,
            label=label,
            load=load,
            rate=tally.rate,
            latency=percentiles(tally.latencies_ns),
            cpu_us=server_s / count * 1e6,
            store_cpu_us=store_s / count * 1e6,
            driver_share=(driver_s + store_s) / tally.seconds,
            server_share=server_s / tally.seconds,
            late_p99_ms=nearest_rank(sorted(tally.late_ns), 0.99) / 1e6 if tally.late_ns else 0.0,
            rss_bytes=after.server.rss_bytes,
            failures=dict(tally.failures),
            job_share=share,
            curve=curve(tally.latencies_ns),
        )


class _Edges:
    """Reads the processor clocks each time it is called, and keeps what it read."""

    def __init__(self, server: Server, store: psutil.Process) -> None:
        self._server, self._store = server, store
        self.taken: list[_Clocks] = []

    def __call__(self) -> None:
        self.taken.append(_Clocks(self._server.usage(), usage(self._store), own_cpu_s()))


def job_share(one: Contestant, tally: Tally) -> float:
    """Share of the sampled answers that are the job. Raises NotTheJob under `JOB_SHARE`."""
    if not tally.samples:
        raise NotTheJob(f"{one.name} gave no good answer: {dict(tally.failures)}")
    share = sum(one.is_job(json.loads(body)) for body in tally.samples) / len(tally.samples)
    if share < JOB_SHARE:
        odd = next(body for body in tally.samples if not one.is_job(json.loads(body)))
        raise NotTheJob(f"{one.name}: only {share:.1%} of its answers are the job; one that is not: {odd[:600]!r}")
    return share


def select(measurements: Sequence[Measurement], name: str, label: str) -> list[Measurement]:
    """One contestant's rounds under one load, in the order in which they were run."""
    return [one for one in measurements if one.name == name and one.label == label]


def pairwise(numerators: Sequence[float], denominators: Sequence[float]) -> float | None:
    """Median of the ratios of neighbours in time: what slowed the machine in one round slowed both.

    None where one of the two was not measured.
    """
    return median(a / b for a, b in zip(numerators, denominators, strict=True)) if numerators and denominators else None
