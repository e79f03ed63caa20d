"""Lanes over values that may be many: how many different ones there were, and which a customer returns to most.

Both are bounded, and both keep the rules of `lanes`: what they hold is a function of the events in each bucket,
whatever their order. Values are hashed with BLAKE2b, keyed with nothing: the same everywhere, for ever.
"""

from __future__ import annotations

import math
from bisect import bisect
from functools import lru_cache
from hashlib import blake2b
from typing import TypeAlias

from app.core.events.event import Event
from app.core.features.lanes import CellLane, Cells, aged_cells, put_cell, text_of, united_cells
from app.core.features.windows import Buckets

SLOTS = 256
#: With every slot taken there is no telling; this many would leave one free, on average.
DISTINCT_MAX = round(SLOTS * math.log(SLOTS))
KeyedCells: TypeAlias = dict[str, list[int]]
#: Keys that a bucket of an affinity holds.
KEYS_MAX = 16


@lru_cache(maxsize=65_536)
def hash_of(text: str) -> int:
    """64 bits of a text. The cache knows the few thousand products and categories of a shop."""
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big")


def estimate(taken: int) -> int:
    """How many different values filled so many of 256 slots: linear counting.

    Exact for 97 of 100 customers with 5 values and for 82 with 10. Standard error 5 % up to 200 values, 6.5 % at 500,
    13 % at 1,000; 1,420 stands for 1,420 or more. K.-Y. Whang et al., "A Linear-Time Probabilistic Counting Algorithm",
    ACM TODS 15 (1990).
    """
    return ESTIMATES[taken]


ESTIMATES = (*(round(-SLOTS * math.log(1 - taken / SLOTS)) for taken in range(SLOTS)), DISTINCT_MAX)


class Distinct(CellLane):
    """Which of 256 slots the values of a property fell into. Each slot stands once, in the newest bucket that met it
    (one byte), so that a window holds the slots of its buckets, and no sketch has to be kept a bucket."""

    __slots__ = ("_name",)

    def __init__(self, key: str, buckets: Buckets, name: str) -> None:
        super().__init__(key, buckets, b"")
        self._name = name

    def take(self, event: Event) -> int | None:
        value = event.properties.get(self._name)
        return None if value is None else hash_of(text_of(value)) % SLOTS

    def put(self, cells: Cells, age: int, value: int) -> bool:
        for at, cell in enumerate(cells):
            if value in cell:
                if at <= age:
                    return False
                put_cell(cells, at, cell.replace(bytes((value,)), b""), b"")
                break
        held: bytes = cells[age] if age < len(cells) else b""
        place = bisect(held, value)
        put_cell(cells, age, b"%b%c%b" % (held[:place], value, held[place:]), b"")
        return True

    def unite(self, cells: Cells, others: Cells) -> Cells:
        united = super().unite(cells, others)
        seen: set[int] = set()
        for at, cell in enumerate(united):
            united[at] = bytes(slot for slot in cell if slot not in seen)
            seen.update(cell)
        while united and not united[-1]:
            united.pop()
        return united

    def both(self, one: bytes, other: bytes) -> bytes:
        return bytes(sorted({*one, *other}))


class Keys:
    """How often each value of a property came, for the values a customer returns to most: key → cells of counts.

    Exact where a bucket meets at most 16 different keys. Of more it keeps those with the smallest hashes: the same keys
    in every bucket and for every customer, so their ranking among each other stays exact, and others are not ranked.
    Whether a key is kept depends on the bucket's keys alone, not on the order in which they came.
    """

    __slots__ = ("_name", "buckets", "key")

    def __init__(self, key: str, buckets: Buckets, name: str) -> None:
        self.key = key
        self.buckets = buckets
        self._name = name

    def new(self) -> KeyedCells:
        return {}

    def take(self, event: Event) -> str | None:
        value = event.properties.get(self._name)
        return None if value is None else text_of(value)

    def put(self, cells: KeyedCells, age: int, value: str) -> bool:
        counts = cells.get(value)
        if counts is None:
            counts = cells[value] = []
        held = age < len(counts) and counts[age]
        put_cell(counts, age, held + 1, 0)
        if not held and len(cells) > KEYS_MAX:
            return _crowded_out(cells, age) != value
        return True

    def aged(self, cells: KeyedCells, by: int) -> KeyedCells:
        older = {key: aged_cells(counts, by, self.buckets.kept, 0) for key, counts in cells.items()}
        return {key: counts for key, counts in older.items() if counts}

    def unite(self, cells: KeyedCells, others: KeyedCells) -> KeyedCells:
        united = {key: united_cells(cells.get(key, []), others.get(key, []), 0, int.__add__) for key in cells | others}
        for age in range(self.buckets.kept):
            while _crowded_out(united, age) is not None:
                pass
        return united


def _crowded_out(cells: KeyedCells, age: int) -> str | None:
    """Drops the key with the largest hash from a bucket that holds too many, and tells which; None: it does not."""
    present = [key for key, counts in cells.items() if age < len(counts) and counts[age]]
    if len(present) <= KEYS_MAX:
        return None
    dropped = max(present, key=lambda key: (hash_of(key), key))
    put_cell(cells[dropped], age, 0, 0)
    if not cells[dropped]:
        del cells[dropped]
    return dropped
