"""What a bundle's features need: which events are kept together, and in which lanes.

A group is a set of events that some feature is folded from; it holds when the newest of them happened, and its lanes.
Features of one group that need the same lane share it: a mean and a sum, or two windows with buckets of one length, of
which the longer decides how many are kept. A group is what the store keeps as one value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from app.core.events.event import Event
from app.core.features import windows
from app.core.features.lanes import Extreme, Hours, Lane, Last, Runs, Tally, number_taker, one_of
from app.core.features.sketches import Distinct, Keys
from app.core.features.windows import Buckets
from policy.bundle import Bundle
from policy.feature_rules import FeatureRule

#: `[newest_ms, cells, cells, …]`, in the order of the group's lanes.
GroupState: TypeAlias = list[Any]
#: One customer: a state a group, None where no event of the group came yet. Whoever folds into it owns it.
State: TypeAlias = list[GroupState | None]


class Need(NamedTuple):
    """A lane that a feature reads."""

    events: tuple[str, ...]
    key: str
    buckets: Buckets
    make: Callable[[str, Buckets], Lane]


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """`key` is how the store knows it: its events, sorted. `lane_ids` stand for the lanes' keys in what is stored."""

    index: int
    key: str
    lanes: tuple[Lane, ...]
    lane_ids: tuple[int, ...]
    #: The same lanes as the fold walks through them, which is where it spends its time.
    takes: tuple[Callable[[Event], Any], ...]
    puts: tuple[tuple[int, int, int, Callable[[Any, int, Any], bool]], ...]  # (position, step_ms, kept, put)

    def position(self, key: str) -> int:
        """Where a lane's cells are in the group's state."""
        return 1 + next(at for at, lane in enumerate(self.lanes) if lane.key == key)


@dataclass(frozen=True, slots=True, eq=False)
class FoldPlan:
    """How the events of a bundle, or of all bundles in service, are folded. Compared by identity."""

    features: tuple[FeatureRule, ...]
    groups: tuple[Group, ...]
    routes: Mapping[str, tuple[Group, ...]]  # event type → the groups that take it

    @classmethod
    def of(cls, *bundles: Bundle) -> FoldPlan:
        """The plan of one bundle; of several where they are in service side by side: then every lane that one of them
        reads is kept. Of features with one name and version the last bundle's is read."""
        return cls.of_rules(rule for bundle in bundles for rule in bundle.features)

    @classmethod
    def of_rules(cls, rules: Iterable[FeatureRule]) -> FoldPlan:
        features = tuple({(rule.name, rule.version): rule for rule in rules}.values())
        groups = tuple(_groups(features))
        routes: dict[str, tuple[Group, ...]] = {}
        for group in groups:
            for event in group.key.split("+"):
                routes[event] = (*routes.get(event, ()), group)
        return cls(features, groups, MappingProxyType(routes))

    def group(self, events: tuple[str, ...]) -> Group:
        """The group of a set of events; one that some feature is folded from."""
        return next(group for group in self.groups if group.key == group_key(events))

    @property
    def keep_ms(self) -> int | None:
        """How long after its last event a customer's state is of use; None: for ever."""
        kept = [_kept_ms(rule) for rule in self.features]
        return None if None in kept else max((each for each in kept if each is not None), default=0)


def group_key(events: tuple[str, ...]) -> str:
    return "+".join(events)


def new_state(plan: FoldPlan) -> State:
    """A customer of whom no event came yet."""
    return [None] * len(plan.groups)


def needs(rule: FeatureRule) -> tuple[Need, ...]:
    """The lanes that a feature reads. A recency and a funnel read none: when a group's newest event was is enough."""
    return NEEDS[rule.fold](rule)


def counted(events: tuple[str, ...], buckets: Buckets) -> Need:
    return Need(events, f"count/{buckets.step_ms}", buckets, lambda key, kept: Tally(key, kept, one_of))


def summed(rule: FeatureRule, buckets: Buckets) -> Need:
    name, decimals = _property(rule), rule.decimals
    key = f"sum:{name}:{decimals}/{buckets.step_ms}"
    return Need(rule.events, key, buckets, lambda key, kept: Tally(key, kept, number_taker(name, decimals)))


def _counts(rule: FeatureRule) -> tuple[Need, ...]:
    return (counted(rule.events, windows.of_window(rule.window_ms)),)


def _sums(rule: FeatureRule) -> tuple[Need, ...]:
    return (summed(rule, windows.of_window(rule.window_ms)),)


def _means(rule: FeatureRule) -> tuple[Need, ...]:
    """A sum, and how many events have the property."""
    buckets, name = windows.of_window(rule.window_ms), _property(rule)
    having = Need(
        rule.events,
        f"having:{name}/{buckets.step_ms}",
        buckets,
        lambda key, kept: Tally(key, kept, lambda event: None if event.properties.get(name) is None else 1),
    )
    return summed(rule, buckets), having


