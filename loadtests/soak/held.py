"""What lies in the store, by family of key: `{s017}:decisions` and `pm:8f…` are of `decisions` and `pm`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

import redis

#: Of each family so many keys are asked for their size. A scan goes by hash, so the first ones are as good as any.
SAMPLE = 300
#: Records that are looked at in each shard's log, evenly over its time: they grow with a customer's contacts.
RECORDS_A_SHARD = 8
KEYS_A_STEP = 2_000
STREAMS, LEDGERS = {"decisions", "outcomes", "events", "dead"}, "l"
_SHARD = re.compile(rb"\{s\d+\}:")


class Family(NamedTuple):
    keys: int
    things: int  # entries of streams, contacts of ledgers; of all else, keys
    bytes: float  # of all of them, as the store says of a sample


@dataclass(frozen=True, slots=True)
class Held:
    families: Mapping[str, Family]
    record_bytes: float  # of a decision in its log, in the mean; 0: there is none
    resident: int  # bytes of memory that the store's process has


def held(store: redis.Redis) -> Held:
    """Takes a second for a million keys. Raises redis errors."""
    resident = int(store.info("memory")["used_memory_rss"])
    counts: dict[str, int] = {}
    some: dict[str, list[bytes]] = {}
    for key in store.scan_iter(count=KEYS_A_STEP):
        name = family_of(key)
        counts[name] = counts.get(name, 0) + 1
        sample = some.setdefault(name, [])
        if len(sample) < SAMPLE:
            sample.append(key)
    families = {name: _family(store, name, counts[name], keys) for name, keys in some.items()}
    return Held(families, _record_bytes(store, some.get("decisions", [])), resident)


def family_of(key: bytes) -> str:
    return _SHARD.sub(b"", key).partition(b":")[0].decode(errors="replace")


def _family(store: redis.Redis, name: str, count: int, sample: list[bytes]) -> Family:
    pipeline = store.pipeline(transaction=False)
    for key in sample:
        pipeline.memory_usage(key, samples=0)
    bytes_each = fmean(size or 0 for size in pipeline.execute())  # None: it has gone meanwhile
    things_each = 1.0
    if name in STREAMS or name == LEDGERS:
        for key in sample:
            (pipeline.zcard if name == LEDGERS else pipeline.xlen)(key)
        things_each = fmean(pipeline.execute())
    return Family(count, round(things_each * count), bytes_each * count)


def _record_bytes(store: redis.Redis, logs: list[bytes]) -> float:
    found = []
    for log in logs:
        about = store.xinfo_stream(log)
        if about["first-entry"] is None:
            continue
        first, last = (about[end][0] for end in ("first-entry", "last-entry"))
        begin_ms, end_ms = (int(entry.partition(b"-")[0]) for entry in (first, last))
        for part in range(RECORDS_A_SHARD):
            at_ms = begin_ms + (end_ms - begin_ms) * part // RECORDS_A_SHARD
            entries: Any = store.xrange(log, min=str(at_ms), count=1)
            found += [sum(map(len, itertools.chain(*fields.items()))) for _, fields in entries]
    return fmean(found) if found else 0.0
