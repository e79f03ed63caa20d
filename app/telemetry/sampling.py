"""Which traces are kept.

Always: those that the caller samples. Then a ratio of all, chosen by trace id, so that every service with the same
ratio keeps the same traces. Of the rest, what went wrong: slow or failed requests, and degraded ones, each kind at no
more than `troubled_per_s`. Two buckets, because degradation can be everyday (a customer without consent to personalise)
and must not use up the room of what is rare.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from app.telemetry.traceparent import TraceContext

_MS = 1_000_000  # ns
_LOW_64_BITS = (1 << 64) - 1


class TokenBucket:
    """At most `per_s` a second over any longer time, and as many at once after a quiet second."""

    __slots__ = ("_at_s", "_clock_s", "_per_s", "_tokens")

    def __init__(self, per_s: float, clock_s: Callable[[], float]) -> None:
        self._per_s = per_s
        self._clock_s = clock_s
        self._tokens = per_s
        self._at_s = clock_s()

    def try_consume(self) -> bool:
        now_s = self._clock_s()
        self._tokens = min(self._per_s, self._tokens + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Sampler:
    """Decides, once a request is answered, whether its trace is worth keeping."""

    __slots__ = ("_below", "_degraded", "_slow_ns", "_troubled")

    def __init__(
        self, ratio: float, troubled_per_s: float, slow_ms: float, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        """`ratio` 0–1 of all traces; a request is slow when it takes more than `slow_ms` or than its budget."""
        # The same bound and bits as OpenTelemetry's TraceIdRatioBased sampler, so that both keep the same traces:
        # https://opentelemetry.io/docs/specs/otel/trace/sdk/#traceidratiobased
        self._below = round(ratio * (1 << 64))
        self._slow_ns = slow_ms * _MS
        self._troubled = TokenBucket(troubled_per_s, clock_s)
        self._degraded = TokenBucket(troubled_per_s, clock_s)

    def keep(self, context: TraceContext, whole_ns: int, budget_ms: float, *, degraded: bool, failed: bool) -> bool:
        if context.sampled or (context.trace_id & _LOW_64_BITS) < self._below:
            return True
        if failed or whole_ns > self._slow_ns or whole_ns > budget_ms * _MS:
            return self._troubled.try_consume()
        return degraded and self._degraded.try_consume()
