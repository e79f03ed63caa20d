"""The store of the quickstart stack: a hash a customer, a counter a limit, a stream of decisions.

As in https://redis.readthedocs.io/en/stable/examples/asyncio_examples.html (pipelines) and
https://redis.io/docs/latest/commands/incr/ (rate limiting by INCR and EXPIRE). Two round trips a decision.
"""

from __future__ import annotations

import datetime as dt
import os
from typing import Any

import redis.asyncio as redis

from loadtests.standard.job import CATEGORIES

DAY_S = 86_400
#: Connections to the store; its default of 100 would turn a burst of requests into errors.
MAX_CONNECTIONS = 1_000
client = redis.from_url(
    os.environ.get("REDIS_URL", "redis://127.0.0.1:6379"), decode_responses=True, max_connections=MAX_CONNECTIONS
)


def counters(customer: str) -> dict[str, tuple[str, int]]:
    """Limit → (key of its counter, how long the counter lives in seconds)."""
    today = dt.datetime.now(dt.UTC).date()
    year, week, _ = today.isocalendar()
    caps = {
        "day": (f"qs:cap:{customer}:day:{today}", DAY_S),
        "week": (f"qs:cap:{customer}:week:{year}-{week}", 7 * DAY_S),
    }
    for category in range(CATEGORIES):
        caps[f"category_{category}"] = (f"qs:cap:{customer}:category:{category}", 30 * DAY_S)
    return caps


async def read(customer: str, caps: dict[str, tuple[str, int]]) -> tuple[dict[str, Any], dict[str, int]]:
    """The customer's hash and how often each limit was used."""
    async with client.pipeline(transaction=False) as pipe:
        pipe.hgetall(f"qs:customer:{customer}")
        pipe.mget([key for key, _ in caps.values()])
        profile, counts = await pipe.execute()
    return profile, {limit: int(count or 0) for limit, count in zip(caps, counts, strict=True)}


async def commit(caps: list[tuple[str, int]], record: dict[Any, Any]) -> None:
    """Count the contact against its limits and log the decision."""
    async with client.pipeline(transaction=True) as pipe:
        for key, ttl_s in caps:
            pipe.incr(key)
            pipe.expire(key, ttl_s)
        pipe.xadd("qs:decisions", record, maxlen=100_000, approximate=True)
        await pipe.execute()
