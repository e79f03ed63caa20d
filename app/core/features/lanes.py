"""Lanes: what is kept of the events of a group, bucket by bucket.

Most lanes are a list of cells, the newest bucket's first, which ends with the last cell that holds anything and has at
most `buckets.kept`. The newest bucket is that of the group's newest event. Whoever adds a lane keeps these rules, on
which it rests that a state does not depend on the order of events, and that two states can be united:

1. What a lane holds of a bucket is a function of the multiset of events in that bucket: adding is commutative.
2. A cell is a value: what changes is a new cell in the list, never the cell itself, so that states may share cells.
3. What a lane holds is plain MessagePack, and equal content is equal: nothing is kept of an empty bucket at the end,
   sets are sorted.

Numbers of properties are whole multiples of 10^-decimals, rounded once, half to even, from the event's own value; all
else is whole-number arithmetic, which knows no order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from app.core.events.event import Event
from app.core.features.windows import MINUTE_MS, Buckets

Cells: TypeAlias = list[Any]

#: Largest number of one event, in multiples of 10^-decimals: a million such events fit into 64 bits.
NUMBER_MAX = 2**43
#: Longest text that is kept: more, and Redis gives up its compact encoding.
TEXT_BYTES_MAX = 64
HOUR_MS = 60 * MINUTE_MS


class UnfoldableEvent(ValueError):
    """An event that cannot be folded, whatever the state: a number where the property is text, or one that is too
    large. Nothing of it was folded; it belongs in quarantine. The message names the property, never the value."""


class Lane(Protocol):
    """How one lane of a group takes events in. `Cells` is a list, or whatever else a lane keeps."""

    key: str  # what it holds, in a word: lanes of one key hold the same, and features that need it share it
    buckets: Buckets

    def new(self) -> Any:
        """Cells of a lane without events."""
        ...

    def take(self, event: Event) -> Any:
        """What the lane wants of an event; None: nothing. Raises UnfoldableEvent."""
        ...

    def put(self, cells: Any, age: int, value: Any) -> bool:
        """Adds what was taken to the bucket `age` before the newest, in place; whether that changed anything."""
        ...

    def aged(self, cells: Any, by: int) -> Any:
        """A copy whose newest bucket is `by` buckets later; what leaves the lane is gone."""
        ...

    def unite(self, cells: Any, others: Any) -> Any:
        """The cells of all events of two lanes with the same newest bucket."""
        ...


def number_taker(name: str, decimals: int) -> Callable[[Event], int | None]:
    """Takes a number of the property `name`, as a whole multiple of 10^-decimals."""
    scale = 10**decimals

    def take(event: Event) -> int | None:
        value: Any = event.properties.get(name)
        if value is None:
            return None
        scaled: int
        if type(value) is int:
            scaled = value * scale
        elif type(value) is float and -NUMBER_MAX < value < NUMBER_MAX:  # neither infinite nor NaN
            scaled = round(value * scale)
        else:
            raise UnfoldableEvent(f"`{name}` is no number that can be folded")
        if not -NUMBER_MAX <= scaled <= NUMBER_MAX:
            raise UnfoldableEvent(f"`{name}` is too large a number")
        return scaled

    return take


def text_of(value: Any) -> str:
    """A scalar as text of at most 64 bytes; longer ones are cut, at a character's edge."""
    text = value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    if text.isascii():
        return text[:TEXT_BYTES_MAX]
    return text.encode("utf-8", "replace")[:TEXT_BYTES_MAX].decode("utf-8", "ignore")


def put_cell(cells: Cells, age: int, cell: Any, empty: Any) -> None:
    """Sets a cell, and keeps the list ending with one that holds something."""
    missing = age - len(cells)
    if missing < 0:
        cells[age] = cell
    else:
        cells.extend([empty] * missing)
        cells.append(cell)
    while cells and cells[-1] == empty:
        cells.pop()


def aged_cells(cells: Cells, by: int, kept: int, empty: Any) -> Cells:
    """Cells that are `by` buckets older."""
    if by >= kept or not cells:
        return []
    older = [empty] * by + cells[: kept - by]
    while older and older[-1] == empty:
        older.pop()
    return older


def united_cells(cells: Cells, others: Cells, empty: Any, both: Callable[[Any, Any], Any]) -> Cells:
    """Cell by cell; where one has nothing the other's cell stands."""
    longer, shorter = (cells, others) if len(cells) >= len(others) else (others, cells)
    united = [
        one if other == empty else other if one == empty else both(one, other)
        for one, other in zip(longer, shorter, strict=False)
    ]
    united += longer[len(shorter) :]
    while united and united[-1] == empty:
        united.pop()
    return united


class CellLane:
    """A lane that is a list of cells, united cell by cell. `empty` is the cell of a bucket without events."""

    __slots__ = ("buckets", "empty", "key")

    def __init__(self, key: str, buckets: Buckets, empty: Any) -> None:
        self.key = key
        self.buckets = buckets
        self.empty = empty

    def new(self) -> Cells:
        return []

    def aged(self, cells: Cells, by: int) -> Cells:
        return aged_cells(cells, by, self.buckets.kept, self.empty)

    def unite(self, cells: Cells, others: Cells) -> Cells:
        return united_cells(cells, others, self.empty, self.both)

    def both(self, one: Any, other: Any) -> Any:
        """The cell of all events of two cells, of which neither is empty."""
        raise NotImplementedError


