"""Events that tell who is who, and a slow, plain telling of what follows from a set of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from redis.asyncio import Redis

from app.core.events.event import Collected, Edge
from app.core.events.who import edge
from app.core.identity import Alias, Kind
from app.core.identity_graph import own_customer, shared_customer
from app.store.keys import CTL_WATERMARKS, Keys

HASH_KEY = b"a key that only tests know, 32 characters"
T0_MS = 1_796_083_200_000  # 2026-12-01T00:00:00Z
HOUR_MS = 3_600_000


class Said(NamedTuple):
    """A user was told together with identities; or (`before`) was another user before."""

    at_ms: int
    user: str
    identities: tuple[tuple[Kind, str], ...] = ()
    before: str = ""

    def entry(self, hash_key: bytes = HASH_KEY, **more: Any) -> Collected:
        """As it lies in the stream."""
        told = [("user_id", self.user), *self.identities]
        edges = tuple(edge(Alias(kind, value), hash_key) for kind, value in told)
        previous = (edge(Alias("user_id", self.before), hash_key),) if self.before else ()
        message_id = blake2b(repr(self).encode(), digest_size=8).digest()
        plain = Collected(self.user, "", 0, self.at_ms, self.at_ms, message_id, b"", {}, edges, previous)
        return plain._replace(known=True, previous_customer=self.before, **more)


def visitor(name: str, hash_key: bytes = HASH_KEY) -> Edge:
    return edge(Alias("anonymous_id", name), hash_key)


def address(name: str, hash_key: bytes = HASH_KEY) -> Edge:
    return edge(Alias("email_sha256", blake2b(name.encode(), digest_size=32).hexdigest()), hash_key)


async def complete_until(client: Redis, keys: Keys, at_ms: int) -> None:
    """As the workers say once they have applied all that was received by then."""
    await client.hset(CTL_WATERMARKS, mapping={f"s:{shard}": at_ms for shard in range(keys.shards)})


def groups(said: Iterable[Said]) -> list[set[str]]:
    """Known users who are one person by what aliases say."""
    found: list[set[str]] = []
    for each in said:
        one = {each.user, each.before} - {""}
        apart = [group for group in found if not group & one]
        found = [*apart, one.union(*(group for group in found if group & one))]
    return found


def expected(said: Sequence[Said], lateness_ms: int) -> set[frozenset[str]]:
    """Which customers are one, long after. Straight from the rules, one identity and one moment after the other."""
    people = {user: frozenset(group) for group in groups(said) for user in group}
    one: dict[frozenset[str], set[str]] = {group: set(group) for group in people.values()}
    alone: set[frozenset[str]] = set()
    for name in sorted({name for each in said for kind, name in each.identities if kind == "anonymous_id"}):
        tellings = sorted(each.at_ms for each in said if ("anonymous_id", name) in each.identities)
        until_ms = tellings[0] + lateness_ms
        early = {people[each.user] for each in said if _tells(each, name) and each.at_ms <= until_ms}
        if len(early) == 1:
            one[next(iter(early))].add(own_customer(visitor(name)))
        else:
            alone.add(frozenset({own_customer(visitor(name))}))
    return {frozenset(group) for group in one.values()} | alone


def _tells(said: Said, name: str) -> bool:
    return ("anonymous_id", name) in said.identities


__all__ = [
    "HASH_KEY", "HOUR_MS", "T0_MS", "Said", "address", "complete_until", "expected", "groups", "own_customer",
    "shared_customer", "visitor",
]  # fmt: skip
