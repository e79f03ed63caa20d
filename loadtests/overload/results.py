"""What a run found, and what it should have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, NamedTuple

from loadtests.latency import nearest_rank
from loadtests.lean import Sent
from loadtests.overload.tally import Overload
from loadtests.standard.machine import Machine

#: Of the peak that was measured → goodput that is wanted, as a share of the same peak.
GOODPUT = {1.5: 0.90, 2.0: 0.85, 4.0: 0.70}
FACTORS = tuple(GOODPUT)
REFUSAL_P99_MS = 5.0
CALM_S = 5.0
#: On a loaded two-core machine (DESIGN section 4, G6).
QUANTUM_MS = 20.0


class Calm(NamedTuple):
    """After how long nothing was refused or late any more; None: it was not seen to end."""

    seconds: float | None


@dataclass(frozen=True, slots=True)
class Found:
    """One load. Rates are per second, latencies in ms: from when a request was sent, or due, where no connection was
    free to send it."""

    factor: float
    asked: float
    useful: float
    peak: float  # before the load and after it, in the mean
    floor_us: float  # what reading a request and writing a refusal costs by itself
    late: float
    undecided: float
    refused: float
    other: int  # answers and losses that are none of these
    rude: int
    p50: float
    p99: float
    worst: float
    refusal_p50: float
    refusal_p99: float
    driver_late_p99: float
    server_share: float
    store_share: float
    driver_share: float
    calm_s: float | None
    by_second: tuple[dict[str, int], ...]

    @classmethod
    def of(
        cls,
        factor: float,
        peak: float,
        floor_us: float,
        tally: Overload,
        sent: Sent,
        seconds: float,
        server_s: float,
        store_s: float,
        driver_s: float,
        calm: Calm,
    ) -> Found:
        return cls(
            factor=factor,
            asked=peak * factor,
            useful=tally.useful / seconds,
            peak=peak,
            floor_us=floor_us,
            late=tally.late / seconds,
            undecided=tally.undecided / seconds,
            refused=tally.refused / seconds,
            other=tally.other.total(),
            rude=tally.rude,
            p50=_ms(tally.latencies_ns, 0.5),
            p99=_ms(tally.latencies_ns, 0.99),
            worst=_ms(tally.latencies_ns, 1.0),
            refusal_p50=_ms(tally.refusals_ns, 0.5),
            refusal_p99=_ms(tally.refusals_ns, 0.99),
            driver_late_p99=_ms(sent.late_ns, 0.99),
            server_share=server_s / seconds,
            store_share=store_s / seconds,
            driver_share=driver_s / seconds,
            calm_s=calm.seconds,
            by_second=tuple(dict(tally.by_second[second]) for second in sorted(tally.by_second)),
        )

    @property
    def goodput(self) -> float:
        """Of the peak."""
        return self.useful / self.peak

    @property
    def possible(self) -> float:
        """Of the peak, where a decision costs what it does there and a refusal no more than its sockets."""
        asked, refusal = self.asked / self.peak, self.floor_us / 1e6 * self.peak  # both in the peak's decisions
        return min(1.0, (1 - asked * refusal) / (1 - refusal))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"goodput": self.goodput, "possible": self.possible}


def _ms(values_ns: Sequence[int], share: float) -> float:
    return nearest_rank(sorted(values_ns), share) / 1e6 if values_ns else 0.0


@dataclass(frozen=True, slots=True)
class Results:
    """A whole run."""

    machine: Machine
    budget_ms: int
    seconds: float
    found: list[Found]

    @property
    def peak(self) -> float:
        """In the mean of the loads."""
        return fmean(one.peak for one in self.found)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"found": [one.as_dict() for one in self.found]}


@dataclass(frozen=True, slots=True)
class Goal:
    """`wanted` and `found` in words."""

    name: str
    wanted: str
    found: str
    met: bool


def goals_of(results: Results) -> Iterator[Goal]:
    bound_ms = results.budget_ms + QUANTUM_MS
    for one in results.found:
        at = f"at {one.factor:g} × the peak"
        wanted = GOODPUT[one.factor]
        yield Goal(
            f"goodput {at}",
            f"≥ {wanted:.0%}",
            f"{one.goodput:.0%}, of {one.possible:.0%} possible",
            one.goodput >= wanted,
        )
        yield Goal(
            f"refusals {at}, p99", f"≤ {REFUSAL_P99_MS:g} ms", f"{one.refusal_p99:.1f} ms",
            one.refusal_p99 <= REFUSAL_P99_MS,
        )  # fmt: skip
        yield Goal(f"answers {at}, the latest", f"≤ {bound_ms:g} ms", f"{one.worst:.0f} ms", one.worst <= bound_ms)
        calm = "not seen" if one.calm_s is None else f"{one.calm_s:.1f} s"
        yield Goal(f"calm after {at[3:]}", f"≤ {CALM_S:g} s", calm, one.calm_s is not None and one.calm_s <= CALM_S)
        odd = one.other + one.rude
        yield Goal(f"lost, or refused without a time {at}", "0", f"{odd}", not odd)
