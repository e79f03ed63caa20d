"""Values of features from a customer's state, at one instant: a pure function of both.

What depends on the plan alone (where cells lie, how many buckets count, what they weigh) is laid out once a plan; how
many buckets have passed since a group's newest event is found once for all features that ask.

Where nothing happened a count, a sum and a number of visits are 0 and a funnel is not open; a mean, an extreme, a last
value, a recency, a rate, a favourite and best hours are missing: they have no entry, and the fact's default stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import add, mul
from types import MappingProxyType
from typing import Any, TypeAlias

from app.core.features import windows
from app.core.features.hours import best_hours
from app.core.features.plan import FoldPlan, Need, State, needs
from app.core.features.sketches import estimate
from app.core.features.weights import ONE_WEIGHT, weights
from policy.feature_rules import FeatureRule

#: What a feature is: of the state, the lags of the plan's clocks, and now.
Reader: TypeAlias = Callable[[State, list[int], int], Any]


def read(plan: FoldPlan, state: State, now_ms: int) -> dict[str, Any]:
    """Every feature of the plan that has a value at `now_ms` (Unix ms)."""
    return reading_of(plan).values(state, now_ms)


def ranking(plan: FoldPlan, state: State, name: str, now_ms: int) -> tuple[str, ...]:
    """The keys of an affinity, the favourite first: for views and exports."""
    rule = next(rule for rule in plan.features if rule.name == name)
    place = reading_of(plan).lane(needs(rule)[0])
    cells, lag = place.cells_and_lag(state, now_ms)
    return tuple(_ranked(cells, _weights_from_lag(rule)[min(lag, place.kept)])[: rule.top]) if cells else ()


def histogram(plan: FoldPlan, state: State, name: str, now_ms: int) -> tuple[int, ...]:
    """Events by hour of the day (UTC), of a feature that says best hours."""
    rule = next(rule for rule in plan.features if rule.name == name)
    place = reading_of(plan).lane(needs(rule)[0])
    cells, lag = place.cells_and_lag(state, now_ms)
    return tuple(_by_hour(cells[: place.kept - lag] if cells and lag < place.kept else ()))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a lane's cells lie, how many of its buckets count, and which clock tells how many have passed."""

    group: int
    position: int
    clock: int
    step_ms: int
    kept: int

    def cells_and_lag(self, state: State, now_ms: int) -> tuple[Any, int]:
        """None where no event of the group came."""
        held = state[self.group]
        if held is None:
            return None, 0
        return held[self.position], max(0, now_ms // self.step_ms - held[0] // self.step_ms)


class Reading:
    """How a plan's features are read."""

    __slots__ = ("_plan", "clocks", "readers")

    def __init__(self, plan: FoldPlan) -> None:
        self._plan = plan
        self.clocks: list[tuple[int, int]] = []  # (group, length of a bucket in ms): counts what has passed
        self.readers: tuple[tuple[str, Reader], ...] = tuple(
            (rule.name, READERS[rule.fold](rule, self)) for rule in plan.features
        )

    def values(self, state: State, now_ms: int) -> dict[str, Any]:
        """Every feature that has a value at `now_ms` (Unix ms)."""
        lags = self.lags(state, now_ms)
        values = {}
        for name, reader in self.readers:
            value = reader(state, lags, now_ms)
            if value is not None:
                values[name] = value
        return values

    def lane(self, need: Need) -> Place:
        group = self._plan.group(need.events)
        clock = (group.index, need.buckets.step_ms)
        if clock not in self.clocks:
            self.clocks.append(clock)
        return Place(
            group.index, group.position(need.key), self.clocks.index(clock), need.buckets.step_ms, need.buckets.kept
        )

    def group(self, events: tuple[str, ...]) -> int:
        return self._plan.group(events).index

    def lags(self, state: State, now_ms: int) -> list[int]:
        """How many buckets ago each clock's newest event was; 0 where it is ahead of now: the window ends with it."""
        lags = []
        for group, step_ms in self.clocks:
            held = state[group]
            passed = 0 if held is None else now_ms // step_ms - held[0] // step_ms
            lags.append(passed if passed > 0 else 0)
        return lags


@lru_cache(maxsize=16)
def reading_of(plan: FoldPlan) -> Reading:
    return Reading(plan)


def _over(place: Place, nothing: Any, value_of: Callable[[list[Any]], Any]) -> Reader:
    """Reads the cells that lie in the window; `nothing` where there are none."""
    group, position, clock, kept = place.group, place.position, place.clock, place.kept

    def reader(state: State, lags: list[int], _: int) -> Any:
        held = state[group]
        if held is None:
            return nothing
        lag = lags[clock]
        return value_of(held[position][: kept - lag]) if lag < kept else nothing

    return reader


def _count(rule: FeatureRule, reading: Reading) -> Reader:
    return _over(reading.lane(needs(rule)[0]), 0, sum)


def _sum(rule: FeatureRule, reading: Reading) -> Reader:
    scale = 10**rule.decimals
    return _over(reading.lane(needs(rule)[0]), 0.0, lambda cells: sum(cells) / scale)


def _mean(rule: FeatureRule, reading: Reading) -> Reader:
    scale = 10**rule.decimals
    total, having = (_over(reading.lane(need), 0, sum) for need in needs(rule))

    def reader(state: State, lags: list[int], now_ms: int) -> float | None:
        number: int = having(state, lags, now_ms)
        return float(total(state, lags, now_ms) / (number * scale)) if number else None

    return reader


def _extreme(rule: FeatureRule, reading: Reading) -> Reader:
    scale = 10**rule.decimals
    choose: Callable[[list[int]], int] = min if rule.fold == "min" else max

    def value_of(cells: list[int | None]) -> float | None:
        held = [cell for cell in cells if cell is not None]
        return choose(held) / scale if held else None

    return _over(reading.lane(needs(rule)[0]), None, value_of)


def _distinct(rule: FeatureRule, reading: Reading) -> Reader:
    return _over(reading.lane(needs(rule)[0]), 0, lambda cells: estimate(sum(map(len, cells))))


def _rate(rule: FeatureRule, reading: Reading) -> Reader:
    of, per = (_over(reading.lane(need), 0, sum) for need in needs(rule))

    def reader(state: State, lags: list[int], now_ms: int) -> float | None:
        number: int = per(state, lags, now_ms)
        return float(of(state, lags, now_ms) / number) if number else None

    return reader


def _last(rule: FeatureRule, reading: Reading) -> Reader:
    place, window_ms = reading.lane(needs(rule)[0]), rule.window_ms or windows.FOREVER_MS
    group, position = place.group, place.position

    def reader(state: State, _: list[int], now_ms: int) -> Any:
        held = state[group]
        if held is None or not held[position]:
            return None
        at_ms, value = held[position][0]
        return value if now_ms - at_ms < window_ms else None

    return reader


def _recency(rule: FeatureRule, reading: Reading) -> Reader:
    group, unit_ms, window_ms = reading.group(rule.events), rule.unit_ms, rule.window_ms or windows.FOREVER_MS

    def reader(state: State, _: list[int], now_ms: int) -> int | None:
        held = state[group]
        if held is None:
            return None
        passed_ms = now_ms - held[0]
        return max(0, passed_ms) // unit_ms if passed_ms < window_ms else None

    return reader


def _funnel(rule: FeatureRule, reading: Reading) -> Reader:
    """Open once nothing closed it for the wait; what closes at the same millisecond does close it."""
    after, without = reading.group(rule.events), reading.group(rule.against)
    wait_ms, window_ms = rule.wait_ms, rule.window_ms or windows.FOREVER_MS

    def reader(state: State, _: list[int], now_ms: int) -> bool:
        opened, closed = state[after], state[without]
        if opened is None or (closed is not None and closed[0] >= opened[0]):
            return False
        return bool(wait_ms <= now_ms - opened[0] < window_ms)

    return reader


def _decayed(rule: FeatureRule, reading: Reading) -> Reader:
    place, whole = reading.lane(needs(rule)[0]), ONE_WEIGHT * 10**rule.decimals
    group, position, clock = place.group, place.position, place.clock
    from_lag = _weights_from_lag(rule)

    def reader(state: State, lags: list[int], _: int) -> float:
        held = state[group]
        lag = lags[clock]
        if held is None or lag >= place.kept:
            return 0.0
        total = sum(map(mul, held[position], from_lag[lag]))
        return float(total / whole)

    return reader


def _affinity(rule: FeatureRule, reading: Reading) -> Reader:
    place = reading.lane(needs(rule)[0])
    group, position, clock = place.group, place.position, place.clock
    from_lag = _weights_from_lag(rule)

    def reader(state: State, lags: list[int], _: int) -> str | None:
        held = state[group]
        lag = lags[clock]
        if held is None or lag >= place.kept:
            return None
        fading, favourite, most = from_lag[lag], None, 0
        for key, counts in held[position].items():
            score = sum(map(mul, counts, fading))
            if score > most or (score == most and favourite is not None and key < favourite):
                favourite, most = key, score
        return favourite

    return reader


def _weights_from_lag(rule: FeatureRule) -> list[tuple[int, ...]]:
    """What cells weigh when so many buckets have passed since the newest event; in the end nothing."""
    fading = weights(rule.half_life_ms, windows.of_half_life(rule.half_life_ms, rule.window_ms))
    return [fading[lag:] for lag in range(len(fading) + 1)]


def _ranked(cells: Mapping[str, Sequence[int]], fading: tuple[int, ...]) -> list[str]:
    """Keys by weight, the heaviest first; of two that weigh the same, by their text. Faded keys are not among them."""
    scores = [(-sum(map(mul, counts, fading)), key) for key, counts in cells.items()]
    return [key for score, key in sorted(scores) if score]


def _sessions(rule: FeatureRule, reading: Reading) -> Reader:
    need, gap = needs(rule)[0], rule.gap_minutes
    step = need.buckets.step_ms // windows.MINUTE_MS

    def value_of(cells: list[list[int]]) -> int:
        """Every stretch is a visit, but for one that goes on with the last stretch of a bucket before."""
        visits, ended = 0, -windows.FOREVER_MS
        for age in range(len(cells) - 1, -1, -1):
            runs, began = cells[age], -age * step
            if runs:
                visits += len(runs) // 2 - (began + runs[0] - ended <= gap)
                ended = began + runs[-1]
        return visits

    return _over(reading.lane(need), 0, value_of)


def _hours(rule: FeatureRule, reading: Reading) -> Reader:
    span, at_least = rule.span, rule.at_least
    return _over(reading.lane(needs(rule)[0]), None, lambda cells: best_hours(_by_hour(cells), span, at_least))


def _by_hour(cells: Sequence[list[int]]) -> list[int]:
    by_hour = [0] * 24
    for cell in cells:
        if cell:
            by_hour = list(map(add, by_hour, cell))
    return by_hour


READERS: Mapping[str, Callable[[FeatureRule, Reading], Reader]] = MappingProxyType(
    {
        "count": _count,
        "sum": _sum,
        "mean": _mean,
        "min": _extreme,
        "max": _extreme,
        "distinct": _distinct,
        "last": _last,
        "recency": _recency,
        "funnel": _funnel,
        "decayed": _decayed,
        "affinity": _affinity,
        "rate": _rate,
        "sessions": _sessions,
        "hours": _hours,
    }
)
