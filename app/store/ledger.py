"""The ledger: a sorted set of contacts a customer, scored by the earliest time of sending (Unix ms).

A member is 14 bytes of decision id, the short id of the contact's kind, a comma, the length of the window in which it
may be sent in ms (0 once that time is known), and, once an outcome said so, a comma with the letters of `FLAGS`: about
22 bytes, since above 64 the store's compact encoding is lost. The script that applies outcomes rewrites members.

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
#: What an outcome adds to a member, in this order: `s` it was sent, `e` the customer opened, clicked or answered it.
#: Letters of later releases are passed over: they cannot make a contact count less than it did.
SENT, ENGAGED = b"s", b"e"
#: Ends of members that are remembered: kinds × lengths of windows, of which nearly all are the usual one or 0.
_ENDS_MAX = 10_000


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
    """Ledger entries as contacts and back. Hands out one `ContactKind` object a kind.

    What repeats is looked up, not worked out again: the ends of members (a kind and the length of a window), the kind
    of a message in a placement, the id of a kind.
    """

    __slots__ = ("_by_name", "_by_sending", "_ends", "_generation", "_ids", "_registry")

    def __init__(self, registry: FieldRegistry) -> None:
        self._registry = registry
        self._generation = registry.generation
        self._by_name: dict[str, ContactKind] = {}
        self._by_sending: dict[tuple[Placement, Message], ContactKind] = {}
        self._ends: dict[bytes, tuple[ContactKind, int, bool, bool]] = {}
        self._ids: dict[ContactKind, bytes] = {}

    def decode(self, reply: Sequence[bytes]) -> tuple[Contact, ...]:
        """Contacts from `ZRANGE … WITHSCORES`. Raises `UnknownField` for a kind that this process has not heard of
        yet: to skip the contact would open a limit, so the caller fails closed and refreshes the registry."""
        if not reply:
            return ()
        self._forget_if_changed()
        ends = self._ends
        contacts = []
        entries = iter(reply)
        for member, score in zip(entries, entries, strict=True):
            kind, length_ms, sent, engaged = ends.get(member[_ID_BYTES:]) or self._learn(member[_ID_BYTES:])
            not_before_ms = int(score)
            contacts.append(Contact(member[:_ID_BYTES], kind, not_before_ms, not_before_ms + length_ms, sent, engaged))
        return tuple(contacts)

    def encode(self, contact: Contact) -> bytes:
        """The member for a contact; its score is `not_before_ms`."""
        self._forget_if_changed()
        kind = contact.kind
        kind_id = self._ids.get(kind)
        if kind_id is None:
            name = kind_name(kind.placement, kind.channel, kind.klass, kind.message, kind.category, kind.campaign)
            kind_id = self._ids[kind] = self._registry.id_of(name)
        member = b"%b%b,%d" % (contact.decision, kind_id, contact.not_after_ms - contact.not_before_ms)
        if contact.confirmed or contact.engaged:
            member += b"," + SENT * contact.confirmed + ENGAGED * contact.engaged
        return member

    def kind(self, placement: Placement, message: Message) -> ContactKind:
        """The kind of a message sent in a placement."""
        kind = self._by_sending.get((placement, message))
        if kind is None:
            kind = self._by_sending[placement, message] = self.kind_named(kind_of(placement, message))
        return kind

    def _forget_if_changed(self) -> None:
        if self._generation != self._registry.generation:
            self._ends, self._ids = {}, {}
            self._generation = self._registry.generation

    def _learn(self, end: bytes) -> tuple[ContactKind, int, bool, bool]:
        kind_id, length_ms, *flags = end.split(b",", 2)
        name = self._registry.name_of(kind_id)
        if name is None or not name.startswith("k:"):
            raise UnknownField("a contact of a kind that is not in the field registry")
        if len(self._ends) >= _ENDS_MAX:
            self._ends.clear()
        said = flags[0] if flags else b""
        found = self._ends[end] = (self.kind_named(name), int(length_ms), SENT in said, ENGAGED in said)
        return found

    def kind_named(self, name: str) -> ContactKind:
        """The kind that the registry calls `name`; its one object."""
        kind = self._by_name.get(name)
        if kind is None:
            kind = self._by_name[name] = ContactKind(*name[2:].split("/"))
        return kind
