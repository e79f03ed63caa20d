"""What is counted and traced of a decision request, after its answer has been sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import time_ns
from typing import NamedTuple

from app.core.decision.arbitrate import Decision
from app.flows.decide import COMMIT_UNKNOWN, READ_FAILED, Answered
from app.telemetry import series
from app.telemetry.metrics import Metrics
from app.telemetry.spans import DecisionSummary, DecisionTrace, Tracer
from app.telemetry.traceparent import TraceContext
from app.watch import SCORE, Watch

#: An answer may come this much later than its budget before it counts as an overrun: one scheduling quantum (G6).
QUANTUM_NS = 20_000_000


class Seen(NamedTuple):
    """One answered request, waiting to be counted."""

    answered: Answered
    watch: Watch
    context: TraceContext
    budget_ms: int
    request_id: str
    whole_ns: int
    at_ns: int  # Unix time of the answer


class Observer:
    """Counts every answered request, and hands the traces worth keeping to the tracer.

    All answers of a turn of the event loop are observed at its end. One by one, between decisions, each takes five
    times as long, because everything that counting and tracing touch must come into the processor's caches first
    (30 µs instead of 6).
    """

    def __init__(
        self, metrics: Metrics, tracer: Tracer, bundle: str, release: str, hash_customer: Callable[[str], str]
    ) -> None:
        self.metrics = metrics
        self.tracer = tracer
        self.bundle = bundle
        self.release = release
        self.hash_customer = hash_customer
        self._seen: list[Seen] = []

    def answered(
        self, answered: Answered, watch: Watch, context: TraceContext, budget_ms: int, request_id: str
    ) -> None:
        """One request was answered."""
        if not self._seen:
            asyncio.get_running_loop().call_soon(self._end_of_turn)
        self._seen.append(Seen(answered, watch, context, budget_ms, request_id, watch.elapsed_ns(), time_ns()))

    def _end_of_turn(self) -> None:
        seen, self._seen = self._seen, []
        for each in seen:
            self._observe(each)

    def _observe(self, seen: Seen) -> None:
        answered, watch, context, budget_ms, _, whole_ns, _ = seen
        metrics = self.metrics
        metrics.steps(watch.durations_ns, whole_ns)
        degraded = False
        for decision in answered.decisions:
            metrics.decision(decision.placement.id, decision.action, decision.rung, decision.reason)
            if decision.degraded:
                degraded = True
                for what in decision.degraded:
                    metrics.count(series.DEGRADED, what)
        if whole_ns > budget_ms * 1_000_000 + QUANTUM_NS:
            metrics.count(series.BUDGET_OVERRUNS)
        if answered.replayed or answered.failures or answered.conflicts:
            self._count_rare(answered)
        failed = bool(answered.failures)
        if self.tracer.keep(context, whole_ns, budget_ms, degraded=degraded, failed=failed):
            self.tracer.emit(self._trace(seen))

    def _count_rare(self, answered: Answered) -> None:
        if answered.replayed:
            self.metrics.count(series.IDEMPOTENT_REPLAYS)
        if answered.conflicts:
            self.metrics.add(self.metrics.slot(series.COMMIT_CONFLICTS), answered.conflicts)
        for what, kind in answered.failures:
            if what == READ_FAILED:
                self.metrics.count(series.STORE_READ_ERRORS, kind)
            else:
                self.metrics.count(series.STORE_COMMIT_ERRORS, kind)
            if what == COMMIT_UNKNOWN:
                self.metrics.count(series.COMMIT_UNKNOWN)

    def _trace(self, seen: Seen) -> DecisionTrace:
        answered, watch, context, budget_ms, request_id, whole_ns, at_ns = seen
        starts, begun_ns = [], 0
        for spent in watch.durations_ns:
            starts.append(begun_ns)
            begun_ns += max(spent, 0)
        ran = next((d.placement.model for d in answered.decisions if d.placement.model and d.scored), None)
        return DecisionTrace(
            context=context,
            start_unix_ns=at_ns - whole_ns,
            step_starts_ns=starts,
            step_durations_ns=watch.durations_ns,
            whole_ns=whole_ns,
            decisions=[_summary(decision) for decision in answered.decisions],
            request_id=request_id,
            customer_hash=self.hash_customer(answered.customer) if answered.customer else "",
            bundle=self.bundle,
            release=self.release,
            model=f"{ran.id}@{ran.version}" if ran is not None and watch.durations_ns[SCORE] >= 0 else "",
            budget_ms=budget_ms,
            budget_left_ms=budget_ms - whole_ns / 1e6,
            conflicts_retried=answered.conflicts,
            failed=bool(answered.failures),
        )


def _summary(decision: Decision) -> DecisionSummary:
    funnel = decision.funnel
    return DecisionSummary(
        placement=decision.placement.id,
        action=decision.action,
        rung=decision.rung,
        reason=decision.reason,
        candidates=funnel.candidates,
        eligible=funnel.eligible,
        scored=funnel.scored,
        admissible=funnel.admissible,
        degraded=decision.degraded,
    )
