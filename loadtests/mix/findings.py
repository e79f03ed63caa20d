"""What a run found, as it is kept in JSON and shown on a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel

from loadtests.latency import nearest_rank
from loadtests.mix.samples import Fate, Run, Samples
from loadtests.mix.schedule import Kind, Stage, expected
from loadtests.mix.slo import Budget, Found, Goal, judge

POINTS = 100  # of a plot over time: each a percent of the run


class Step(BaseModel):
    name: str
    from_s: float
    until_s: float
    share: float


class Point(BaseModel):
    """A short piece of the run. `p999_ms` of fewer than a thousand requests is the slowest of them."""

    at_s: float
    due_a_second: float
    good_a_second: float
    p50_ms: float | None
    p99_ms: float | None
    p999_ms: float | None


class Endpoint(BaseModel):
    kind: Kind
    budget: Budget | None
    found: Found
    by_step: list[Found]
    wanted_a_second: list[float]  # by step: what was planned
    over_time: list[Point]
    failures: dict[str, int]


class Findings(BaseModel):
    """All of it."""

    url: str
    began: str  # ISO 8601
    seconds: float
    warm_up_s: float  # at the begin, left out of every figure
    rate: float
    shape: str
    steps: list[Step]
    endpoints: list[Endpoint]
    rungs: list[dict[str, int]]  # by step
    counts: dict[str, int]
    driver_cpu: float  # share of a core that Locust used
    goals: list[Goal]
    facts: list[str]  # what a figure means nothing without, a line each

    @property
    def met(self) -> bool:
        return all(goal.met is not False for goal in self.goals) and any(goal.met for goal in self.goals)


def findings(
    run: Run,
    stages: Sequence[Stage],
    budgets: Mapping[Kind, Budget],
    *,
    url: str,
    began: str,
    shape: str,
    rate: float,
    warm_up_s: float,
) -> Findings:
    steps = _steps(stages)
    endpoints = [
        _endpoint(kind, samples, steps, stages, rate, warm_up_s, budgets.get(kind))
        for kind, samples in run.by_kind.items()
    ]
    return Findings(
        url=url,
        began=began,
        seconds=steps[-1].until_s,
        warm_up_s=warm_up_s,
        rate=rate,
        shape=shape,
        steps=steps,
        endpoints=endpoints,
        rungs=[dict(each) for each in run.rungs],
        counts=dict(run.counts),
        driver_cpu=run.driver_cpu,
        goals=judge(budgets, {each.kind: each.found for each in endpoints}),
        facts=_facts(run),
    )


def _steps(stages: Sequence[Stage]) -> list[Step]:
    steps, begin = [], 0.0
    for stage in stages:
        steps.append(Step(name=stage.name, from_s=begin, until_s=begin + stage.seconds, share=stage.share))
        begin += stage.seconds
    return steps


def _endpoint(
    kind: Kind,
    samples: Samples,
    steps: Sequence[Step],
    stages: Sequence[Stage],
    rate: float,
    warm_up_s: float,
    budget: Budget | None,
) -> Endpoint:
    slices = _Slices(samples)
    end = steps[-1].until_s
    width = end / POINTS
    planned = expected(stages, rate, kind, warm_up_s)
    measured = [max(step.until_s - max(step.from_s, warm_up_s), 1e-9) for step in steps]
    return Endpoint(
        kind=kind,
        budget=budget,
        found=slices.found(warm_up_s, end),
        by_step=[slices.found(max(step.from_s, warm_up_s), step.until_s) for step in steps],
        wanted_a_second=[count / seconds for count, seconds in zip(planned, measured, strict=True)],
        over_time=[slices.point(number * width, (number + 1) * width) for number in range(POINTS)],
        failures=dict(samples.failures),
    )


class _Slices:
    """Figures of what fell due in a part of the run."""

    def __init__(self, samples: Samples) -> None:
        order = np.argsort(np.array(samples.due_s), kind="stable")
        self._due = np.array(samples.due_s)[order]
        self._latency = np.array(samples.latency_ms)[order]
        self._fate = np.array(samples.fate, dtype=np.uint8)[order]

    def found(self, from_s: float, until_s: float) -> Found:
        begin, end = np.searchsorted(self._due, (from_s, until_s))
        fate = self._fate[begin:end]
        waited = np.sort(self._latency[begin:end][fate != Fate.REFUSED]).tolist()
        good, count = int((fate == Fate.GOOD).sum()), int(end - begin)
        p50, p99, p999 = (nearest_rank(waited, share) if waited else None for share in (0.5, 0.99, 0.999))
        seconds = max(until_s - from_s, 1e-9)  # of a step that is all warm-up nothing is left
        return Found(
            requests=count,
            due_a_second=count / seconds,
            good_a_second=good / seconds,
            error_rate=(count - good) / count if count else 0.0,
            p50_ms=p50,
            p99_ms=p99,
            p999_ms=p999,
        )

    def point(self, from_s: float, until_s: float) -> Point:
        found = self.found(from_s, until_s)
        return Point(
            at_s=(from_s + until_s) / 2,
            **found.model_dump(exclude={"requests", "error_rate"}),
        )


def _facts(run: Run) -> list[str]:
    late = sorted(run.late_ms)
    lines = [f"Locust used {run.driver_cpu:.0%} of a core"]
    if late:
        lines.append(
            f"Locust itself was late by {nearest_rank(late, 0.5):.2f} ms (p50) and {nearest_rank(late, 0.99):.2f} ms "
            "(p99), which is in the latencies"
        )
    if run.driver_cpu > 0.85:
        lines.append(
            "Locust had no core left: latencies are its own as much as the server's. Drive less, or `loadtests.peak`"
        )
    if run.unsent:
        lines.append(f"{run.unsent} webhooks were not sent: nothing had been sent yet that they could tell of")
    return lines
