"""Who is who: what events tell of identities, and whose an identity is by all that was told of it. Pure.

1. An identity (a visitor's id, the hash of an address, another system's id) is *claimed* by each known customer that
   it was told together with, at the earliest time at which it happened. Claims only ever join, so their order, repeats,
   and who took them down say nothing.
2. It belongs to the customer who claimed it first, once nothing earlier can come in any more: when the lateness with
   which events are taken has passed.
3. A second customer makes it shared, for good. Whose it was is said only where the first had it alone for longer than
   the lateness: then what was known under it is the first one's.
4. Two known customers are one only where an alias says so. Claims of customers who are one are one claim.

Identities that were told without a known customer claim nothing: nobody's address must not join two visitors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import NamedTuple, TypeAlias

from app.core.events.event import Collected, Edge
from app.core.identity import identity_hash

#: Customers whose claims of one identity are kept: two say that it is shared, the others are for whoever asks why.
CLAIMS_MAX = 8


class Claim(NamedTuple):
    """An identity was told together with a known customer."""

    identity: Edge
    customer: str
    at_ms: int  # when that happened


class Alias(NamedTuple):
    """A known customer was another one before. `sure`: it was said that this was a user id; else it may as well have
    been a visitor's, and holds only if the customer exists."""

    loser: str
    winner: str
    at_ms: int
    sure: bool


class Unclaimed(NamedTuple):
    """No known customer was told with it."""


class Pending(NamedTuple):
    """It may still turn out that another one was first."""

    customer: str
    due_ms: int  # from then on nothing earlier can come


class Belongs(NamedTuple):
    """It is this customer's."""

    customer: str
    since_ms: int


class Shared(NamedTuple):
    """Several customers claim it. `first` had it alone for longer than the lateness; None: nobody did."""

    first: str | None
    since_ms: int  # when the second was told with it


Owner: TypeAlias = Unclaimed | Pending | Belongs | Shared


def claims_of(entry: Collected, hash_key: bytes) -> Iterator[Claim]:
    """What an event claims: all that was told with a known customer, but for that customer's own user id; an alias also
    the visitor's id that it may have named."""
    if not entry.known:
        return
    for edge in entry.edges:
        if edge.kind != "user_id" or not _is_own(edge, entry.customer, hash_key):
            yield Claim(edge, entry.customer, entry.occurred_at_ms)
    for edge in entry.previous:
        if edge.kind != "user_id":
            yield Claim(edge, entry.customer, entry.occurred_at_ms)


def alias_of(entry: Collected) -> Alias | None:
    """Which known customer became this one, if an event says so."""
    before = entry.previous_customer
    if not entry.known or not before or before == entry.customer:
        return None
    kinds = {edge.kind for edge in entry.previous}
    return (
        Alias(before, entry.customer, entry.occurred_at_ms, sure=kinds == {"user_id"}) if "user_id" in kinds else None
    )


def joined(claims: Iterable[tuple[str, int]], same: Mapping[str, str] | None = None) -> dict[str, int]:
    """Claims by customer, the earliest of each. `same`: who each of them is by now."""
    earliest: dict[str, int] = {}
    for told, at_ms in claims:
        customer = told if same is None else same.get(told, told)
        earliest[customer] = min(at_ms, earliest.get(customer, at_ms))
    return earliest


def owner_of(claims: Mapping[str, int], now_ms: int, lateness_ms: int) -> Owner:
    """Whose an identity is. `claims`: by customer, when first; `now_ms`: until when all that was received is known."""
    if not claims:
        return Unclaimed()
    (first_ms, first), *others = sorted((at_ms, customer) for customer, at_ms in claims.items())
    due_ms = first_ms + lateness_ms
    if others:
        second_ms = others[0][0]
        return Shared(first if second_ms > due_ms else None, second_ms)
    return Pending(first, due_ms) if now_ms < due_ms else Belongs(first, first_ms)


def own_customer(identity: Edge) -> str:
    """The customer that an identity is, while it is linked to none (`app.core.identity.fallback_key`; of a user id that
    may be a key it is the key itself)."""
    return "cus_" + identity.hash.hex()


def shared_customer(identity: Edge) -> str:
    """The customer that a shared visitor's id is from then on: nobody's in particular, and the same one everywhere."""
    return "cus_" + blake2b(b"shared\0" + identity.hash, digest_size=16).hexdigest()


def _is_own(edge: Edge, customer: str, hash_key: bytes) -> bool:
    return customer == own_customer(edge) or identity_hash("user_id", customer, hash_key) == edge.hash.hex()
