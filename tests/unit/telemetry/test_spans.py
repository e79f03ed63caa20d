"""Spans: sent as OTLP to a real collector, complete, connected, and without a word about the customer."""

import logging
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from app.settings import TraceExporter
from app.telemetry.metrics import Metrics
from app.telemetry.spans import DecisionSummary, DecisionTrace, Tracer, TraceSettings, start_tracer
from app.telemetry.traceparent import TraceContext, trace_context
from policy.codes import Step
from tests.support.otlp import Collector, attributes, collector

START_NS = 1_790_000_000_000_000_000
CALLER = TraceContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, sampled=True)


def summary(placement: str = "weekly_offer") -> DecisionSummary:
    return DecisionSummary(placement, "send", "rules", "rule_ranked", 20, 14, 13, 12, degraded=("model_timeout",))


def decision_trace(context: TraceContext = CALLER, **other: object) -> DecisionTrace:
    fields: dict[str, object] = {
        "context": context,
        "start_unix_ns": START_NS,
        "step_starts_ns": [index * 100_000 for index in range(10)],
        "step_durations_ns": [90_000] * 10,
        "whole_ns": 1_000_000,
        "decisions": (summary(),),
        "request_id": "req_1",
        "customer_hash": "9c1185a5c5e9fc54",
        "bundle": "sha256:abc",
        "release": "rel_7",
        "model": "response@1",
        "budget_ms": 40,
        "budget_left_ms": 39.0,
        "conflicts_retried": 2,
    }
    return DecisionTrace(**(fields | other))  # type: ignore[arg-type]  # fields by name


@contextmanager
def tracing(monkeypatch: pytest.MonkeyPatch, endpoint: str, **settings: object) -> Iterator[tuple[Tracer, Metrics]]:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    metrics = Metrics(None, {})
    tracer = start_tracer(TraceSettings(**settings), metrics, "0.1.0")  # type: ignore[arg-type]  # fields by name
    try:
        yield tracer, metrics
    finally:
        tracer.close(timeout_s=2)
        metrics.close()


@pytest.fixture
def otlp() -> Iterator[Collector]:
    with collector() as received:
        yield received


def dropped(metrics: Metrics, reason: str) -> int:
    start = f'nextbest_spans_dropped_total{{reason="{reason}"}} '
    return next(
        int(line.removeprefix(start)) for line in metrics.render().decode().splitlines() if line.startswith(start)
    )


def sent(otlp: Collector, monkeypatch: pytest.MonkeyPatch, *traces: DecisionTrace) -> dict[str, Span]:
    """The spans that arrive when a tracer is closed right after these traces, by name."""
    with tracing(monkeypatch, otlp.endpoint) as (tracer, _):
        for trace in traces:
            tracer.emit(trace)
    return {span.name: span for span in otlp.spans}


