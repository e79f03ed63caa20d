"""Which decision an outcome is about, and whom. Pure.

    1. the decision id that rode along, 2. the decision that the provider's id of the mail is known to be of: each if it
       is believed (below)
    3. the only contact of the recipient's, on that channel, that was decided within a while before it happened

A decision is believed if its customer is the recipient's, or if nobody knows whose address it is: an id in a forwarded
mail, or in one that went to somebody else, must not stop or teach anything about a customer who never got it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from app.core.decision.ids import DecisionId, parse_id, reserved_at_ms, unpack_id


class Sent(NamedTuple):
    """A contact of a customer's, as far as matching asks: the decision (14 bytes), and its channel."""

    decision: bytes
    channel: str


def believed(of_decision: str, of_recipient: str | None) -> bool:
    """Whether a decision for one customer may be what was sent to a recipient. Both are customers as they are by now,
    after merges; None: nobody knows the recipient."""
    return of_recipient is None or of_recipient == of_decision


def only_contact(contacts: Iterable[Sent], channel: str, at_ms: int, within_ms: int) -> DecisionId | None:
    """The one decision for a channel in the while before `at_ms`. Several: none, since a guess would be wrong half of
    the time. By when each was decided, which does not change with what is told of it."""
    found = {
        each.decision
        for each in contacts
        if each.channel == channel and at_ms - within_ms <= reserved_at_ms(each.decision) <= at_ms
    }
    return parse_id(unpack_id(found.pop())) if len(found) == 1 else None
