"""Decisions whose windows have closed, on their way from the store to what they earned. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from app.core.decision.ids import unpack_id
from app.core.rewards import Earned


class Due(NamedTuple):
    """A decision whose window has closed."""

    shard: int
    packed: bytes  # the decision's id, 14 bytes
    kind_id: bytes  # of the contact that it made
    closed_ms: int

    @property
    def decision(self) -> str:
        return unpack_id(self.packed)


class Known(NamedTuple):
    """What is known of a decision that is due."""

    due: Due
    customer: str  # who was asked for
    fields: Mapping[bytes, bytes]  # what is known of what was sent
    became: str | None = None  # whom it counts for now, where that is another customer
    elsewhere: bool = False  # whether `fields` are those that lie with that one


class Closing(NamedTuple):
    """What is to be written of a decision."""

    known: Known
    earned: Earned
    placement: str
    rule_of: str  # what its placement's reward is of