def test_every_step_of_a_kept_decision_is_a_span_under_the_callers(
    otlp: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = sent(otlp, monkeypatch, decision_trace())
    assert list(spans) == ["decide", *Step]
    root = spans["decide"]
    assert root.kind == Span.SPAN_KIND_SERVER
    assert root.parent_span_id.hex() == "b7ad6b7169203331"
    assert {span.trace_id.hex() for span in spans.values()} == {"0af7651916cd43dd8448eb211c80319c"}
    assert {spans[step].parent_span_id for step in Step} == {root.span_id}
    assert len({span.span_id for span in spans.values()}) == 11


def test_spans_have_the_times_that_were_measured(otlp: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    spans = sent(otlp, monkeypatch, decision_trace())
    assert (spans["decide"].start_time_unix_nano, spans["decide"].end_time_unix_nano) == (
        START_NS,
        START_NS + 1_000_000,
    )
    read = spans["read"]
    assert (read.start_time_unix_nano, read.end_time_unix_nano) == (START_NS + 200_000, START_NS + 290_000)


def test_a_skipped_step_has_no_span(otlp: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    durations = [90_000, -1, 90_000, 90_000, 90_000, -1, 90_000, 90_000, 0, 90_000]
    spans = sent(otlp, monkeypatch, decision_trace(step_durations_ns=durations))
    assert set(spans) == {"decide", *Step} - {"identify", "score"}


def test_the_root_span_says_what_was_decided_and_with_what(otlp: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    root = sent(otlp, monkeypatch, decision_trace())["decide"]
    assert attributes(root.attributes) == {
        "nextbest.request_id": "req_1",
        "nextbest.customer_hash": "9c1185a5c5e9fc54",
        "nextbest.bundle": "sha256:abc",
        "nextbest.release": "rel_7",
        "nextbest.model": "response@1",
        "nextbest.budget_ms": 40,
        "nextbest.budget_left_ms": 39.0,
        "nextbest.conflicts_retried": 2,
        "nextbest.placements": 1,
        "nextbest.placement": "weekly_offer",
        "nextbest.action": "send",
        "nextbest.rung": "rules",
        "nextbest.reason": "rule_ranked",
        "nextbest.candidates": 20,
        "nextbest.eligible": 14,
        "nextbest.scored": 13,
        "nextbest.admissible": 12,
        "nextbest.degraded": ["model_timeout"],
    }


def test_further_placements_are_events_of_the_root_span(otlp: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    decisions = (summary(), summary("cart_abandoned"), summary("banner"))
    root = sent(otlp, monkeypatch, decision_trace(decisions=decisions))["decide"]
    assert attributes(root.attributes)["nextbest.placements"] == 3
    placements = [attributes(event.attributes)["nextbest.placement"] for event in root.events]
    assert placements == ["cart_abandoned", "banner"]


def test_a_failed_request_is_an_error_and_needs_no_decision(otlp: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    durations = [90_000] + [-1] * 9
    trace = decision_trace(failed=True, decisions=(), step_durations_ns=durations)
    spans = sent(otlp, monkeypatch, trace)
    assert set(spans) == {"decide", "admit"}
    assert spans["decide"].status.code == Status.STATUS_CODE_ERROR


def test_a_trace_begun_here_has_no_parent(otlp: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sent(otlp, monkeypatch, decision_trace(trace_context(None)))["decide"].parent_span_id == b""


def test_nothing_that_leaves_holds_what_was_not_put_in(otlp: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """The customer's key and attributes have no field to travel in: every value sent is one of those listed here."""
    sent(otlp, monkeypatch, decision_trace())
    values = {
        value for span in otlp.spans for value in attributes(span.attributes) if not value.startswith("nextbest.")
    }
    assert values == set()
    assert not any(b"cus_" in body for body in otlp.bodies)
    assert {field for field in DecisionTrace.__slots__ if "customer" in field} == {"customer_hash"}


def test_the_service_is_named_by_the_environment(otlp: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "decisions_eu")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=staging")
    sent(otlp, monkeypatch, decision_trace())
    assert otlp.resource == {
        "service.name": "decisions_eu",
        "service.version": "0.1.0",
        "deployment.environment": "staging",
    }


def test_many_traces_arrive_whole_while_the_server_runs(otlp: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    with tracing(monkeypatch, otlp.endpoint) as (tracer, metrics):
        for _ in range(64):  # eleven full batches, which are sent at once
            tracer.emit(decision_trace(trace_context(None)))
        spans = otlp.wait_for_spans(704)
        assert len({span.trace_id for span in spans}) == 64
        assert dropped(metrics, "queue_full") == dropped(metrics, "export_failed") == 0


def test_without_an_endpoint_no_trace_is_kept_and_opentelemetry_is_not_imported() -> None:
    code = """
import os, sys
for name in [name for name in os.environ if name.startswith("OTEL_")]:
    del os.environ[name]
from app.telemetry.metrics import Metrics
from app.telemetry.spans import TraceSettings, start_tracer
from app.telemetry.traceparent import TraceContext
tracer = start_tracer(TraceSettings(ratio=1.0), Metrics(None, {}), "0.1.0")
assert not tracer.enabled
assert not tracer.keep(TraceContext(1, 1, True), 10**9, 5, degraded=True, failed=True)
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(filter(None, sys.path))})


def test_tracing_can_be_switched_off_in_spite_of_an_endpoint(otlp: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    with tracing(monkeypatch, otlp.endpoint, exporter=TraceExporter.NONE) as (tracer, _):
        assert not tracer.enabled
        tracer.emit(decision_trace())
    assert otlp.requests == []


def test_a_noop_exporter_takes_everything_and_sends_nothing(otlp: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    with tracing(monkeypatch, otlp.endpoint, exporter=TraceExporter.NOOP) as (tracer, metrics):
        assert tracer.keep(CALLER, 1, 40, degraded=False, failed=False)
        tracer.emit(decision_trace())
        tracer.close()
        assert dropped(metrics, "queue_full") == dropped(metrics, "export_failed") == 0
    assert otlp.requests == []


def test_a_refusing_collector_loses_spans_and_they_are_counted(
    otlp: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    otlp.status = 400
    with tracing(monkeypatch, otlp.endpoint) as (tracer, metrics), caplog.at_level(logging.WARNING, "app"):
        for _ in range(12):
            tracer.emit(decision_trace())
        tracer.close()
        assert dropped(metrics, "export_failed") == 12 * 11
    ours = [record for record in caplog.records if record.name == "app.telemetry.pipeline"]
    assert [record.getMessage() for record in ours] == ["spans do not reach the collector"]


def test_a_silent_collector_neither_slows_decisions_nor_holds_up_shutdown(
    otlp: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    otlp.hold.clear()
    with tracing(monkeypatch, otlp.endpoint) as (tracer, metrics):
        for _ in range(6):
            tracer.emit(decision_trace())
        otlp.wait_for_delivery()
        began = time.perf_counter()
        for _ in range(1000):
            tracer.emit(decision_trace())
        assert time.perf_counter() - began < 0.5  # 11,000 spans, 7,000 of them dropped whole traces at a time
        lost = dropped(metrics, "queue_full")
        assert lost % 11 == 0
        assert 6000 < lost < 7700
        began = time.perf_counter()
        tracer.close(timeout_s=0.3)
        assert time.perf_counter() - began < 1


def test_a_collector_that_is_not_there_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with tracing(monkeypatch, endpoint) as (tracer, _):
            tracer.emit(decision_trace())
            began = time.perf_counter()
            tracer.close(timeout_s=0.3)
            assert time.perf_counter() - began < 1
