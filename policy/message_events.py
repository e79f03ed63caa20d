"""Events that nobody sends: what became of messages, told by outcomes and folded into features as any other event.

They are there in every bundle without being declared, and their names are taken: an event that a bundle declares may
not be called so, and a caller cannot send one.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from policy.codes import OutcomeType
from policy.schema import Documents
from policy.schema.facts import Event, Property

#: Outcome → the event that it becomes.
MESSAGE_EVENTS: Mapping[OutcomeType, str] = MappingProxyType(
    {
        OutcomeType.DELIVERED: "message_delivered",
        OutcomeType.OPENED: "message_opened",
        OutcomeType.CLICKED: "message_clicked",
        OutcomeType.CONVERTED: "message_converted",
        OutcomeType.COMPLAINED: "message_complained",
        OutcomeType.UNSUBSCRIBED: "message_unsubscribed",
    }
)
#: What each of them carries, of the message that it is about.
PROPERTIES = ("placement", "message", "category", "campaign", "channel")


def _declared(outcome: OutcomeType, name: str) -> Event:
    properties = [Property(id=each, type="string", max_length=48) for each in PROPERTIES]
    if outcome is OutcomeType.CONVERTED:
        properties.append(Property(id="value", type="float"))
    return Event(id=name, properties=properties)


BUILT_IN: tuple[Event, ...] = tuple(_declared(outcome, name) for outcome, name in MESSAGE_EVENTS.items())
BUILT_IN_NAMES = frozenset(MESSAGE_EVENTS.values())


def all_events(documents: Documents) -> tuple[Event, ...]:
    """What features may be folded from: what the bundle declares, and what became of messages."""
    return (*documents.events.events, *BUILT_IN)
