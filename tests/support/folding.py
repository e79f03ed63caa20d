"""Plans from a few lines of YAML, and what features come to when they are computed from the whole list of events."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction
from hashlib import blake2b
from itertools import pairwise
from typing import Any

from app.core.events.event import Event
from app.core.features import windows
from app.core.features.plan import FoldPlan
from app.core.features.weights import weights
from policy.feature_rules import FeatureRule, feature_rules
from policy.schema import Documents
from policy.source import read

#: Every fold, over three events; windows share buckets, and do not.
EVERYTHING = """
views_1h:     {on: viewed, count: 1, window: 1h}
views_7d:     {on: viewed, count: 1, window: 7d}
views_6d:     {on: viewed, count: 1, window: 160h}
views:        {on: [viewed, added], count: {}}
spend_90d:    {on: bought, sum: revenue, window: 90d}
spend:        {on: bought, sum: revenue, decimals: 2}
mean_90d:     {on: bought, mean: revenue, window: 90d}
cheapest:     {on: viewed, min: price, window: 30d}
dearest:      {on: [viewed, added], max: price, window: 24h}
items_max:    {on: bought, max: items}
products_7d:  {on: viewed, distinct: product, window: 7d}
products:     {on: [viewed, added], distinct: product}
last_product: {on: viewed, last: product}
last_price:   {on: viewed, last: price, window: 2d}
since:        {on: bought, recency: hours}
since_90m:    {on: viewed, recency: minutes, window: 90m}
fading:       {on: viewed, decayed: {half_life: 2d}}
fading_spend: {on: bought, decayed: {half_life: 14d, sum: revenue}, window: 30d}
favourite:    {on: [viewed, added], affinity: {key: category, half_life: 14d, top: 3}}
bought_rate:  {rate: {of: bought, per: [viewed, added]}, window: 30d}
visits_7d:    {on: [viewed, added, bought], sessions: {gap: 30m}, window: 7d}
visits_1h:    {on: viewed, sessions: {gap: 7m}, window: 1h}
abandoned:    {funnel: {after: added, without: bought, minutes: 30}, window: 3d}
hours:        {on: viewed, hours: {span: 3, at_least: 2}, window: 90d}
hours_ever:   {on: bought, hours: {}}
"""
EVENTS = """
viewed: {properties: {product: {type: string}, category: {type: string}, price: {type: float}}}
added:  {properties: {product: {type: string}, category: {type: string}, price: {type: float}}}
bought: {properties: {revenue: {type: float}, items: {type: int}}}
"""


def documents_of(features: str, events: str = EVENTS) -> Documents:
    return Documents.model_validate(
        {
            "bundle": {"name": "shop", "owner": "growth", "currency": "EUR"},
            "placements": {"placements": []},
            "messages": {"messages": []},
            "features": {"features": read(features).data()},
            "events": {"events": read(events).data()},
        }
    )


def rules_of(features: str, events: str = EVENTS) -> tuple[FeatureRule, ...]:
    return feature_rules(documents_of(features, events))


def plan_of(features: str, events: str = EVENTS) -> FoldPlan:
    return FoldPlan.of_rules(rules_of(features, events))


def event(kind: str, at_ms: int, message: int = 0, **properties: Any) -> Event:
    return Event(kind, at_ms, properties, message.to_bytes(8, "big"))


class Oracle:
    """Features of one customer at one instant, from all events there were. Slow, and without a state."""

    def __init__(self, rule: FeatureRule, events: Sequence[Event], now_ms: int) -> None:
        self.rule, self.now_ms, self.every = rule, now_ms, events

    def value(self) -> Any:
        return getattr(self, f"_{self.rule.fold}")()

    def _of(self, names: Iterable[str]) -> list[Event]:
        return [each for each in self.every if each.type in names]

    def _since(self, events: list[Event], buckets: windows.Buckets) -> list[tuple[int, Event]]:
        """(buckets ago, event) of all in the window, which ends now, or with the newest where that is later."""
        if not events:
            return []
        step = buckets.step_ms
        ends = max(self.now_ms // step, max(each.occurred_at_ms for each in events) // step)
        aged = [(ends - each.occurred_at_ms // step, each) for each in events]
        return [(age, each) for age, each in aged if age < buckets.kept]

    def _inside(self, names: Iterable[str] | None = None) -> list[Event]:
        buckets = windows.of_window(self.rule.window_ms)
        return [each for _, each in self._since(self._of(names or self.rule.events), buckets)]

    def _held(self, events: Iterable[Event]) -> list[tuple[int, Any]]:
        """(when, what) of the property, of those that have it."""
        name = self.rule.property
        return [(each.occurred_at_ms, each.properties[name]) for each in events if name and name in each.properties]

    def _numbers(self) -> list[int]:
        """Whole multiples of 10^-decimals."""
        return [round(value * 10**self.rule.decimals) for _, value in self._held(self._inside())]

    def _texts(self, events: Iterable[Event]) -> list[str]:
        return [str(value) for _, value in self._held(events)]

    def _scaled(self, number: Fraction | int) -> float:
        return float(Fraction(number) / 10**self.rule.decimals)

    def _count(self) -> int:
        return len(self._inside())

    def _sum(self) -> float:
        return self._scaled(sum(self._numbers()))

    def _mean(self) -> float | None:
        numbers = self._numbers()
        return self._scaled(Fraction(sum(numbers), len(numbers))) if numbers else None

    def _min(self) -> float | None:
        numbers = self._numbers()
        return self._scaled(min(numbers)) if numbers else None

    def _max(self) -> float | None:
        numbers = self._numbers()
        return self._scaled(max(numbers)) if numbers else None

    def _distinct(self) -> int:
        slots = {blake2b(text.encode(), digest_size=8).digest()[-1] for text in self._texts(self._inside())}
        return 1420 if len(slots) == 256 else round(-256 * math.log(1 - len(slots) / 256))

    def _last(self) -> Any:
        found = self._held(self._of(self.rule.events))
        if not found:
            return None
        at_ms, value = max(found)
        return None if self.rule.window_ms is not None and self.now_ms - at_ms >= self.rule.window_ms else value

    def _newest(self, names: Iterable[str]) -> int | None:
        return max((each.occurred_at_ms for each in self._of(names)), default=None)

    def _recency(self) -> int | None:
        newest = self._newest(self.rule.events)
        if newest is None or (self.rule.window_ms is not None and self.now_ms - newest >= self.rule.window_ms):
            return None
        return max(0, self.now_ms - newest) // self.rule.unit_ms

    def _funnel(self) -> bool:
        opened, closed = self._newest(self.rule.events), self._newest(self.rule.against)
        if opened is None or (closed is not None and closed >= opened):
            return False
        passed = self.now_ms - opened
        return passed >= self.rule.wait_ms and (self.rule.window_ms is None or passed < self.rule.window_ms)

    def _weighed(self) -> list[tuple[int, Event]]:
        buckets = windows.of_half_life(self.rule.half_life_ms, self.rule.window_ms)
        weight = weights(self.rule.half_life_ms, buckets)
        return [(weight[age], each) for age, each in self._since(self._of(self.rule.events), buckets)]

    def _decayed(self) -> float:
        scale, name = 10**self.rule.decimals, self.rule.property
        values = [
            weight * (1 if name is None else round(each.properties[name] * scale))
            for weight, each in self._weighed()
            if name is None or name in each.properties
        ]
        return float(Fraction(sum(values), 2**32 * scale))

    def _affinity(self) -> str | None:
        """Every bucket ranks the sixteen of its keys with the smallest hashes."""
        in_bucket: dict[int, Counter[str]] = {}
        for weight, each in self._weighed():
            in_bucket.setdefault(weight, Counter()).update(self._texts([each]))
        scores: Counter[str] = Counter()
        for weight, keys in in_bucket.items():
            kept = sorted(keys, key=lambda key: (blake2b(key.encode(), digest_size=8).digest(), key))[:16]
            scores.update({key: keys[key] * weight for key in kept})
        return min(scores, key=lambda key: (-scores[key], key)) if scores else None

    def _rate(self) -> float | None:
        per = len(self._inside(self.rule.against))
        return float(Fraction(len(self._inside()), per)) if per else None

    def _sessions(self) -> int:
        minutes = sorted(each.occurred_at_ms // 60_000 for each in self._inside())
        pauses = [after - before for before, after in pairwise(minutes)]
        return bool(minutes) + sum(pause > self.rule.gap_minutes for pause in pauses)

    def _hours(self) -> str | None:
        buckets, span = windows.of_histogram(self.rule.window_ms), self.rule.span
        hours = [each.occurred_at_ms // 3_600_000 % 24 for _, each in self._since(self._of(self.rule.events), buckets)]
        if len(hours) < self.rule.at_least or not hours:
            return None

        def within(start: int, length: int) -> int:
            return sum((hour - start) % 24 < length for hour in hours)

        best = max(range(24), key=lambda start: (within(start, span), within(start - 1, span + 2), -start))
        return f"{best:02}:00-{(best + span) % 24:02}:00"


def computed(plan: FoldPlan, events: Sequence[Event], now_ms: int) -> dict[str, Any]:
    """Every feature that has a value, from the list of events."""
    values = {rule.name: Oracle(rule, events, now_ms).value() for rule in plan.features}
    return {name: value for name, value in values.items() if value is not None}
