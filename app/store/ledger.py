"""The ledger: a sorted set of contacts a customer, scored by the earliest time of sending (Unix ms).

A member is 14 bytes of decision id, the short id of the contact's kind, a comma, and the length of the window in which
it may be sent in ms (0 once that time is known): about 22 bytes, since above 64 the store's compact encoding is lost.

A kind (`k:<placement>/<channel>/<class>/<message>/<category>/<campaign>` in the field registry) outlives the bundle
that named it, so that contacts of older bundles count for ever in the right limits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from app.store.fields import FieldRegistry
from app.store.profile import UnknownField
from policy.bundle import Bundle, Message, Placement
from policy.facts import Contact, ContactKind

_ID_BYTES = 14


def kind_name(placement: str, channel: str, klass: str, message: str, category: str, campaign: str) -> str:
    """The registry's name for a kind of contact."""
    return f"k:{placement}/{channel}/{klass}/{message}/{category}/{campaign}"


def kind_of(placement: Placement, message: Message) -> str:
    """The registry's name for a message sent in a placement."""
    return kind_name(
        placement.id, placement.channel, placement.klass, message.id, message.category or "", message.campaign or ""
    )


def kind_names(bundle: Bundle) -> Iterator[str]:
    """Every kind of contact that a bundle can make; ensure them before the bundle is served."""
    for placement in bundle.placements.values():
        for candidate in placement.candidates:
            yield kind_of(placement, candidate.message)


class LedgerCodec:
    """Ledger entries as contacts and back. Hands out one `ContactKind` object a kind."""

    __slots__ = ("_by_id", "_by_name", "_generation", "_registry")

    def __init__(self, registry: FieldRegistry) -> None:
        self._registry = registry
        self._generation = registry.generation
        self._by_id: dict[bytes, ContactKind] = {}
        self._by_name: dict[str, ContactKind] = {}

    def decode(self, reply: Sequence[bytes]) -> tuple[Contact, ...]:
        """Contacts from `ZRANGE … WITHSCORES`. Raises `UnknownField` for a kind that this process has not heard of
        yet: to skip the contact would open a limit, so the caller fails closed and refreshes the registry."""
        if not reply:
            return ()
        if self._generation != self._registry.generation:
            self._by_id = {}
            self._generation = self._registry.generation
        entries = iter(reply)
        return tuple([self._contact(member, int(score)) for member, score in zip(entries, entries, strict=True)])

    def encode(self, contact: Contact) -> bytes:
        """The member for a contact; its score is `not_before_ms`."""
        kind = contact.kind
        name = kind_name(kind.placement, kind.channel, kind.klass, kind.message, kind.category, kind.campaign)
        length_ms = contact.not_after_ms - contact.not_before_ms
        return b"%b%b,%d" % (contact.decision, self._registry.id_of(name), length_ms)

    def kind(self, placement: Placement, message: Message) -> ContactKind:
        """The kind of a message sent in a placement."""
        return self._kind(kind_of(placement, message))

    def _contact(self, member: bytes, not_before_ms: int) -> Contact:
        kind_id, _, length_ms = member[_ID_BYTES:].partition(b",")
        kind = self._by_id.get(kind_id) or self._learn(kind_id)
        return Contact(member[:_ID_BYTES], kind, not_before_ms, not_before_ms + int(length_ms))

    def _learn(self, kind_id: bytes) -> ContactKind:
        name = self._registry.name_of(kind_id)
        if name is None or not name.startswith("k:"):
            raise UnknownField("a contact of a kind that is not in the field registry")
        kind = self._by_id[kind_id] = self._kind(name)
        return kind

    def _kind(self, name: str) -> ContactKind:
        kind = self._by_name.get(name)
        if kind is None:
            kind = self._by_name[name] = ContactKind(*name[2:].split("/"))
        return kind
