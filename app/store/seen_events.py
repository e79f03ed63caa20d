"""Which events a shard has had: ids in generations of small sets, kept as sorted arrays of 8 bytes an id.

A generation takes ids for 18 hours, or until it is full; then the next one does. It is asked for 90 hours from its
opening, so that an id is known for 72 hours at least, and then its keys expire by themselves. An id lies in one bucket
of its generation: the id modulo the buckets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import ormsgpack

HOUR_MS = 3_600_000
OPEN_MS = 18 * HOUR_MS
#: How long an id is known at least, whenever its generation closed: longer than events may come late by default.
KNOWN_MS = 72 * HOUR_MS
LIVE_MS = OPEN_MS + KNOWN_MS
#: Ids a bucket when its generation is full, on average. The store keeps sets of up to 512 integers compactly
#: (`set-max-intset-entries`); that chance puts so many into one bucket is a matter of 6.8 standard deviations.
BUCKET_IDS = 380
#: A generation has at most so many times the buckets of the one before: a burst of a second is not a rate of a day.
GROWTH_MAX = 16


class Generation(NamedTuple):
    """Where ids of one stretch of time lie."""

    number: int
    buckets: int
    taken: int
    opened_ms: int

    @property
    def ends_ms(self) -> int:
        """When its keys expire (Unix ms)."""
        return self.opened_ms + LIVE_MS

    def bucket(self, seen_id: int) -> int:
        return seen_id % self.buckets

    def takes(self, more: int, now_ms: int) -> bool:
        return now_ms - self.opened_ms < OPEN_MS and self.taken + more <= self.buckets * BUCKET_IDS


#: Of one shard, the oldest first.
Generations = tuple[Generation, ...]
#: (generation, bucket) → ids that are looked for there.
Buckets = dict[tuple[int, int], list[int]]


def live(generations: Generations, now_ms: int) -> Generations:
    """Those that are asked."""
    return tuple(each for each in generations if now_ms < each.ends_ms)


def with_room(generations: Generations, more: int, now_ms: int) -> Generations:
    """The live ones; the last of them takes `more` ids, and counts them already."""
    kept = live(generations, now_ms)
    last = generations[-1] if generations else None
    if not kept or not kept[-1].takes(more, now_ms):
        number = 0 if last is None else last.number + 1
        kept = (*kept, Generation(number, _buckets(last, more, now_ms), 0, now_ms))
    return (*kept[:-1], kept[-1]._replace(taken=kept[-1].taken + more))


def _buckets(last: Generation | None, more: int, now_ms: int) -> int:
    """So many that at the rate of the last generation the next one is full when its time is over."""
    least = math.ceil(more / BUCKET_IDS) or 1
    if last is None:
        return least
    age_ms = max(1, now_ms - last.opened_ms)
    # A tenth more, or each generation ends half an hour early.
    at_rate = math.ceil(1.1 * last.taken * OPEN_MS / age_ms / BUCKET_IDS)
    # Not fewer than half as many: a quiet night is followed by a day.
    return max(least, min(at_rate, last.buckets * GROWTH_MAX), last.buckets // 2)


def packed(generations: Generations) -> bytes:
    return ormsgpack.packb([list(each) for each in generations])


def unpacked(raw: bytes) -> Generations:
    return tuple(Generation(*each) for each in ormsgpack.unpackb(raw)) if raw else ()


def questions(generations: Generations, ids: Sequence[int]) -> Buckets:
    """In which buckets (generation, bucket) to look for which ids."""
    asked: Buckets = {}
    for number, buckets, _, _ in generations:
        for each in ids:
            asked.setdefault((number, each % buckets), []).append(each)
    return asked
