"""How long what a customer is told of is kept, as the bundle says: its retention and its PII matrix. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from app.core.identity import KINDS, Kind
from policy.bundle import Bundle, Handling

#: How the PII matrix names kinds of identity: the datum itself, not the form in which it arrives.
MATRIX_NAME: Mapping[Kind, str] = MappingProxyType(
    {kind: kind.removesuffix("_sha256") for kind in KINDS}  # email_sha256 → email
)
NOT_HANDLED = Handling()


@dataclass(frozen=True, slots=True)
class Deadline:
    """An attribute that is deleted so long after it was set, whatever else is written of the customer."""

    attribute: str
    owner: str
    keep_ms: int


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long customers are kept after the last write, and what of them is kept shorter than that."""

    profile_s: int
    attributes: Mapping[str, Deadline]  # by name
    aliases_s: Mapping[Kind, int]  # kinds of identity that are forgotten so long after they were last told


@lru_cache(maxsize=8)  # a node serves a bundle, and another one for a while when it changes
def keeping(bundle: Bundle) -> Keeping:
    """What a bundle says."""
    facts = [fact for fact in bundle.facts if fact.kind == "attribute"]
    rows = [(fact, bundle.handling.get(fact.name, NOT_HANDLED)) for fact in facts]
    return Keeping(
        profile_s=bundle.profile_retention_s,
        attributes={
            fact.name: Deadline(fact.name, fact.owner, row.delete_s * 1000)
            for fact, row in rows
            if row.delete_s is not None
        },
        aliases_s={
            kind: row.delete_s for kind in KINDS if (row := identity_handling(bundle, kind)).delete_s is not None
        },
    )


def identity_handling(bundle: Bundle, kind: Kind) -> Handling:
    """What the PII matrix says of a kind of identity."""
    return bundle.handling.get(MATRIX_NAME[kind], NOT_HANDLED)
