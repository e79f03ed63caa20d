"""Counting, on the hot path: a dictionary look-up and an addition in a mapped array.

One worker has one `Metrics`. All of its methods are for the worker's event loop thread: an addition is a read and a
write, so two threads on one series would lose counts (another thread may count in a series that nobody else touches).
`render` may run in any thread.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from pathlib import Path

from app.telemetry import cells, exposition, series
from app.telemetry.series import OTHER, SIZE_ABOVE, SIZES, Family, size_label
from policy.codes import Step

#: Rows of a model run → label; a look-up is cheaper than a comparison chain, and larger runs are `SIZE_ABOVE`.
_SIZE_LABELS = [size_label(rows) for rows in range(SIZES[-1][0] + 1)]

_STEP_BOUNDS = series.STEP_SECONDS.bounds_ns
_STEP_WIDTH = series.STEP_SECONDS.width  # from one step's cells to the next step's
_STEP_SUM = _STEP_WIDTH - 1  # from a step's first bucket to its sum
_WHOLE_BOUNDS = series.DECISION_SECONDS.bounds_ns
_WHOLE_SUM = series.DECISION_SECONDS.width - 1


class Metrics:
    """The metrics of one worker, and the view over all workers that share its runtime folder."""

    def __init__(self, directory: Path | None, build: Mapping[str, str]) -> None:
        """`directory` is the folder shared by the workers of one server (None: this process counts alone, in memory);
        `build` are the labels of `nextbest_build_info`, such as the version."""
        self._directory = directory
        self._build = dict(build)
        self._cells = cells.in_memory() if directory is None else cells.claim(directory)
        self._values = self._cells.values
        self._slots: dict[tuple[object, ...], int] = {
            (family, *labels): at for (family, labels), at in cells.LAYOUT.slots.items()
        }
        self._next = cells.LAYOUT.static_cells
        self._allocated = dict.fromkeys(series.FAMILIES, 0)
        for name, *labels in self._cells.names():  # of the predecessor whose file this was
            self._place(series.BY_NAME[name], tuple(labels))
        first = self._slots[series.STEP_SECONDS, Step.ADMIT]
        self._steps_at = [first + _STEP_WIDTH * number for number in range(len(Step))]
        self._whole_at = self._slots[series.DECISION_SECONDS,]

    @property
    def worker(self) -> int:
        """The number of this worker among those that share the folder, from 0."""
        return self._cells.worker

    def slot(self, family: Family, *labels: str) -> int:
        """Where a series counts, found once and used with `add` and `set` from then on."""
        at = self._slots.get((family, *labels))
        return self._allocate(family, labels) if at is None else at

    def add(self, slot: int, n: int = 1) -> None:
        self._values[slot] += n

    def set(self, slot: int, value: int) -> None:
        self._values[slot] = value

    def count(self, family: Family, *labels: str) -> None:
        """One more of a counter, by its label values in the declared order. Values never seen before get a series."""
        self._values[self.slot(family, *labels)] += 1

    def observe(self, family: Family, value: int, *labels: str) -> None:
        """One more of a histogram, in the unit of its bounds (≥ 0)."""
        at = self.slot(family, *labels)
        self._values[at + bisect_left(family.bounds, value)] += 1
        self._values[at + family.width - 1] += value

    def decision(self, placement: str, action: str, rung: str, reason: str) -> None:
        """One decision answered. `placement` is its id in the bundle, the others are members of the closed lists."""
        at = self._slots.get((series.DECISIONS, placement, action, rung, reason))
        if at is None:
            at = self._allocate(series.DECISIONS, (placement, action, rung, reason))
        self._values[at] += 1

    def model_run(self, model: str, rows: int) -> None:
        """One run of `model` over `rows` candidates."""
        self.count(series.MODEL_RUNS, model, _SIZE_LABELS[rows] if rows < len(_SIZE_LABELS) else SIZE_ABOVE)

    def steps(self, durations_ns: Iterable[int], whole_ns: int) -> None:
        """The times of one decision request: its ten steps in the order of `Step`, −1 for a skipped one, and the
        whole. Written out because it is run for every request: twelve calls would take twice as long."""
        values, bounds, shortest = self._values, _STEP_BOUNDS, _STEP_BOUNDS[0]
        for at, duration in zip(self._steps_at, durations_ns, strict=True):
            if duration > shortest:
                values[at + bisect_left(bounds, duration)] += 1
            elif duration >= 0:
                values[at] += 1
            else:
                continue
            values[at + _STEP_SUM] += duration
        values[self._whole_at + bisect_left(_WHOLE_BOUNDS, whole_ns)] += 1
        values[self._whole_at + _WHOLE_SUM] += whole_ns

    def render(self) -> bytes:
        """All workers' metrics in the text format of Prometheus. A few milliseconds: run it beside the event loop."""
        snapshots = [self._cells.snapshot()]
        if self._directory is not None:
            snapshots += cells.others(self._directory, self.worker)
        return exposition.render(snapshots, self._build)

    def close(self) -> None:
        """The worker stops: its counts stay in the folder, its gauges count no more. Nothing may be called after."""
        self._cells.close()

    def _allocate(self, family: Family, labels: tuple[str, ...]) -> int:
        """A series for label values never seen before, or the family's `other`."""
        if len(labels) != len(family.labels):
            raise ValueError(f"`{family.name}` has the labels {family.labels}")
        if not family.at_most:
            raise ValueError(f"`{family.name}` knows no {labels}")
        plain = tuple(str(label) for label in labels)
        full = self._allocated[family] >= family.at_most
        if full or not self._cells.add_name([family.name, *plain]):
            return self._slots[(family, *(OTHER for _ in labels))]
        return self._place(family, plain)

    def _place(self, family: Family, labels: tuple[str, ...]) -> int:
        at = self._slots[family, *labels] = self._next
        self._next += 1
        self._allocated[family] += 1
        return at
