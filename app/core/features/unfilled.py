"""Which features of a bundle lack events that passed, shard by shard: no decision may use one where it does.

A worker folds a feature from some event on. What passed before is missing until it was filled, or until the feature has
been folded for as long as it reaches back: then it is whole by itself. Where no worker folds it (one of an older
release still has the shard, or has it again), it lacks whatever passes. A shard where nothing passed lacks nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from app.core.features.backfill import CannotFill, Change, Lanes, Missing, lanes_of, missing
from app.core.features.plan import FoldPlan
from policy.feature_rules import FeatureRule

#: Not by itself, whatever time passes.
NEVER_MS = 1 << 62
#: Positions are times of a shard's server, events are timed by that of another one in a cluster.
CLOCKS_APART_MS = 60_000


class Wanted(NamedTuple):
    """What a feature reads."""

    name: str
    lanes: Lanes
    reach_ms: int | None  # how far back; None: without end


class Noted(NamedTuple):
    """What is noted of a shard: with which plans it was folded, the oldest first; what was filled of its lanes; and
    whether any event was applied at all."""

    changes: Sequence[Change]
    filled: Mapping[str, Missing]
    passed: bool


def wanted_of(rules: Iterable[FeatureRule]) -> tuple[Wanted, ...]:
    """Each feature by itself: of a lane that several share, one that reaches less far back may be whole before."""
    plans = [(rule.name, FoldPlan.of_rules([rule])) for rule in rules]
    return tuple(Wanted(name, lanes_of(plan), plan.keep_ms) for name, plan in plans)


def whole_from_ms(wanted: Iterable[Wanted], noted: Noted) -> dict[str, int]:
    """The features that are not whole already → from when on they are by themselves (Unix ms), or `NEVER_MS`."""
    if not noted.passed:
        return {}
    whole = {each.name: _whole_from_ms(each, noted) for each in wanted}
    return {name: from_ms for name, from_ms in whole.items() if from_ms}


def lacking(whole_ms: Mapping[str, int], now_ms: int) -> frozenset[str]:
    """The features that lack something at `now_ms`."""
    return frozenset(name for name, from_ms in whole_ms.items() if now_ms < from_ms)


def _whole_from_ms(wanted: Wanted, noted: Noted) -> int:
    """0: it is whole already."""
    folded_from = []
    for lane, kept in wanted.lanes.items():
        try:
            folded_from += [lack.position for lack in missing({lane: kept}, noted.changes, noted.filled).values()]
        except CannotFill as error:
            if error.position is None:
                return NEVER_MS
            folded_from.append(error.position)
    if not folded_from:
        return 0
    return NEVER_MS if wanted.reach_ms is None else max(folded_from)[0] + wanted.reach_ms + CLOCKS_APART_MS
