"""Spans and their way to a collector. The only module that imports OpenTelemetry; `spans` imports it when it must.

Spans are built as `ReadableSpan`s and handed to OpenTelemetry's batch processor, which sends them from a thread of its
own: a dead or slow collector costs a full queue, counted in `nextbest_spans_dropped_total`, and nothing else. They are
not made by `start_as_current_span`, which costs six times as much: it keeps a context and checks every attribute.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from app.telemetry import series
from app.telemetry.log import Summary
from app.telemetry.metrics import Metrics
from policy.codes import Step

if TYPE_CHECKING:
    from app.telemetry.spans import DecisionSummary, DecisionTrace

_QUEUE_SPANS = 4096  # 370 traces: seven seconds of troubled ones at 50 a second
_BATCH_SPANS = (
    64  # encoding a span takes 20 µs of the interpreter lock: decisions may wait for a batch, not for a queue
)
_EVERY_MS = 1000
_BUILD_AFTER_S = 0.05  # seven traces at 3,000 decisions a second and a ratio of 5 %: a quarter of a millisecond
_TRACES_MAX = 370  # as many as the queue of spans holds
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_OK = Status(StatusCode.UNSET)
_FAILED = Status(StatusCode.ERROR)
_STEPS = tuple(str(step) for step in Step)
_log = logging.getLogger(__name__)


class SpanPipeline:
    """Builds the spans of kept traces and queues them. `emit` is for the event loop's thread."""

    def __init__(self, exporter: SpanExporter, metrics: Metrics, version: str) -> None:
        self._counted = _CountedExporter(exporter, metrics)
        self._processor = BatchSpanProcessor(
            self._counted,
            max_queue_size=_QUEUE_SPANS,
            schedule_delay_millis=_EVERY_MS,
            max_export_batch_size=_BATCH_SPANS,
        )
        self._metrics = metrics
        self._queue_full = metrics.slot(series.SPANS_DROPPED, "queue_full")
        self._handed_over = 0
        self._traces: list[DecisionTrace] = []  # kept, their spans not built yet
        self._scope = InstrumentationScope("nextbest", version)
        # The environment wins over these: OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES.
        own = Resource({"service.name": "nextbest", "service.version": version})
        self._resource = _SharedResource(own.merge(OTELResourceDetector().detect()).attributes)

    def emit(self, trace: DecisionTrace) -> None:
        """Queue a trace. On an event loop its spans are built a little later, many traces in one go: building them one
        by one between decisions costs three times as much, since each time everything must come into the caches."""
        if len(self._traces) >= _TRACES_MAX:
            self._metrics.add(self._queue_full, 1 + sum(spent >= 0 for spent in trace.step_durations_ns))
            return
        self._traces.append(trace)
        if len(self._traces) > 1:
            return  # already on the way
        try:
            asyncio.get_running_loop().call_later(_BUILD_AFTER_S, self._build)
        except RuntimeError:
            self._build()

    def _build(self) -> None:
        traces, self._traces = self._traces, []
        for trace in traces:
            self._queue(self._spans(trace))

    def _queue(self, spans: list[ReadableSpan]) -> None:
        """Queue a whole trace's spans, or drop them all: half of a trace would mislead."""
        if self._handed_over - self._counted.taken + len(spans) > _QUEUE_SPANS:
            self._metrics.add(self._queue_full, len(spans))
            return
        self._handed_over += len(spans)
        for span in spans:
            self._processor.on_end(span)

    def close(self, timeout_s: float) -> None:
        """Send what is queued, then stop; after `timeout_s` give up on what is left. The processor's own shutdown waits
        half a minute for a collector that does not answer, so it runs beside us."""
        self._build()
        closer = threading.Thread(target=self._processor.shutdown, daemon=True, name="close-spans")
        closer.start()
        closer.join(timeout_s)
        self._counted.shutdown()

    def _spans(self, trace: DecisionTrace) -> list[ReadableSpan]:
        trace_id, parent_id, _ = trace.context
        root = SpanContext(trace_id, random.getrandbits(64) or 1, False, _SAMPLED)
        spans = [self._root(trace, root, SpanContext(trace_id, parent_id, True, _SAMPLED) if parent_id else None)]
        for name, starts_ns, duration_ns in zip(_STEPS, trace.step_starts_ns, trace.step_durations_ns, strict=True):
            if duration_ns >= 0:
                start_ns = trace.start_unix_ns + starts_ns
                context = SpanContext(trace_id, random.getrandbits(64) or 1, False, _SAMPLED)
                spans.append(self._span(name, context, root, start_ns, start_ns + duration_ns))
        return spans

    def _root(self, trace: DecisionTrace, context: SpanContext, parent: SpanContext | None) -> ReadableSpan:
        end_ns = trace.start_unix_ns + trace.whole_ns
        return self._span(
            "decide", context, parent, trace.start_unix_ns, end_ns,
            attributes=_attributes(trace), kind=SpanKind.SERVER, status=_FAILED if trace.failed else _OK,
            events=[Event("decision", _decision(more), end_ns) for more in trace.decisions[1:]],
        )  # fmt: skip

    def _span(
        self, name: str, context: SpanContext, parent: SpanContext | None, start_ns: int, end_ns: int, **more: Any
    ) -> ReadableSpan:
        return ReadableSpan(
            name, context, parent, self._resource,
            start_time=start_ns, end_time=end_ns, instrumentation_scope=self._scope, **more,
        )  # fmt: skip


