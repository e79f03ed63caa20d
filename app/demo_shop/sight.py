"""What is seen of the shop: what watched customers would get now, their live features, and how the worker fares.

Decisions are asked for dry, all in one batch: nothing is reserved, nothing is logged. Views mask what is
personal, so the values of features are read where they lie, with the code that decisions read them with.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import redis
from redis.exceptions import RedisClusterException

from app.core.features.codec import UnreadableState, state_of
from app.core.features.plan import FoldPlan
from app.core.features.read import ranking, read
from app.demo_shop.house import BUNDLE, CannotPlay, Door
from app.store.clients import open_blocking
from app.store.keys import CTL_SHARDS, CTL_WATERMARKS, Keys
from policy.compile import load

PLACEMENTS = ("home_banner", "next_email")
#: The widest budget there is: nobody waits for this answer.
PATIENT_MS = 2000
FAVOURITE = "favourite_category"


class Answer(NamedTuple):
    """What one customer would get in one placement."""

    message: str | None  # None: nothing
    reason: str
    excluded: Mapping[str, tuple[str, str]]  # message → code and detail of why not
    degraded: tuple[str, ...] = ()


class Seen(NamedTuple):
    """One watched customer now."""

    customer: str
    answers: Mapping[str, Answer]  # by placement
    features: Mapping[str, Any] | None  # None: they cannot be seen


class WorkerState(NamedTuple):
    """The event workers, as their leases say."""

    shards: int
    held: int  # shards that a living worker holds
    owners: int
    behind_ms: int | None  # how far the shard is that is farthest behind; None: nobody has said yet


def look(door: Door, store: StoreSight | None, customers: Sequence[str]) -> list[Seen]:
    """All of them at once. Raises CannotPlay."""
    bodies = (
        {
            "customer": customer,
            "placements": list(PLACEMENTS),
            "budget_ms": PATIENT_MS,
            "explain": True,
            "dry_run": True,
        }
        for customer in customers
    )
    lines = door.tell_lines("/v1/decide/batch", bodies).splitlines()
    features = store.features(customers) if store else [None] * len(customers)
    return [
        Seen(customer, _answers(json.loads(line)), values)
        for customer, line, values in zip(customers, lines, features, strict=True)
    ]


def _answers(body: Mapping[str, Any]) -> dict[str, Answer]:
    if "decisions" not in body:
        raise CannotPlay(f"the server could not decide: {body.get('title')}: {body.get('detail')}")
    return {decision["placement"]: _answer(decision) for decision in body["decisions"]}


def _answer(decision: Mapping[str, Any]) -> Answer:
    message = decision["message"]["id"] if decision["action"] == "send" else None
    excluded = {each["message"]: (each["code"], each.get("detail") or "") for each in decision.get("excluded") or ()}
    return Answer(message, decision["reason"], excluded, tuple(decision["degraded"]))


class StoreSight:
    """Reads live features and the worker's state from the store."""

    def __init__(self, url: str) -> None:
        """Raises CannotPlay where the store does not answer or was never used by a server."""
        try:
            self._client = open_blocking(url, timeout_s=5)
            shards = self._client.get(CTL_SHARDS)
        except (redis.RedisError, RedisClusterException, ValueError) as error:
            raise CannotPlay(f"the store cannot be read ({type(error).__name__}): is its address right?") from error
        if shards is None:
            raise CannotPlay("no server has ever used this store: name that of the server with `--url-of-store`")
        self._keys = Keys(int(shards))
        self._plan = FoldPlan.of(load(BUNDLE))

    def close(self) -> None:
        self._client.close()

    def features(self, customers: Sequence[str]) -> list[Mapping[str, Any] | None]:
        """Each customer's live features, by name."""
        now_ms = round(time.time() * 1000)
        return [self._values(stored, now_ms) for stored in self.states(customers)]

    def states(self, customers: Sequence[str]) -> list[dict[bytes, bytes]]:
        """What is stored of each, as bytes: it changes with every event that is folded."""
        pipeline = self._client.pipeline(transaction=False)
        for customer in customers:
            pipeline.hgetall(self._keys.of(customer).features)
        return list(pipeline.execute())

    def _values(self, stored: Mapping[bytes, bytes], now_ms: int) -> Mapping[str, Any] | None:
        try:
            state = state_of(self._plan, {key.decode(): held for key, held in stored.items()})
        except UnreadableState:
            return None
        values = read(self._plan, state, now_ms)
        if FAVOURITE in values:
            values["favourites"] = ranking(self._plan, state, FAVOURITE, now_ms)
        return values

    def waiting(self) -> int:
        """Shards whose newest event has not been folded."""
        pipeline = self._client.pipeline(transaction=False)
        for shard in range(self._keys.shards):
            pipeline.xrevrange(self._keys.events(shard), count=1)
            pipeline.hget(self._keys.worker(shard), "position")
        replies = pipeline.execute()
        pairs = zip(replies[::2], replies[1::2], strict=True)
        return sum(1 for newest, position in pairs if newest and _as_pair(newest[0][0]) > _as_pair(position))

    def worker(self) -> WorkerState:
        """Who holds the shards, and how far behind the slowest is."""
        now = self._client.time()
        pipeline = self._client.pipeline(transaction=False)
        pipeline.hgetall(CTL_WATERMARKS)
        for shard in range(self._keys.shards):
            pipeline.hmget(self._keys.worker(shard), "owner", "until")
        marks, *leases = pipeline.execute()
        now_ms = int(now[0]) * 1000 + int(now[1]) // 1000
        owners = [owner for owner, until in leases if owner and until and int(until) > now_ms]
        applied = [int(until) for mark, until in marks.items() if mark.startswith(b"s:")]
        behind_ms = max(now_ms - min(applied), 0) if len(applied) == self._keys.shards else None
        return WorkerState(self._keys.shards, len(owners), len(set(owners)), behind_ms)


def _as_pair(stream_id: bytes | None) -> tuple[int, int]:
    """A stream id as it compares; none is before all."""
    milliseconds, _, number = (stream_id or b"0-0").partition(b"-")
    return int(milliseconds), int(number or 0)
