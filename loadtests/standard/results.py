"""What a run found: all that is printed, kept as JSON and published is derived from this."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from loadtests.standard.machine import Machine
from loadtests.standard.measure import Measurement, closed_label, pairwise, select
from loadtests.standard.parts import EXPLAINED_AT, UNEXPLAINED, Memory, Soak, StartUp, own_peak, peer_peak
from loadtests.standard.stage import FEAST, FEAST_SERVICE, PROJECT, QUICKSTART

FULL_CORE = 0.95  # store and driver together: above it the figure is theirs, not the server's
LATE_SHARE = 0.25  # of the p99: a driver that was later than that measured itself
BUSY_CORE = 0.9  # a server that sixteen callers wait for and that uses less of its core was held up by other processes
SIXTEEN, SIXTY_FOUR = closed_label(16), closed_label(64)
EXPLAINED = f"explained or not, {closed_label(EXPLAINED_AT)}"


@dataclass(slots=True)
class Results:
    machine: Machine
    measurements: list[Measurement] = field(default_factory=list)
    memory: Memory | None = None
    start_up: StartUp | None = None
    soak: Soak | None = None
    store_bytes_per_customer: int | None = None
    ledger_length: float = 0.0
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        goals = [{**asdict(goal), "met": goal.met} for goal in goals_of(self)]
        return {**asdict(self), "targets": goals}

    def rates(self, name: str, label: str) -> list[float]:
        return [one.rate for one in select(self.measurements, name, label)]

    def cpu_us(self, name: str, label: str) -> list[float]:
        return [one.cpu_us for one in select(self.measurements, name, label)]

    def p99s(self, name: str, label: str) -> list[float]:
        return [one.latency.p99 for one in select(self.measurements, name, label)]

    def tail(self, label: str, percentile: str) -> float | None:
        """The project's percentile over its own median: of the rounds, the median."""
        latencies = [one.latency for one in select(self.measurements, PROJECT, label)]
        return median(getattr(one, percentile) / one.p50 for one in latencies) if latencies else None


@dataclass(frozen=True, slots=True)
class Goal:
    """A promise and the figure that was found; `found` None: not measured in this run."""

    name: str
    wanted: float
    at_least: bool  # else: at most
    unit: str
    found: float | None

    @property
    def met(self) -> bool | None:
        if self.found is None:
            return None
        return self.found >= self.wanted if self.at_least else self.found <= self.wanted


def goals_of(results: Results) -> list[Goal]:
    """Every promise, in the order in which it is printed."""
    return [*_speed_goals(results), *_size_goals(results)]


def _speed_goals(results: Results) -> list[Goal]:
    def rate_over(peer: str, label: str = SIXTEEN) -> float | None:
        return pairwise(results.rates(PROJECT, label), results.rates(peer, label))

    def p99_over(mine: str, its: str) -> float | None:
        return pairwise(results.p99s(PROJECT, mine), results.p99s(QUICKSTART, its))

    fast = "throughput over the quickstart's"
    tail = "p99 over the quickstart's"
    reads = "decisions over Feast's reads"
    same_rate = p99_over(peer_peak(0.9), own_peak(0.9))
    by_share = (own_peak(0.6), own_peak(0.9))
    return [
        Goal(f"{fast}, {SIXTEEN}", 5.0, True, "×", rate_over(QUICKSTART)),
        Goal(f"{fast}, {SIXTY_FOUR}", 4.5, True, "×", rate_over(QUICKSTART, SIXTY_FOUR)),
        Goal(f"{tail}, {SIXTEEN}", 0.125, False, "×", p99_over(SIXTEEN, SIXTEEN)),
        Goal(f"{tail}, {SIXTY_FOUR}", 0.125, False, "×", p99_over(SIXTY_FOUR, SIXTY_FOUR)),
        Goal(f"p99 over p50, at {own_peak(0.6)}", 6.0, False, "×", results.tail(own_peak(0.6), "p99")),
        Goal(f"p99.9 over p50, at {own_peak(0.6)}", 15.0, False, "×", results.tail(own_peak(0.6), "p999")),
        *(Goal(f"{tail}, each at {at}", 0.2, False, "×", p99_over(at, at)) for at in by_share),
        Goal(f"{tail}, both at 90 % of its peak", 0.2, False, "×", same_rate),
        Goal(f"{reads} by feature service, {SIXTEEN}", 8.0, True, "×", rate_over(FEAST_SERVICE)),
        Goal(f"{reads} by feature list, {SIXTEEN}", 8.0, True, "×", rate_over(FEAST)),
    ]


def _size_goals(results: Results) -> list[Goal]:
    explained, plain = results.cpu_us(PROJECT, EXPLAINED), results.cpu_us(UNEXPLAINED, EXPLAINED)
    memory, start, soak = results.memory, results.start_up, results.soak
    return [
        Goal("CPU with explanation over CPU without", 1.25, False, "×", pairwise(explained, plain)),
        Goal("store memory a customer", 1536, False, "bytes", memory.total if memory else None),
        Goal("ready after process start, embedded store", 3.0, False, "s", start.embedded_store_s if start else None),
        Goal("growth of a worker's memory once warm", 0.05, False, "of its size", soak.growth if soak else None),
    ]


@dataclass(frozen=True, slots=True)
class Row:
    """Medians over the rounds of one contestant under one load."""

    label: str
    name: str
    rounds: int
    rate: float
    cpu_us: float
    store_cpu_us: float
    p50: float
    p90: float
    p99: float
    p999: float
    failures: int
    driver_bound: bool
    held_up: bool
    driver_late: bool


def rows_of(measurements: Sequence[Measurement]) -> list[Row]:
    """In the order in which loads and contestants were first measured."""
    order = dict.fromkeys((one.label, one.name) for one in measurements)
    return [_row(select(measurements, name, label)) for label, name in order]


def _row(rounds: Sequence[Measurement]) -> Row:
    latencies = [one.latency for one in rounds]
    driver_bound = median(one.driver_share for one in rounds) > FULL_CORE
    late, p99 = median(one.late_p99_ms for one in rounds), median(one.p99 for one in latencies)
    saturated = rounds[0].loop == "closed" and rounds[0].load >= 16
    return Row(
        label=rounds[0].label,
        name=rounds[0].name,
        rounds=len(rounds),
        rate=median(one.rate for one in rounds),
        cpu_us=median(one.cpu_us for one in rounds),
        store_cpu_us=median(one.store_cpu_us for one in rounds),
        p50=median(one.p50 for one in latencies),
        p90=median(one.p90 for one in latencies),
        p99=p99,
        p999=median(one.p999 for one in latencies),
        failures=sum(sum(one.failures.values()) for one in rounds),
        driver_bound=driver_bound,
        driver_late=late > LATE_SHARE * p99,
        held_up=saturated and not driver_bound and median(one.server_share for one in rounds) < BUSY_CORE,
    )
