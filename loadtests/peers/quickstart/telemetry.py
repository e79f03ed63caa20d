"""Spans and histograms of the quickstart stack.

As in https://opentelemetry.io/docs/languages/python/instrumentation/ (a tracer provider, a batch span processor,
`start_as_current_span` around each piece of work) and https://prometheus.github.io/client_python/instrumenting/histogram/
(`with HISTOGRAM.time()`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from prometheus_client import Counter, Histogram

STEP_SECONDS = Histogram("decision_step_seconds", "How long a step of a decision took", ["step"])
DECISIONS = Counter("decisions_total", "Decisions by outcome", ["action", "rung"])


class NoExporter(SpanExporter):
    """Takes kept spans and sends them nowhere, as the standard job asks."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002  # the exporter's signature
        return SpanExportResult.SUCCESS


provider = TracerProvider(sampler=ParentBasedTraceIdRatio(0.05))
provider.add_span_processor(BatchSpanProcessor(NoExporter()))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("quickstart")


@contextmanager
def step(name: str) -> Iterator[None]:
    """One span and one histogram observation around a piece of work."""
    with tracer.start_as_current_span(name), STEP_SECONDS.labels(name).time():
        yield
