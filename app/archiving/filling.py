"""Filling new lanes from history: what passed before a worker folded them, handed to it through the stream.

    which lanes lack what (by shard) → fold the past → `$take_in` for each customer, into its shard's stream → noted

The worker unites what it gets with what it holds, in order with everything else and exactly once: so live events may go
on meanwhile, and whoever runs it again after a crash repeats messages that the worker drops. A customer who became
another one by then is filled as itself, and the worker hands that on as it does with events.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from itertools import islice
from typing import NamedTuple

from app.archiving.history import Replay
from app.archiving.states import States
from app.core.events.event import Collected
from app.core.features.backfill import Lanes, Missing, lanes_of, missing, reading, share_of
from app.core.features.codec import encode
from app.core.features.plan import FoldPlan, State
from app.core.features.streams import TAKE_IN, Order
from app.store.archive_positions import ArchivePositions, order
from app.store.fold_plans import FoldPlans

#: Customers that are handed over before the worker must have taken in those before.
CUSTOMERS_AT_ONCE = 500
#: How long a worker may take to do so, in s: it takes over from one that died within 5.
PATIENCE_S = 30.0
LOOK_EVERY_S = 0.05


class Gap(NamedTuple):
    """Lanes that lack what passed up to a position of each shard. A shard that lacks nothing is not in it."""

    lanes: Lanes
    ends: Mapping[int, Order]
    lacking: Mapping[int, Mapping[str, Missing]]

    def run(self, shard: int) -> bytes:
        """Stands for just this filling of a shard: messages of another one are others."""
        return blake2b(repr(sorted(self.lacking[shard].items())).encode(), digest_size=8).digest()


class NobodyTakesIn(Exception):
    """No worker works a shard off."""


async def lacking_in(plans: FoldPlans, plan: FoldPlan) -> dict[int, Mapping[str, Missing]]:
    """What a plan's lanes lack, by shard; shards that lack nothing are not in it. Raises CannotFill, redis errors."""
    changes, filled = await plans.changes(), await plans.filled()
    wanted = lanes_of(plan)
    found = {shard: missing(wanted, each, filled.get(shard, {})) for shard, each in changes.items()}
    return {shard: lanes for shard, lanes in found.items() if lanes}


def features_of(plan: FoldPlan, lacking: Mapping[int, Mapping[str, Missing]]) -> tuple[str, ...]:
    """The features that lack something, as `name@version`."""
    part = reading(plan, {name: 1 for lanes in lacking.values() for name in lanes})
    return tuple(sorted(f"{rule.name}@{rule.version}" for rule in part.features))


def gap_of(lacking: Mapping[int, Mapping[str, Missing]]) -> Gap:
    """The gap that comes first: of a shard's lanes, those that lack the same events."""
    first = {shard: min(each.position for each in lanes.values()) for shard, lanes in lacking.items() if lanes}
    of_first = {
        shard: {name: each for name, each in lacking[shard].items() if each.position == end}
        for shard, end in first.items()
    }
    lanes = {name: 1 for each in of_first.values() for name in each}
    return Gap(lanes, first, of_first)


def messages(
    plan: FoldPlan, replay: Replay, gap: Gap, now_ms: int, shard_of: Callable[[str], int]
) -> Iterator[Collected]:
    """What every customer's worker shall take in. `plan` is that of the replay, which goes as far as the gap. Raises
    OSError."""
    runs = {shard: gap.run(shard) for shard in gap.lacking}
    for rows in replay.slices(None):
        states = States(plan)
        for row, event in rows:
            if row.shard in gap.ends:
                replay.fold(states.get(row.customer), row, event)
        for customer, state in states.drain():
            shard = shard_of(customer)
            shares = _shares(plan, state, gap.lacking[shard])
            if shares:
                message_id = blake2b(b"backfill" + runs[shard] + customer.encode(), digest_size=8).digest()
                yield Collected(customer, TAKE_IN, 0, now_ms, now_ms, message_id, b"", shares)


def _shares(plan: FoldPlan, state: State, lacking: Mapping[str, Missing]) -> dict[str, str]:
    shares = {}
    for group, held in zip(plan.groups, state, strict=True):
        share = None if held is None else share_of(group, held, lacking)
        if share is not None:
            shares[group.key] = b64encode(encode(group, share)).decode()
    return shares


async def hand_over(store: ArchivePositions, waiting: Iterator[Collected], progress: Callable[[int], None]) -> int:
    """Append messages to their shards' streams, never many more than the workers have taken in; how many there were.
    Returns when all are taken in. Raises NobodyTakesIn, redis errors."""
    number, last = 0, dict[int, bytes]()
    while chunk := await asyncio.to_thread(lambda: list(islice(waiting, CUSTOMERS_AT_ONCE))):
        before, last = last, await store.append(chunk)
        await _taken_in(store, before)
        number += len(chunk)
        progress(len(chunk))
    await _taken_in(store, last)
    return number


async def _taken_in(store: ArchivePositions, last: Mapping[int, bytes]) -> None:
    left, waited_s = dict(last), 0.0
    while left:
        applied = await store.applied(left)
        behind = {shard: entry for shard, entry in left.items() if order(applied[shard]) < order(entry)}
        waited_s = waited_s + LOOK_EVERY_S if len(behind) == len(left) else 0.0
        if waited_s > PATIENCE_S:
            raise NobodyTakesIn(
                f"no worker works off shard {min(behind)}: see that `serve` or `nextbest worker` runs with this "
                "bundle, and run this again: what was handed over counts once"
            )
        left = behind
        if left:
            await asyncio.sleep(LOOK_EVERY_S)