class _SharedResource(Resource):
    """Hashed by identity: the encoder hashes it for every span, and the inherited way writes it out as JSON each time,
    a quarter of the cost of encoding. There is one in a process, so equality is not affected."""

    def __hash__(self) -> int:
        return id(self)


def _attributes(trace: DecisionTrace) -> dict[str, Any]:
    """Of the root span. The first placement's decision is here, where every tool can search; others are events."""
    attributes: dict[str, Any] = {
        "nextbest.request_id": trace.request_id,
        "nextbest.customer_hash": trace.customer_hash,
        "nextbest.bundle": trace.bundle,
        "nextbest.release": trace.release,
        "nextbest.model": trace.model,
        "nextbest.budget_ms": trace.budget_ms,
        "nextbest.budget_left_ms": trace.budget_left_ms,
        "nextbest.conflicts_retried": trace.conflicts_retried,
        "nextbest.placements": len(trace.decisions),
    }
    return attributes | _decision(trace.decisions[0]) if trace.decisions else attributes


def _decision(decision: DecisionSummary) -> dict[str, Any]:
    return {
        "nextbest.placement": decision.placement,
        "nextbest.action": str(decision.action),
        "nextbest.rung": str(decision.rung),
        "nextbest.reason": str(decision.reason),
        "nextbest.candidates": decision.candidates,
        "nextbest.eligible": decision.eligible,
        "nextbest.scored": decision.scored,
        "nextbest.admissible": decision.admissible,
        "nextbest.degraded": [str(what) for what in decision.degraded],
    }


class _CountedExporter(SpanExporter):
    """Counts what is taken from the queue and what does not arrive. Runs in the processor's thread, which alone writes
    `taken` and the `export_failed` series."""

    def __init__(self, exporter: SpanExporter, metrics: Metrics) -> None:
        self._exporter = exporter
        self._metrics = metrics
        self._failed = metrics.slot(series.SPANS_DROPPED, "export_failed")
        self._losses = Summary(_log, "spans do not reach the collector", period_s=60.0)
        self._closed = False
        self.taken = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.taken += len(spans)
        result = SpanExportResult.FAILURE if self._closed else self._try(spans)
        if result is not SpanExportResult.SUCCESS and not self._closed:  # closed: the metrics may be gone
            self._metrics.add(self._failed, len(spans))
            self._losses.note("spans", len(spans))
        return result

    def _try(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            return self._exporter.export(spans)
        except Exception:  # whatever a collector's client raises: spans are lost, the thread goes on
            return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Twice is once: by the processor when all is sent, by the pipeline when time is up."""
        if not self._closed:
            self._closed = True
            self._exporter.shutdown()


class NoopExporter(SpanExporter):
    """Takes spans and forgets them: what tracing costs without a collector, for benchmarks."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002 - the interface's name
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing to close."""


def otlp_exporter() -> SpanExporter:
    """OTLP over HTTP, set up by the standard OTEL_EXPORTER_OTLP_… variables."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()
