"""Features in a decision: those of a customer that the placements asked for read, as they are at its instant.

What was read of the store is a state, not values: a decision that must be made again at a later instant (a version
moved) reads the same state at that instant, without another trip. Fails open, as scores do: a state that cannot be
understood leaves its features missing, and the decision says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from app.core.features.codec import UnreadableState, decode
from app.core.features.plan import FoldPlan, Group, State
from app.core.features.read import Reading
from app.core.features.watermarks import Watermarks
from policy.bundle import Bundle, Fact, Placement
from policy.facts import Facts
from policy.feature_rules import FeatureRule


class LiveFeatures:
    """How some features of a bundle are read. They lie in the groups of its whole plan, as workers write them."""

    __slots__ = ("_fits", "_reading", "_size", "_sources", "all_event_types", "event_types", "groups", "rules")

    def __init__(self, bundle: Bundle, names: frozenset[str]) -> None:
        whole = whole_plan(bundle)
        rules = tuple(rule for rule in whole.features if rule.name in names)
        self._reading = Reading(replace(whole, features=rules))
        self._size = len(whole.groups)
        self.rules = rules
        #: The groups that they are read from, in the order in which `state` takes their bytes.
        self.groups = tuple(group for group in whole.groups if any(_reads(rule, group) for rule in rules))
        facts = [bundle.fact_by_name[rule.name] for rule in rules]
        under_contract = {fact.source: events_of(rule) for fact, rule in _contracts(facts, rules)}
        self._sources = tuple(under_contract.items())
        self.all_event_types = tuple(sorted({event for rule in rules for event in events_of(rule)}))
        #: Of these those whose completeness a contract asks for; none: decisions need no watermarks.
        self.event_types = tuple(sorted({event for events in under_contract.values() for event in events}))
        self._fits = tuple(_fitting(fact) for fact, rule in zip(facts, rules, strict=True) if rule.fold == "last")

    def state(self, stored: Sequence[bytes | None]) -> State | None:
        """The customer's state from the bytes of `groups`, None for a group of which nothing is stored. None: it cannot
        be read."""
        state: State = [None] * self._size
        try:
            for group, data in zip(self.groups, stored, strict=True):
                if data is not None:
                    state[group.index] = decode(group, data)
        except (UnreadableState, ValueError):
            return None
        return state

    def values(self, state: State, now_ms: int) -> dict[str, Any] | None:
        """The features that have a value at `now_ms` (Unix ms); None: the state is not what a fold writes."""
        try:
            values = self._reading.values(state, now_ms)
        except Exception:  # bytes that decode and are no state can fail in any way; none of them may stop a decision
            return None
        for fits in self._fits:
            fits(values)
        return values

    def joined(
        self,
        facts: Facts,
        state: State | None,
        shard: int,
        watermarks: Watermarks,
        lacking: frozenset[str] | None = None,
    ) -> Facts:
        """Facts with the features in them, as they are at the facts' instant, and until when these are complete. Where
        one has no value its default stands, which is among the facts already. `state` None: it could not be read.

        Features that are `lacking` events that passed are missing, and no default stands in: it would tell "999 days
        since the last order" of whoever bought something before.
        """
        values = None if state is None else self.values(state, facts.now_ms)
        as_of_ms = facts.as_of_ms
        if self._sources:
            as_of_ms = {**as_of_ms, **self.as_of_ms(shard, watermarks)}
        if lacking:
            facts, values = self._without(lacking, facts, values)
        if values is None:
            return facts._replace(as_of_ms=as_of_ms, features_unread=True)
        return facts._replace(values={**facts.values, **values}, as_of_ms=as_of_ms)

    def _without(
        self, lacking: frozenset[str], facts: Facts, values: dict[str, Any] | None
    ) -> tuple[Facts, dict[str, Any] | None]:
        names = lacking.intersection(rule.name for rule in self.rules)
        known, read = (
            {name: value for name, value in each.items() if name not in names} for each in (facts.values, values or {})
        )
        return facts._replace(values=known, not_filled=names), None if values is None else read

    def as_of_ms(self, shard: int, watermarks: Watermarks) -> Mapping[str, int]:
        """`Fact.source` of each feature under contract → until when its events are complete, where that is known."""
        found = {}
        for source, events in self._sources:
            told_ms = watermarks.as_of_ms(events, shard)
            if told_ms is not None:
                found[source] = told_ms
        return found


@lru_cache(maxsize=1024)
def live_features(bundle: Bundle, placements: tuple[Placement, ...]) -> LiveFeatures | None:
    """The features that these placements' rules, audiences or models read; None where none does: then nothing of them
    is asked of the store."""
    return _of_names(bundle, frozenset(name for each in placements for name in features_read(bundle, each)))


def all_features(bundle: Bundle) -> LiveFeatures | None:
    """All features of a bundle, for people; None where it has none."""
    return _of_names(bundle, frozenset(rule.name for rule in bundle.features))


@lru_cache(maxsize=1024)
def _of_names(bundle: Bundle, names: frozenset[str]) -> LiveFeatures | None:
    """Callers ask for placements in any order and number; what these come to are few."""
    return LiveFeatures(bundle, names) if names else None


@lru_cache(maxsize=16)
def whole_plan(bundle: Bundle) -> FoldPlan:
    """As the bundle's workers fold."""
    return FoldPlan.of(bundle)


@lru_cache(maxsize=1024)
def features_read(bundle: Bundle, placement: Placement) -> frozenset[str]:
    """The features that a placement reads."""
    inputs = placement.model.inputs if placement.model else ()
    read = {*placement.customer_names, *(path[9:] for path in inputs if path.startswith("customer."))}
    return frozenset(name for name in read if bundle.fact_by_name[name].kind == "feature")


def events_of(rule: FeatureRule) -> tuple[str, ...]:
    """Every event that a feature depends on, those that close a funnel too; sorted."""
    return tuple(sorted({*rule.events, *rule.against}))


def _contracts(facts: Sequence[Fact], rules: Sequence[FeatureRule]) -> list[tuple[Fact, FeatureRule]]:
    return [(fact, rule) for fact, rule in zip(facts, rules, strict=True) if fact.max_age_s is not None]


def _reads(rule: FeatureRule, group: Group) -> bool:
    return any("+".join(events) == group.key for events in (rule.events, rule.against))


def _fitting(fact: Fact) -> Callable[[dict[str, Any]], None]:
    """A last value is whatever its sender told: what does not fit the declared type is missing, as of attributes."""
    name = fact.name
    expected = {"int": int, "float": float, "bool": bool}.get(fact.type, str)

    def fit(values: dict[str, Any]) -> None:
        value = values.get(name)
        if value is None or type(value) is expected:
            return
        if expected is float and type(value) is int:
            values[name] = float(value)
        else:
            del values[name]

    return fit