def one_of(_: Event) -> int:
    """What a count takes of every event."""
    return 1


class Tally(CellLane):
    """Whole numbers added up: a count of events, or the sum of a property."""

    __slots__ = ("take",)

    def __init__(self, key: str, buckets: Buckets, take: Callable[[Event], int | None]) -> None:
        super().__init__(key, buckets, 0)
        self.take = take

    def put(self, cells: Cells, age: int, value: int) -> bool:
        if age < len(cells):
            cells[age] += value
            if not cells[-1]:
                put_cell(cells, age, cells[age], 0)
        else:
            put_cell(cells, age, value, 0)
        return value != 0

    def both(self, one: int, other: int) -> int:
        return one + other


class Extreme(CellLane):
    """The smallest, or largest, number of each bucket."""

    __slots__ = ("_choose", "take")

    def __init__(
        self, key: str, buckets: Buckets, take: Callable[[Event], int | None], choose: Callable[[int, int], int]
    ) -> None:
        super().__init__(key, buckets, None)
        self.take = take
        self._choose = choose

    def put(self, cells: Cells, age: int, value: int) -> bool:
        old = cells[age] if age < len(cells) else None
        if old is not None and self._choose(old, value) == old:
            return False
        put_cell(cells, age, value, None)
        return True

    def both(self, one: int, other: int) -> int:
        return self._choose(one, other)


class Last(CellLane):
    """The value of the newest event that has the property, and when that was. Of two at the same millisecond the
    greater one stands, numbers before text: any rule will do that asks for no order of arrival."""

    __slots__ = ("_name",)

    def __init__(self, key: str, buckets: Buckets, name: str) -> None:
        super().__init__(key, buckets, None)
        self._name = name

    def take(self, event: Event) -> list[Any] | None:
        value: Any = event.properties.get(self._name)
        if value is None:
            return None
        if isinstance(value, str):
            return [event.occurred_at_ms, text_of(value)]
        if not -NUMBER_MAX <= value <= NUMBER_MAX:  # NaN is in no range
            raise UnfoldableEvent(f"`{self._name}` is no number that can be folded")
        return [event.occurred_at_ms, value if value else type(value)(0)]  # there are two zeros among the floats

    def put(self, cells: Cells, age: int, value: list[Any]) -> bool:
        old = cells[age] if age < len(cells) else None
        if old is not None and (value[0] < old[0] or _newness(old) >= _newness(value)):
            return False
        put_cell(cells, age, value, None)
        return True

    def both(self, one: list[Any], other: list[Any]) -> list[Any]:
        return max(one, other, key=_newness)


def _newness(cell: list[Any]) -> tuple[int, bool, Any, str]:
    """The type's name at the end keeps 1, 1.0 and True apart."""
    at_ms, value = cell
    return at_ms, type(value) is str, value, type(value).__name__


class Runs(CellLane):
    """Sessions: the stretches of each bucket in which no two events are more than `gap` minutes apart, as
    `[start, end, start, end, …]` in minutes since the bucket began.

    A session that crosses the edge of a bucket is a stretch in each, and becomes one where it is read. So a bucket that
    leaves the window takes nothing with it that another one needs.
    """

    __slots__ = ("_gap",)

    def __init__(self, key: str, buckets: Buckets, gap_minutes: int) -> None:
        super().__init__(key, buckets, [])
        self._gap = gap_minutes

    def take(self, event: Event) -> int:
        return event.occurred_at_ms % self.buckets.step_ms // MINUTE_MS

    def put(self, cells: Cells, age: int, value: int) -> bool:
        old = cells[age] if age < len(cells) else self.empty
        joined = self._with(old, value)
        if joined == old:
            return False
        put_cell(cells, age, joined, self.empty)
        return True

    def _with(self, runs: list[int], minute: int) -> list[int]:
        """Nearly every event goes on with the last stretch, or begins one after it."""
        if not runs or minute > runs[-1] + self._gap:
            return [*runs, minute, minute]
        if minute >= runs[-2]:
            return runs if minute <= runs[-1] else [*runs[:-1], minute]
        return self.both(runs, [minute, minute])

    def both(self, one: list[int], other: list[int]) -> list[int]:
        """The stretches of both, joined where the pause between them is no longer than the gap."""
        pairs = sorted([*zip(one[::2], one[1::2], strict=True), *zip(other[::2], other[1::2], strict=True)])
        joined: list[int] = []
        for start, end in pairs:
            if joined and start - joined[-1] <= self._gap:
                joined[-1] = max(joined[-1], end)
            else:
                joined += (start, end)
        return joined


class Hours(CellLane):
    """How many events fell into each hour of the day (UTC): 24 numbers a bucket."""

    __slots__ = ()

    def __init__(self, key: str, buckets: Buckets) -> None:
        super().__init__(key, buckets, [])

    def take(self, event: Event) -> int:
        return event.occurred_at_ms // HOUR_MS % 24

    def put(self, cells: Cells, age: int, value: int) -> bool:
        old = cells[age] if age < len(cells) else self.empty
        hours = list(old or (0,) * 24)
        hours[value] += 1
        put_cell(cells, age, hours, self.empty)
        return True

    def both(self, one: list[int], other: list[int]) -> list[int]:
        return [a + b for a, b in zip(one, other, strict=True)]
