"""One moment of the demo, as it is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from app.demo_shop.changes import Change
from app.demo_shop.deeds import Deed
from app.demo_shop.sight import Seen, WorkerState


class Told(NamedTuple):
    """A change, and when it was seen, in seconds since the demo began."""

    at_s: float
    clock: str  # of the wall, HH:MM:SS
    change: Change


class Scene(NamedTuple):
    seconds: float  # since the demo began
    events: int  # sent since then
    rate: float  # events a second, lately
    lag_ms: float | None  # from an event of a watched customer to its feature, the last one that was timed
    lag_worst_ms: float | None
    decide_ms: float  # what the last look took, for all watched customers together
    worker: WorkerState | None
    seen: Sequence[Seen]
    parts: Mapping[str, str]  # customer → what they are here for
    last: Mapping[str, Deed]  # customer → what they did last
    told: Sequence[Told]  # the newest last
    waiting: str | None  # why nothing is sent now, as the server says


class View(Protocol):
    """How it is shown."""

    def step(self, words: str) -> None:
        """What is done before the doors open."""

    def show(self, scene: Scene) -> None:
        """The shop now."""

    def close(self, words: str) -> None:
        """The end, and what to try next; nothing where it failed."""
