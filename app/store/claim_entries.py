"""Claims, and what is due to be settled, as they lie in the store."""

from __future__ import annotations

from typing import NamedTuple, cast

from app.core.events.event import Edge
from app.core.identity import Kind
from app.core.identity_graph import Alias
from app.store import keys as key_names

#: The two marks of an identity, and how often its claims changed since somebody looked.
SETTLED, SHARED, CHANGES = b"=", b"~", b"?"


class Told(NamedTuple):
    """What is known of an identity."""

    claims: dict[str, int]  # customers that it was told together with → when first, Unix ms
    changes: int  # since somebody looked
    settled: str | None  # whose it was found to be
    shared: bool  # it was found to be shared
    link: str | None  # the customer that it is linked to


class Due(NamedTuple):
    """Something to settle: an identity, or an alias of customers. `put_off_ms` tells this taking from others."""

    what: Edge | Alias
    member: bytes
    put_off_ms: int


def claims_key(identity: Edge) -> bytes:
    """Where the claims of an identity lie."""
    return key_names.claims(identity.kind, identity.hash.hex())


def link_key(identity: Edge) -> bytes:
    """Where the customer lies that an identity is linked to."""
    return key_names.identity(identity.kind, identity.hash.hex())


def alias_member(alias: Alias) -> bytes:
    """An alias of customers among what is due."""
    return b"alias %b %b %d %d" % (alias.loser.encode(), alias.winner.encode(), alias.at_ms, alias.sure)


def what_is_due(member: bytes) -> Edge | Alias:
    """An identity or an alias of customers, as it lies among what is due."""
    found = key_names.identity_of(member)
    if found is not None:
        return Edge(cast("Kind", found[0]), bytes.fromhex(found[1]))
    _, loser, winner, at_ms, sure = member.decode().split(" ")
    return Alias(loser, winner, int(at_ms), sure == "1")


def told_of(held: dict[bytes, bytes], link: bytes | None) -> Told:
    """What lies under an identity's keys."""
    settled = held.pop(SETTLED, None)
    shared = held.pop(SHARED, None) is not None
    changes = int(held.pop(CHANGES, b"0"))
    claims = {customer.decode(): int(at_ms) for customer, at_ms in held.items()}
    return Told(
        claims, changes, None if settled is None else settled.decode(), shared, None if link is None else link.decode()
    )
