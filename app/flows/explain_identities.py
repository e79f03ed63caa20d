"""Why a customer has the identities that it has: what was told of each, by whom, when first, and what follows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from app.core.events.event import Edge
from app.core.identity_graph import Owner, joined, owner_of

if TYPE_CHECKING:  # handed in by the composition root
    from app.store.claims import ClaimStore


class Line(NamedTuple):
    """One identity of a customer."""

    identity: Edge
    told: tuple[tuple[str, int], ...]  # known customers that it was told together with, and when first, in that order
    owner: Owner
    link: str | None  # the customer that it is linked to


class Explained(NamedTuple):
    """All identities of a customer."""

    customer: str  # who was asked for, or the one that this became
    complete_until_ms: int  # until when all that was received is known; 0: nobody can tell
    lines: tuple[Line, ...]


async def explain(store: ClaimStore, customer: str, lateness_ms: int) -> Explained:
    """Raises Problem `store_unavailable`."""
    until_ms = await store.complete_until_ms()
    became = await store.became(customer)
    identities = await store.identities_of(became)
    told = await store.told(identities)
    same = await store.known_as(name for each in told for name in each.claims)
    lines = [
        Line(
            identity,
            tuple(sorted(each.claims.items(), key=lambda claim: (claim[1], claim[0]))),
            owner_of(joined(each.claims.items(), same), until_ms, lateness_ms),
            each.link,
        )
        for identity, each in zip(identities, told, strict=True)
        if each.claims or each.link is not None  # others have ended
    ]
    return Explained(became, until_ms, tuple(lines))
