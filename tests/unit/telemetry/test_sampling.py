"""Which traces are kept: the caller's, a ratio of all, and what went wrong, within bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.telemetry.sampling import Sampler
from app.telemetry.traceparent import TraceContext, parse_traceparent, trace_context

MS = 1_000_000
TRACE_ID = 0x0AF7651916CD43DD8448EB211C80319C
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def keep(
    sampler: Sampler, trace_id: int = TRACE_ID, *, sampled: bool = False, whole_ms: float = 1, budget_ms: float = 40,
    degraded: bool = False, failed: bool = False,
) -> bool:  # fmt: skip
    context = TraceContext(trace_id, 1, sampled)
    return sampler.keep(context, int(whole_ms * MS), budget_ms, degraded=degraded, failed=failed)


def test_the_callers_trace_is_continued() -> None:
    assert parse_traceparent(PARENT.encode()) == TraceContext(TRACE_ID, 0xB7AD6B7169203331, sampled=True)
    assert trace_context(PARENT.encode()).trace_id == TRACE_ID


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True)])
def test_only_the_lowest_flag_says_sampled(flags: str, sampled: bool) -> None:
    context = parse_traceparent(f"{PARENT[:-2]}{flags}".encode())
    assert context is not None
    assert context.sampled is sampled


def test_a_later_version_may_say_more() -> None:
    later = "01" + PARENT[2:]
    assert parse_traceparent(later.encode()) is not None
    assert parse_traceparent(f"{later}-what-comes".encode()) is not None
    assert parse_traceparent(f"{later}x".encode()) is None


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        PARENT.upper(),
        PARENT + "-00",
        PARENT + " ",
        PARENT + "\n",
        " " + PARENT,
        "ff" + PARENT[2:],
        PARENT.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        PARENT.replace("b7ad6b7169203331", "0" * 16),
        PARENT.replace("0af7", "0ag7"),
        PARENT[1:],
        PARENT.replace("-", "_"),
    ],
)
def test_a_malformed_traceparent_is_ignored_and_a_trace_is_begun(header: str) -> None:
    context = trace_context(header.encode())
    assert context.trace_id not in {0, TRACE_ID}
    assert context.parent_id == 0
    assert not context.sampled


@given(st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[a-z]*)?\Z"))
def test_the_header_is_read_as_opentelemetry_reads_it(header: str) -> None:
    from opentelemetry.trace import get_current_span

    theirs = get_current_span(TraceContextTextMapPropagator().extract({"traceparent": header})).get_span_context()
    ours = parse_traceparent(header.encode())
    assert (ours is not None) == theirs.is_valid
    if ours is not None:
        assert (ours.trace_id, ours.parent_id, ours.sampled) == (
            theirs.trace_id,
            theirs.span_id,
            bool(theirs.trace_flags.sampled),
        )


def test_two_requests_without_a_caller_have_two_traces() -> None:
    assert trace_context(None).trace_id != trace_context(None).trace_id


def test_the_callers_sampled_flag_is_always_honoured() -> None:
    sampler = Sampler(ratio=0, troubled_per_s=0, slow_ms=20)
    assert keep(sampler, sampled=True)
    assert not keep(sampler, sampled=False)


@given(trace_id=st.integers(1, (1 << 128) - 1), ratio=st.floats(0, 1))
def test_the_ratio_keeps_the_traces_that_opentelemetry_services_keep(trace_id: int, ratio: float) -> None:
    theirs = TraceIdRatioBased(ratio).should_sample(None, trace_id, "decide").decision is Decision.RECORD_AND_SAMPLE
    sampler = Sampler(ratio, troubled_per_s=0, slow_ms=20)
    assert keep(sampler, trace_id) is keep(sampler, trace_id) is theirs


def test_the_ratio_of_many_traces_is_kept() -> None:
    sampler = Sampler(ratio=0.05, troubled_per_s=0, slow_ms=20)
    kept = sum(keep(sampler, trace_context(None).trace_id) for _ in range(20_000))
    assert 850 < kept < 1150  # 1000 ± 5 standard deviations


@pytest.mark.parametrize(
    ("trouble", "kept"),
    [
        ({"failed": True}, True),
        ({"degraded": True}, True),
        ({"whole_ms": 20.1}, True),
        ({"whole_ms": 11, "budget_ms": 10}, True),
        ({"whole_ms": 20}, False),
        ({}, False),
    ],
)
def test_degraded_slow_and_failed_requests_are_kept(trouble: dict[str, float], kept: bool) -> None:
    assert keep(Sampler(ratio=0, troubled_per_s=50, slow_ms=20), **trouble) is kept  # type: ignore[arg-type]  # fields by name


def test_trouble_keeps_no_more_than_its_rate() -> None:
    clock = Clock()
    sampler = Sampler(ratio=0, troubled_per_s=50, slow_ms=20, clock_s=clock)
    assert sum(keep(sampler, failed=True) for _ in range(1000)) == 50
    clock.now_s += 0.1
    assert sum(keep(sampler, failed=True) for _ in range(1000)) == 5
    clock.now_s += 3600
    assert sum(keep(sampler, failed=True) for _ in range(1000)) == 50


def test_everyday_degradation_leaves_room_for_failures() -> None:
    sampler = Sampler(ratio=0, troubled_per_s=50, slow_ms=20, clock_s=Clock())
    assert sum(keep(sampler, degraded=True) for _ in range(1000)) == 50
    assert keep(sampler, failed=True)
