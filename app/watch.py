"""Timing the steps of a decision: plain clock reads, one list of ten numbers a request."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter_ns

from policy.codes import Step

STEPS = tuple(Step)
SKIPPED = -1
ADMIT, IDENTIFY, READ, GATE, ELIGIBLE, SCORE, LIMITS, ARBITRATE, COMMIT, RESPOND = range(len(STEPS))


class Watch:
    """`durations_ns[step]`: ns spent in each step, summed over placements and retries; −1 for a step not taken."""

    __slots__ = ("_last_ns", "durations_ns", "started_ns")

    def __init__(self, waited_ns: int = 0) -> None:
        """`waited_ns`: how long ago the request's first byte was read."""
        self.started_ns = self._last_ns = perf_counter_ns() - waited_ns
        self.durations_ns = [SKIPPED] * len(STEPS)

    def mark(self, step: int) -> None:
        """The time since the last mark was spent in `step`."""
        now_ns = perf_counter_ns()
        spent = self.durations_ns[step]
        self.durations_ns[step] = now_ns - self._last_ns + (spent if spent > 0 else 0)
        self._last_ns = now_ns

    def elapsed_ns(self) -> int:
        """Since the request's first byte."""
        return perf_counter_ns() - self.started_ns

    def server_timing(self) -> bytes:
        """The `Server-Timing` header: the steps taken, in ms (https://www.w3.org/TR/server-timing/)."""
        durations_ns = self.durations_ns
        if durations_ns[IDENTIFY] == SKIPPED and durations_ns.count(SKIPPED) == 1:
            admit, _, *others = durations_ns
            return _USUAL_TEMPLATE % (admit / 1e6, *[spent / 1e6 for spent in others])
        taken = [(step, spent / 1e6) for step, spent in zip(STEPS, durations_ns, strict=True) if spent >= 0]
        return _template([step for step, _ in taken]) % tuple([spent_ms for _, spent_ms in taken])


def _template(steps: Sequence[Step]) -> bytes:
    return ", ".join(f"{step};dur=%.3f" for step in steps).encode()


#: A customer key needs no `identify`; all else is taken by every decision. Formatting bytes at once is three times as
#: fast as joining ten strings.
_USUAL = [step for step in STEPS if step is not Step.IDENTIFY]
_USUAL_TEMPLATE = _template(_USUAL)
