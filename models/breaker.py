"""A circuit breaker: stop asking a model that keeps failing, and try it again later with one run.

closed --`failures_max` failures in a row--> open --`cool_off_s`--> half open --success--> closed
                                              ^-----------------failure---------'

Scores fail open: while the circuit is open, decisions come from the `rules` rung at once instead of waiting for the
model first. Time is an argument, in seconds on any steady clock.
"""

from __future__ import annotations


class Breaker:
    """One model's circuit, in one process."""

    __slots__ = ("_failures", "_open_until_s", "_probing", "cool_off_s", "failures_max")

    def __init__(self, failures_max: int = 3, cool_off_s: float = 5.0) -> None:
        # Three in a row is no coincidence; five seconds of `rules` is short beside what breaks a model.
        self.failures_max = failures_max
        self.cool_off_s = cool_off_s
        self._failures = 0
        self._open_until_s = 0.0
        self._probing = False

    @property
    def closed(self) -> bool:
        return self._failures < self.failures_max

    def admit(self, now_s: float) -> bool:
        """Whether a run may start. In the half-open state this claims the one probe: its end must be reported by
        `succeed`, `fail` or `abandon`."""
        if self._failures < self.failures_max:
            return True
        if self._probing or now_s < self._open_until_s:
            return False
        self._probing = True
        return True

    def succeed(self) -> None:
        self._failures = 0
        self._probing = False

    def fail(self, now_s: float) -> None:
        self._failures += 1
        self._probing = False
        if self._failures >= self.failures_max:
            self._open_until_s = now_s + self.cool_off_s

    def abandon(self) -> None:
        """The run ended without saying anything about the model (its caller went away, or it never started)."""
        self._probing = False
