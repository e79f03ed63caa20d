"""When requests fall due: an open arrival process, planned before anything is sent.

Callers do not wait for each other, so arrivals are Poisson, with a rate that stages and bursts change. What is due does
not depend on what was answered: a server that stalls gets no rest by it, and a latency counts from when a request was
due.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """Endpoints of the mix; `slo.yaml` has a budget for each."""

    DECIDE = "decide"  # journey tools
    BATCH = "batch"  # nightly jobs
    EVENTS = "events"  # SDKs
    WEBHOOKS = "webhooks"  # an ESP


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a run: `share` of the full rate for so many seconds."""

    name: str
    seconds: float
    share: float


@dataclass(frozen=True, slots=True)
class Burst:
    """`factor` times the usual rate, for `seconds` from `after_s` behind each send."""

    after_s: float
    seconds: float
    factor: float


@dataclass(frozen=True, slots=True)
class Callers:
    """How often one kind of caller comes, where the full rate is 1."""

    a_second: float
    burst: Burst | None = None


#: A campaign goes out this often: the journey tool asks for its audience at once, and the ESP tells of it soon after.
FIRST_SEND_S, SEND_EVERY_S = 5.0, 15.0
#: For one decision a second of the journey tool outside bursts. A batch is 100 lines, an SDK's request 20 events, a
#: webhook 50: beside each journey decision half a one in batches, three events and, in the mean, two outcomes.
MIX: Mapping[Kind, Callers] = {
    Kind.DECIDE: Callers(1.0, Burst(after_s=0.0, seconds=2.0, factor=4.0)),
    Kind.BATCH: Callers(0.005),
    Kind.EVENTS: Callers(0.15),
    Kind.WEBHOOKS: Callers(0.01, Burst(after_s=3.0, seconds=5.0, factor=10.0)),
}


class Arrival(NamedTuple):
    due_s: float  # from the run's begin
    kind: Kind


def seconds_of(stages: Sequence[Stage]) -> float:
    return sum(stage.seconds for stage in stages)


def stage_at(stages: Sequence[Stage], at_s: float) -> int:
    """Index of the stage that an instant belongs to; the last one for what is later."""
    end = 0.0
    for index, stage in enumerate(stages):
        end += stage.seconds
        if at_s < end:
            return index
    return len(stages) - 1


def pieces(stages: Sequence[Stage], callers: Callers, rate: float) -> Iterator[tuple[float, float, float]]:
    """(from, until, arrivals a second), without gaps: where the rate of these callers is the same."""
    total = seconds_of(stages)
    cuts = {0.0, total}
    begin = 0.0
    for stage in stages:
        cuts.add(begin)
        begin += stage.seconds
    if callers.burst is not None:
        for number in range(int(total / SEND_EVERY_S) + 1):
            from_s = FIRST_SEND_S + number * SEND_EVERY_S + callers.burst.after_s
            cuts |= {min(from_s, total), min(from_s + callers.burst.seconds, total)}
    edges = sorted(cuts)
    for from_s, until_s in itertools.pairwise(edges):
        share = stages[stage_at(stages, from_s)].share
        yield from_s, until_s, rate * share * callers.a_second * _factor(callers.burst, from_s)


def _factor(burst: Burst | None, at_s: float) -> float:
    if burst is None:
        return 1.0
    since = at_s - FIRST_SEND_S - burst.after_s
    # A millionth of a second for what sums of floating point numbers lose.
    return burst.factor if since > -1e-6 and (since + 1e-6) % SEND_EVERY_S < burst.seconds else 1.0


def arrivals(stages: Sequence[Stage], rate: float, kinds: Sequence[Kind], seed: int) -> Iterator[Arrival]:
    """All that falls due, in order. `rate`: decisions a second of the journey tool, outside bursts, at a share of 1."""
    each = (_of(kind, stages, rate, random.Random(f"{seed} {kind}")) for kind in kinds)
    return heapq.merge(*each)


def _of(kind: Kind, stages: Sequence[Stage], rate: float, chance: random.Random) -> Iterator[Arrival]:
    """A Poisson process forgets: at each change of the rate it may begin anew."""
    for from_s, until_s, a_second in pieces(stages, MIX[kind], rate):
        at_s = from_s
        while a_second > 0:
            at_s += chance.expovariate(a_second)
            if at_s >= until_s:
                break
            yield Arrival(at_s, kind)


def expected(stages: Sequence[Stage], rate: float, kind: Kind, after_s: float = 0.0) -> list[float]:
    """Arrivals of a kind that each stage has in the mean, from `after_s` on."""
    sums = [0.0] * len(stages)
    for from_s, until_s, a_second in pieces(stages, MIX[kind], rate):
        sums[stage_at(stages, from_s)] += a_second * max(until_s - max(from_s, after_s), 0.0)
    return sums
