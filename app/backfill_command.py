"""`nextbest features backfill`: fills features that a bundle declares anew from what passed before."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

import ormsgpack

from app.archive_commands import Estate, folding_bundle_in, with_estate
from app.archiving.filling import Gap, NobodyTakesIn, gap_of, hand_over, lacking_in, messages
from app.archiving.history import Replay
from app.archiving.layout import iso
from app.archiving.reading import Snapshot, snapshot
from app.command_context import Trouble
from app.core.features.backfill import CannotFill, Missing, reading
from app.core.features.plan import FoldPlan
from app.core.features.unfilled import Noted, lacking, wanted_of, whole_from_ms
from app.progress_bar import bar
from app.settings import Settings
from app.store.archive_positions import order
from app.store.fold_plans import FoldPlans
from policy.feature_rules import FeatureRule

#: Workers tell repeats for 72 hours: a run that began earlier, and broke off, cannot be told from another one.
RUN_AGAIN_MS = 60 * 3_600_000
#: Features that a refusal names.
NAMED_MAX = 5


class Filled(NamedTuple):
    """What was done: features that lacked history, and customers whose features were filled."""

    features: tuple[str, ...]
    customers: int


class Filling:
    def __init__(self, estate: Estate, plan: FoldPlan, *, partly: bool) -> None:
        self._estate = estate
        self._plan = plan
        self._partly = partly
        self._plans = FoldPlans(estate.store.client, estate.store.keys)

    async def lacking(self) -> dict[int, Mapping[str, Missing]]:
        """What the plan's lanes lack, by shard. Raises Trouble."""
        try:
            return await lacking_in(self._plans, self._plan)
        except CannotFill as error:
            raise Trouble(str(error)) from error

    async def unused(self) -> tuple[str, ...]:
        """The features that no decision uses before they are filled, as `name@version`. Raises Trouble."""
        part = reading(self._plan, {name: 1 for lanes in (await self.lacking()).values() for name in lanes})
        store, wanted = self._estate.store, wanted_of(part.features)
        changes, filled, now_ms = await self._plans.changes(), await self._plans.filled(), await store.now_ms()
        names: set[str] = set()
        for shard, position in (await store.applied(changes)).items():
            noted = Noted(changes[shard], filled.get(shard, {}), order(position) != (0, 0))
            names |= lacking(whole_from_ms(wanted, noted), now_ms)
        return tuple(sorted(f"{rule.name}@{rule.version}" for rule in part.features if rule.name in names))

    async def fill(self) -> Filled:
        features: set[str] = set()
        customers = 0
        while lacks := await self.lacking():
            gap = gap_of(lacks)
            part = reading(self._plan, gap.lanes)
            names = {f"{rule.name}@{rule.version}" for rule in part.features}
            customers += await self._gap(gap, part)
            features |= names
        return Filled(tuple(sorted(features)), customers)

    async def _gap(self, gap: Gap, part: FoldPlan) -> int:
        store = self._estate.store
        now_ms = await store.now_ms()
        await self._begin(gap, now_ms)
        ends = {shard: f"{ms}-{number}".encode() for shard, (ms, number) in gap.ends.items()}
        seen = await snapshot(store, self._estate.folder, ends)
        self._reaches_back(part, seen, now_ms)
        customers = await self._handed_over(gap, part, seen, now_ms)
        facts = {"at_ms": now_ms, "whole_from_ms": seen.whole_from_ms}
        told = {f"{rule.name}@{rule.version}": {"definition": rule.definition, **facts} for rule in part.features}
        await self._plans.filled_now(gap.lacking, {name: ormsgpack.packb(each) for name, each in told.items()})
        return customers

    async def _begin(self, gap: Gap, now_ms: int) -> None:
        """Raises Trouble where an earlier filling broke off and this one is not the same."""
        runs = {shard: gap.run(shard) for shard in gap.lacking}
        for shard, (run, since_ms) in (await self._plans.began(runs, now_ms)).items():
            if run != runs[shard]:
                raise Trouble(
                    "a filling for another bundle broke off: run that one again first, since some customers have what "
                    "it handed over"
                )
            if now_ms - since_ms > RUN_AGAIN_MS:
                raise Trouble(
                    "this filling began more than 60 hours ago and broke off: repeats of what it handed over would not "
                    "be told any more. Give the features that it was for another window"
                )

    async def _handed_over(self, gap: Gap, part: FoldPlan, seen: Snapshot, now_ms: int) -> int:
        store = self._estate.store
        with bar("hours") as shown:
            task = shown.add_task("", total=None)
            # Shards that lack nothing are read to no entry.
            ends = {shard: gap.ends.get(shard, (0, 0)) for shard in range(store.keys.shards)}
            read = lambda number: shown.advance(task, number)  # noqa: E731  # named as the parameter
            replay = await asyncio.to_thread(lambda: Replay(part, seen, progress=read, ends=ends))
            shown.update(task, total=replay.hours)
            waiting = messages(part, replay, gap, now_ms, store.keys.shard_of)
            try:
                return await hand_over(store, waiting, lambda _: None)
            except NobodyTakesIn as error:
                raise Trouble(str(error)) from error

    def _reaches_back(self, part: FoldPlan, seen: Snapshot, now_ms: int) -> None:
        """Raises Trouble where events that a feature counts are missing."""
        if self._partly:
            return
        since_ms = seen.whole_from_ms or 0
        short = [text for rule in part.features if (text := _falls_short(rule, since_ms, now_ms))]
        if short:
            more = f"; and {len(short) - NAMED_MAX} more" if len(short) > NAMED_MAX else ""
            raise Trouble(
                f"events before {iso(since_ms)} are not archived: {'; '.join(short[:NAMED_MAX])}{more}. Fill what "
                "there is with `--partly`, or wait"
            )


def _falls_short(rule: FeatureRule, since_ms: int, now_ms: int) -> str | None:
    """In words, from when a feature would be whole; None: it is."""
    reach_ms = FoldPlan.of_rules([rule]).keep_ms
    if since_ms == 0 or (reach_ms is not None and since_ms <= now_ms - reach_ms):
        return None
    if reach_ms is None:
        return f"`{rule.name}` has no window and would never be whole"
    return f"`{rule.name}` would be whole from {iso(since_ms + reach_ms)} on"


def backfill(settings: Settings, address_of_store: str | None, *, partly: bool) -> Filled:
    """Fill what the features of the settings' bundle lack. Raises Trouble."""
    plan = FoldPlan.of(folding_bundle_in(settings.bundle))
    return with_estate(settings, address_of_store, lambda estate: Filling(estate, plan, partly=partly).fill())


def lacking_features(settings: Settings, address_of_store: str | None) -> tuple[str, ...]:
    """The features of the settings' bundle that lack history, so that no decision uses them. Raises Trouble."""
    plan = FoldPlan.of(folding_bundle_in(settings.bundle))
    return with_estate(settings, address_of_store, lambda estate: Filling(estate, plan, partly=False).unused())
