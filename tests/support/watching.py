"""The deliverability watch in tests: the usual limits, and counts written as outcomes would write them."""

from __future__ import annotations

from collections.abc import Mapping

from redis.asyncio import Redis

from app.core.deliverability import HOUR_MS, LETTERS
from app.store.keys import Keys
from policy.outcome_rules import Rate, Watch
from policy.watch import DEFAULT_DOMAINS, Counts

NOW_MS = 1_795_514_400_000 + 20 * 60_000  # twenty minutes past an hour
DAY_MS = 24 * HOUR_MS
RATES = {
    "complained": Rate(alert=0.001, brake=0.003),
    "bounced": Rate(alert=0.02, brake=0.05),
    "unsubscribed": Rate(alert=0.005, brake=None),
}


def watch(at_least: int = 200, window_ms: int = DAY_MS, rates: Mapping[str, Rate] | None = None) -> Watch:
    return Watch(window_ms, at_least, rates or RATES, {**DEFAULT_DOMAINS, "example.com": "house"})


def numbers(path: str = "weekly/mens/gmail", **counts: int) -> dict[str, int]:
    """`numbers(sent=5)` → what an hour's hash would hold."""
    fields = dict(zip(Counts._fields, LETTERS, strict=True))
    return {f"{path}:{fields[name]}": count for name, count in counts.items()}


async def count(
    client: Redis, keys: Keys, at_ms: int, path: str = "weekly/mens/gmail", shard: int = 0, **counts: int
) -> None:
    """Count in the store as `outcome.lua` does."""
    for name, number in numbers(path, **counts).items():
        await client.hincrby(keys.watch(shard, at_ms // HOUR_MS), name, number)
