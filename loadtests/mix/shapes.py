"""How a run's load goes up and down. Locust asks a shape for users; here users are connections, which wait for what
falls due, so their number stays, and the shape's stages say how much that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from locust import LoadTestShape

from loadtests.mix.schedule import Stage, seconds_of

#: An idle connection costs nothing; with all of a kind busy, requests wait, and their latency says so.
CONNECTIONS = 96
BEGIN_IN_S = 0.5  # until all connections wait for the first request
DRAIN_S = 10.0  # how long a run waits for what is still unanswered at its end


class Planned(LoadTestShape):
    """Stages, in shares of the whole run; `seconds` stretches them."""

    abstract: ClassVar[bool] = True
    parts: ClassVar[Sequence[tuple[str, float, float]]] = ()  # name, share of the time, share of the full rate
    seconds: float = 300.0
    drained: Callable[[], bool] = staticmethod(lambda: True)  # whether all that fell due was answered

    def stages(self) -> tuple[Stage, ...]:
        whole = sum(part[1] for part in self.parts)
        return tuple(Stage(name, self.seconds * time / whole, share) for name, time, share in self.parts)

    def tick(self) -> tuple[int, float] | None:
        over_s = float(self.get_run_time()) - BEGIN_IN_S - seconds_of(self.stages())  # type: ignore[no-untyped-call]  # Locust's
        if over_s > DRAIN_S or (over_s > 0 and self.drained()):
            return None
        return CONNECTIONS, CONNECTIONS


STEPS = (("25 %", 1.0, 0.25), ("50 %", 1.0, 0.5), ("75 %", 1.0, 0.75), ("100 %", 1.0, 1.0))
SPIKES = (("spike 200 %", 0.5, 2.0), ("after it", 0.75, 0.5), ("spike 300 %", 0.25, 3.0), ("at rest", 0.5, 0.5))


class Stepped(Planned):
    """Up in four equal steps."""

    parts = STEPS


class Spiking(Planned):
    """From half the rate to a double and a triple one at once, and back."""

    parts = (("50 %", 1.0, 0.5), *SPIKES)


class SteppedThenSpiking(Planned):
    """Both, one after the other."""

    parts = (*STEPS, *SPIKES)


class Steady(Planned):
    """The full rate throughout."""

    parts = (("100 %", 1.0, 1.0),)


class Soak(Planned):
    """The full rate throughout; its ends are looked at apart."""

    parts = (("first sixth", 1.0, 1.0), ("between", 4.0, 1.0), ("last sixth", 1.0, 1.0))


SHAPES: dict[str, type[Planned]] = {
    "stepped": Stepped,
    "spiking": Spiking,
    "stepped-then-spiking": SteppedThenSpiking,
    "steady": Steady,
    "soak": Soak,
}