def _extremes(rule: FeatureRule) -> tuple[Need, ...]:
    buckets, name, decimals = windows.of_window(rule.window_ms), _property(rule), rule.decimals
    choose: Callable[..., int] = min if rule.fold == "min" else max
    key = f"{rule.fold}:{name}:{decimals}/{buckets.step_ms}"
    make = lambda key, kept: Extreme(key, kept, number_taker(name, decimals), choose)  # noqa: E731  # as the others
    return (Need(rule.events, key, buckets, make),)


def _lasts(rule: FeatureRule) -> tuple[Need, ...]:
    name = _property(rule)
    return (Need(rule.events, f"last:{name}", windows.ONE, lambda key, kept: Last(key, kept, name)),)


def _distincts(rule: FeatureRule) -> tuple[Need, ...]:
    buckets, name = windows.of_window(rule.window_ms), _property(rule)
    key = f"distinct:{name}/{buckets.step_ms}"
    return (Need(rule.events, key, buckets, lambda key, kept: Distinct(key, kept, name)),)


def _affinities(rule: FeatureRule) -> tuple[Need, ...]:
    buckets, name = windows.of_half_life(rule.half_life_ms, rule.window_ms), _property(rule)
    key = f"keys:{name}/{buckets.step_ms}"
    return (Need(rule.events, key, buckets, lambda key, kept: Keys(key, kept, name)),)


def _decays(rule: FeatureRule) -> tuple[Need, ...]:
    buckets = windows.of_half_life(rule.half_life_ms, rule.window_ms)
    return (counted(rule.events, buckets) if rule.property is None else summed(rule, buckets),)


def _rates(rule: FeatureRule) -> tuple[Need, ...]:
    buckets = windows.of_window(rule.window_ms)
    return counted(rule.events, buckets), counted(rule.against, buckets)


def _sessions(rule: FeatureRule) -> tuple[Need, ...]:
    buckets, gap = windows.of_window(rule.window_ms), rule.gap_minutes
    key = f"runs:{gap}/{buckets.step_ms}"
    return (Need(rule.events, key, buckets, lambda key, kept: Runs(key, kept, gap)),)


def _histograms(rule: FeatureRule) -> tuple[Need, ...]:
    buckets = windows.of_histogram(rule.window_ms)
    return (Need(rule.events, f"hours/{buckets.step_ms}", buckets, Hours),)


def _none(_: FeatureRule) -> tuple[Need, ...]:
    return ()


NEEDS: Mapping[str, Callable[[FeatureRule], tuple[Need, ...]]] = MappingProxyType(
    {
        "count": _counts,
        "sum": _sums,
        "mean": _means,
        "min": _extremes,
        "max": _extremes,
        "last": _lasts,
        "distinct": _distincts,
        "affinity": _affinities,
        "decayed": _decays,
        "rate": _rates,
        "sessions": _sessions,
        "hours": _histograms,
        "recency": _none,
        "funnel": _none,
    }
)


def _property(rule: FeatureRule) -> str:
    if rule.property is None:  # the schema does not let it happen
        raise ValueError(f"feature `{rule.name}` names no property")
    return rule.property


def _groups(features: tuple[FeatureRule, ...]) -> Iterator[Group]:
    """Groups and lanes in the order of their keys, so that the order of features in a file makes no difference."""
    wanted: dict[str, dict[str, Need]] = {}
    for rule in features:
        for events in (rule.events, rule.against):
            if events:
                wanted.setdefault(group_key(events), {})
        for need in needs(rule):
            lanes = wanted.setdefault(group_key(need.events), {})
            known = lanes.get(need.key)
            if known is None or known.buckets.kept < need.buckets.kept:
                lanes[need.key] = need
    for index, (key, lanes) in enumerate(sorted(wanted.items())):
        made = tuple(need.make(need.key, need.buckets) for _, need in sorted(lanes.items()))
        ids = tuple(lane_id(lane.key) for lane in made)
        if len(set(ids)) != len(ids):
            raise ValueError(f"two lanes of `{key}` have one id: change a window of one of them")
        takes = tuple(lane.take for lane in made)
        puts = tuple((at, *lane.buckets, lane.put) for at, lane in enumerate(made, 1))
        yield Group(index, key, made, ids, takes, puts)


def lane_id(key: str) -> int:
    """32 bits that stand for a lane's key in what is stored; lanes that another bundle left there are not mistaken."""
    return int.from_bytes(blake2b(key.encode(), digest_size=4).digest(), "big")


def _kept_ms(rule: FeatureRule) -> int | None:
    spans = [need.buckets.step_ms * need.buckets.kept for need in needs(rule)]
    if rule.fold in ("recency", "funnel", "last"):
        spans = [windows.FOREVER_MS if rule.window_ms is None else rule.window_ms]
    return None if max(spans) >= windows.FOREVER_MS else max(spans)
