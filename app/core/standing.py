"""Where a contact stands, by the set of what was said of it. Pure; `store/outcome.lua` works out the same.

Nothing of it depends on the order of arrival. A look counts unless a machine took it: the sender said so, it came less
than two seconds after the delivery, or three different links were clicked within a second. Since a `delivered` and the
other clicks of a scanner may come later than a click, none of that is decided once and for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

from policy.codes import OutcomeType

#: A person does not open a mail sooner after it was delivered; scanners on the way do.
PERSON_AFTER_MS = 2_000
#: A scanner follows every link at once: so many different ones, within so long.
SCANNED_LINKS, SCANNED_MS = 3, 1_000
#: The year 10000, Unix ms: calendars of programs end there.
END_MS = 253_402_300_800_000
#: As the store marks what machines did.
BY_MACHINE = "m"
_LOOKS = (OutcomeType.OPENED, OutcomeType.CLICKED, OutcomeType.CONVERTED)


class Stage(StrEnum):
    """How far a contact has come. Closed; values of the outcome stream."""

    RESERVED = "reserved"
    SENT = "sent"
    DELIVERED = "delivered"
    OPENED = "opened"
    CLICKED = "clicked"
    CONVERTED = "converted"
    BOUNCED = "bounced"
    DROPPED = "dropped"
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"
    NOT_SENT = "not_sent"


class Told(NamedTuple):
    """One outcome, as it is kept."""

    type: str
    at_ms: int
    value: float | None = None  # of a conversion; negative: a refund
    link: str = ""  # hash of the link that was clicked
    machine: bool = False  # the sender said so

    @classmethod
    def read(cls, raw: bytes) -> Told:
        """From `<type>,<ms>[,<value>[,<link>[,m]]]`. Raises ValueError on what no release wrote."""
        kind, told, value, link, machine, *_ = (*raw.decode().split(","), "", "", "")
        at_ms = int(told)
        if not 0 <= at_ms < END_MS:
            raise ValueError("a time of no calendar")
        return cls(kind, at_ms, float(value) if value else None, link, machine == BY_MACHINE)


class Known(NamedTuple):
    """What is known of a contact."""

    told: tuple[Told, ...]
    engaged_ms: int | None = None  # the latest look of a person
    responded_ms: int | None = None  # the latest click of a person, or conversion
    delivered_ms: int | None = None  # the earliest `delivered`

    @classmethod
    def of(cls, stored: Mapping[bytes, bytes]) -> Known:
        """From the hash that the store keeps of a decision."""
        return known(Told.read(raw) for name, raw in stored.items() if is_told(name))


def is_told(name: bytes) -> bool:
    """Whether a field of the hash is an outcome as it was told: by a fingerprint, or of an instant."""
    return len(name) == 8 or name.startswith(b"@")


def known(told: Iterable[Told]) -> Known:
    """Everything that follows from a set of outcomes."""
    entries = tuple(sorted(told, key=lambda each: (each.at_ms, each.type)))
    looks = looks_of_people(entries)
    return Known(
        entries,
        max((each.at_ms for each in looks), default=None),
        max((each.at_ms for each in looks if each.type != OutcomeType.OPENED), default=None),
        min((each.at_ms for each in entries if each.type == OutcomeType.DELIVERED), default=None),
    )


def looks_of_people(entries: Iterable[Told]) -> list[Told]:
    """Opens, clicks and conversions that neither the sender nor their speed calls a machine's. How soon after the
    delivery they came is not looked at (`by_person`)."""
    entries = tuple(entries)
    scanned = _scanned(entries)
    looks = [each for each in entries if each.type in _LOOKS and not each.machine and (each.value or 0) >= 0]
    return [each for each in looks if each.type != OutcomeType.CLICKED or each.at_ms not in scanned]


def _scanned(entries: Iterable[Told]) -> frozenset[int]:
    """Instants at which a scanner clicked."""
    clicks = [each for each in entries if each.type == OutcomeType.CLICKED and each.link]
    found: set[int] = set()
    for first in clicks:
        within = [each for each in clicks if 0 <= each.at_ms - first.at_ms < SCANNED_MS]
        if len({each.link for each in within}) >= SCANNED_LINKS:
            found.update(each.at_ms for each in within)
    return frozenset(found)


def by_person(at_ms: int | None, delivered_ms: int | None) -> bool:
    """Whether a latest look, or response, is one of a person's."""
    return at_ms is not None and (delivered_ms is None or at_ms >= delivered_ms + PERSON_AFTER_MS)


def stage(what: Known) -> Stage:
    """How far the contact has come. What stops further mail says most; then what a person did; then the sending."""
    times: dict[str, int] = {each.type: each.at_ms for each in what.told}  # the latest of each: they are in order
    if OutcomeType.COMPLAINED in times:
        return Stage.COMPLAINED
    if OutcomeType.UNSUBSCRIBED in times:
        return Stage.UNSUBSCRIBED
    if any(each.type == OutcomeType.CONVERTED and (each.value or 0) >= 0 for each in what.told):
        return Stage.CONVERTED
    if by_person(what.responded_ms, what.delivered_ms):
        return Stage.CLICKED
    if by_person(what.engaged_ms, what.delivered_ms):
        return Stage.OPENED
    return _of_the_sending(times, what.delivered_ms)


def _of_the_sending(times: Mapping[str, int], delivered_ms: int | None) -> Stage:
    hard = times.get(OutcomeType.BOUNCED_HARD)
    if hard is not None and delivered_ms is not None and hard >= delivered_ms:
        return Stage.BOUNCED  # servers take a mail, and send it back later
    if any(each in times for each in (OutcomeType.DELIVERED, *_LOOKS)):
        return Stage.DELIVERED
    bounced = max(times.get(OutcomeType.BOUNCED_HARD, -1), times.get(OutcomeType.BOUNCED_SOFT, -1))
    dropped, unsent = times.get(OutcomeType.DROPPED, -1), times.get(OutcomeType.NOT_SENT, -1)
    sent = times.get(OutcomeType.SENT, -1)
    if sent > max(bounced, dropped) and sent >= unsent:
        return Stage.SENT
    if max(bounced, dropped, unsent) < 0:
        return Stage.RESERVED
    if bounced >= max(dropped, unsent):
        return Stage.BOUNCED
    return Stage.DROPPED if dropped >= unsent else Stage.NOT_SENT


def text_of(told: Told) -> bytes:
    """As the store keeps it; the other way of `Told.read`."""
    value = "" if told.value is None else repr(told.value)
    parts = [told.type, str(told.at_ms), value, told.link, BY_MACHINE if told.machine else ""]
    return ",".join(parts).rstrip(",").encode()
