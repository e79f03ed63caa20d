"""Traces of decision requests: timed with plain clock reads, made into spans after the answer, if kept at all.

A request costs the clock reads of its ten steps and one `keep`; only a kept one pays for spans. Where they go is a
setting, OTLP by default; while no endpoint is named in the environment, nothing is kept and OpenTelemetry is not even
imported.

A span never holds a customer key, an attribute's value, or anything else that a person could be found by:
`DecisionTrace` has no field for them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.settings import TraceExporter
from app.telemetry.metrics import Metrics
from app.telemetry.sampling import Sampler
from app.telemetry.traceparent import TraceContext

if TYPE_CHECKING:  # imported when spans are made: 0.2 s of start-up that servers without a collector need not pay
    from app.telemetry.pipeline import SpanPipeline

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


@dataclass(frozen=True, slots=True)
class DecisionSummary:
    """What was decided for one placement, and out of how many candidates."""

    placement: str
    action: str
    rung: str
    reason: str
    candidates: int
    eligible: int
    scored: int
    admissible: int
    degraded: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class DecisionTrace:
    """One request, ready to become spans. `step_starts_ns` and `step_durations_ns` follow `Step`; starts count from the
    request's own start, and a skipped step has the duration −1."""

    context: TraceContext
    start_unix_ns: int
    step_starts_ns: Sequence[int]
    step_durations_ns: Sequence[int]
    whole_ns: int
    decisions: Sequence[DecisionSummary]  # in the order asked for; empty when the request failed before any
    request_id: str
    customer_hash: str  # keyed, never the key itself; empty when not known
    bundle: str  # digest
    release: str
    model: str  # `name@version`; empty when none ran
    budget_ms: float
    budget_left_ms: float  # negative when overrun
    conflicts_retried: int = 0
    failed: bool = False


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """Where traces go, and which are kept; the rates are those of `Sampler`."""

    exporter: TraceExporter = TraceExporter.OTLP
    ratio: float = 0.05
    troubled_per_s: float = 50.0
    slow_ms: float = 20.0  # half the usual budget of 40 ms, several times the usual p99


class Tracer:
    """Keeps the traces worth keeping. With no pipeline it keeps none."""

    def __init__(self, sampler: Sampler, pipeline: SpanPipeline | None) -> None:
        self._sampler = sampler
        self._pipeline = pipeline

    @property
    def enabled(self) -> bool:
        return self._pipeline is not None

    def keep(self, context: TraceContext, whole_ns: int, budget_ms: float, *, degraded: bool, failed: bool) -> bool:
        """Whether this request's trace shall be emitted. Asked once a request, because a yes may use up a token."""
        if self._pipeline is None:
            return False
        return self._sampler.keep(context, whole_ns, budget_ms, degraded=degraded, failed=failed)

    def emit(self, trace: DecisionTrace) -> None:
        """Hand a kept trace over. Never waits and never fails: what the queue cannot take is counted as dropped."""
        if self._pipeline is not None:
            self._pipeline.emit(trace)

    def close(self, timeout_s: float = 2.0) -> None:
        """Send what is queued, for at most `timeout_s`. Call before `Metrics.close`."""
        if self._pipeline is not None:
            self._pipeline.close(timeout_s)
            self._pipeline = None


def start_tracer(settings: TraceSettings, metrics: Metrics, version: str) -> Tracer:
    """The tracer of one worker; call it in the worker's own process. `version` is the product's."""
    sampler = Sampler(settings.ratio, settings.troubled_per_s, settings.slow_ms)
    if settings.exporter == TraceExporter.NONE or (settings.exporter == TraceExporter.OTLP and not _has_endpoint()):
        return Tracer(sampler, None)
    from app.telemetry import pipeline

    exporter = pipeline.NoopExporter() if settings.exporter == TraceExporter.NOOP else pipeline.otlp_exporter()
    return Tracer(sampler, pipeline.SpanPipeline(exporter, metrics, version))


def _has_endpoint() -> bool:
    return any(os.environ.get(name) for name in _ENDPOINTS)
