"""The profile hash of a customer. The one file that knows its fields; `profile_decoder` makes facts of them.

    !g  general version: moves on consent, suppression, preferences, region, zone       (integer)
    !l  ledger version      !t  last contact, ms      (both are written by the commit, never here)
    !u  last customer write, ms: a profile without it holds only traces of contacts     (integer)
    !s  how many suppressions the profile holds; with any there is no TTL               (integer)
    !r  region, ISO 3166    !z  time zone, IANA       !n  language, BCP 47              (text)
    !e  erased: `<ms>,<id of the erasure>`, with the suppression; `<ms>` alone once a later consent has ended that
    !m  merging: `p` (another customer's data is on its way into this one), or `>` and the customer that this one became
    @<owner id>                  as-of time of that owner's attributes, ms
    @<attribute id>              when an attribute was set that is deleted after a time of its own, ms
    <attribute id>               value: a JSON scalar; floats always with point or exponent, so that types survive
    <purpose id>.<channel id>    consent: <g|d><basis id>,<source id>,<at ms>[,<expires ms>]
    -<scope>:<reason>            suppression: <at ms>,<source id>
    %<preference>                preference: a JSON scalar
    +<outcome type>.<kind id>    when an outcome happened last, ms; no kind id: it followed no contact that is known
    =<trial id>                  the arm in which the customer was seen first in a trial (text)

No field and no value exceeds 64 bytes, above which the store gives up its compact encoding (listpack).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal, TypeAlias

from app.store.fields import FieldRegistry
from policy.codes import SuppressionReason
from policy.facts import ConsentEntry, ContactKind, Suppression

GENERAL_VERSION = b"!g"
LEDGER_VERSION = b"!l"
LAST_CONTACT = b"!t"
UPDATED = b"!u"
SUPPRESSION_COUNT = b"!s"
REGION = b"!r"
TIMEZONE = b"!z"
LANGUAGE = b"!n"
MERGE = b"!m"
ERASURE = b"!e"
MERGE_PENDING = b"p"
BEST_HOURS = b"%best_hours"
ConsentState: TypeAlias = Literal["granted", "denied"]
STATES: dict[bytes, ConsentState] = {b"g": "granted", b"d": "denied"}
REASONS = {reason.value.encode(): reason for reason in SuppressionReason}

AS_OF_MARK = "@"
PREFERENCE_MARK = "%"
AS_OF, SUPPRESSION, OUTCOME, EXPOSURE = b"@-+="
MARKS = frozenset(b"!@-%+=")
#: A customer's own hours as stored: JSON text.
_HOURS = re.compile(rb'"((?:[01]\d|2[0-3]):[0-5]\d-(?:[01]\d|2[0-3]):[0-5]\d)"')


class UnknownField(Exception):
    """A consent or suppression that this process cannot read (yet): ensure the bundle's names and refresh the field
    registry, and answer `facts_unavailable` meanwhile. To guess, or to skip the entry, could turn a denial into a
    permission: consent and suppression fail closed."""


def consent_entry(field: bytes, raw: bytes, registry: FieldRegistry) -> ConsentEntry:
    """One consent; raises UnknownField when any part of it cannot be read."""
    purpose, channel = consent_names(field, registry)
    head, at_ms, expires_ms = consent_parts(raw)
    state, basis, source = consent_head(head, registry)
    return ConsentEntry(purpose, channel, state, basis, source, at_ms, expires_ms)


def consent_parts(raw: bytes) -> tuple[bytes, int, int | None]:
    """`<g|d><basis id>,<source id>`, and the times of a consent's value; raises UnknownField."""
    head, _, at_ms = raw.rpartition(b",")
    if head.count(b",") < 2:
        return head, whole_ms(at_ms), None
    expires_ms = whole_ms(at_ms)
    head, _, at_ms = head.rpartition(b",")
    return head, whole_ms(at_ms), expires_ms


def consent_names(field: bytes, registry: FieldRegistry) -> tuple[str, str]:
    """Purpose and channel of a consent field; raises UnknownField."""
    purpose_id, _, channel_id = field.partition(b".")
    return registered(registry, purpose_id, "p:"), registered(registry, channel_id, "c:")


def consent_head(head: bytes, registry: FieldRegistry) -> tuple[ConsentState, str, str]:
    """State, basis and source from `<g|d><basis id>,<source id>`; raises UnknownField."""
    state = STATES.get(head[:1])
    if state is None:
        raise UnknownField("a consent entry without a state")
    basis_id, _, source_id = head[1:].partition(b",")
    return state, registered(registry, basis_id, "b:"), registered(registry, source_id, "s:")


def suppression_field(scope: str, reason: SuppressionReason) -> bytes:
    """Where a suppression of `scope` (a channel, or `*`) for `reason` lies."""
    return f"-{scope}:{reason.value}".encode()


def suppression_of(field: bytes, raw: bytes | None) -> Suppression:
    """A suppression from its field `-<scope>:<reason>`. An unreadable time does not lift it; an unknown reason, written
    by a newer version, raises UnknownField."""
    scope, _, reason_text = field[1:].partition(b":")
    reason = REASONS.get(reason_text)
    if reason is None:
        raise UnknownField("a suppression of an unknown reason")
    at_ms = (raw or b"").partition(b",")[0]
    return Suppression(scope.decode(), reason, int(at_ms) if at_ms.isdigit() else 0)


def best_hours_of(raw: bytes | None) -> str | None:
    """A customer's own hours, `HH:MM-HH:MM`; what cannot be read is no preference: the placement's hours hold."""
    found = _HOURS.fullmatch(raw) if raw is not None else None
    return None if found is None else found[1].decode()


def merge_of(raw: bytes | None) -> tuple[bool, str | None]:
    """Whether another customer's data is on its way into this one, and the customer that this one became. Raises
    UnknownField for a word of a newer version: until both are whole, consent and suppressions are not all here."""
    if raw is None:
        return False, None
    if raw == MERGE_PENDING:
        return True, None
    if raw[:1] != b">" or len(raw) < 2:
        raise UnknownField("a mark of merging that cannot be read")
    return False, raw[1:].decode()


def is_tombstone(raw: bytes | None) -> bool:
    """Whether the field `!e` says that the customer is erased, and no consent has ended it."""
    return raw is not None and b"," in raw


def outcome_field(outcome: str, kind_id: bytes) -> bytes:
    """Where the last time of an outcome lies (of `OutcomeType`), for the kind of contact that it followed; b"": none
    that is known."""
    return b"+" + outcome.encode() + b"." + kind_id


def outcome_names(
    field: bytes, registry: FieldRegistry, kind_named: Callable[[str], ContactKind]
) -> tuple[str, ContactKind | None]:
    """Outcome and kind of contact of a field. Raises UnknownField for a kind that is not in the registry: which pauses
    it begins cannot be told, and to skip it could end one."""
    outcome, _, kind_id = field[1:].partition(b".")
    if not kind_id:
        return outcome.decode(), None
    return outcome.decode(), kind_named("k:" + registered(registry, kind_id, "k:"))


def exposure_field(trial_id: bytes) -> bytes:
    """Where a trial's first arm lies; the id is the registry's for `exposure_name`."""
    return b"=" + trial_id


def exposure_name(trial: str) -> str:
    """The registry's name for a trial (`Arms.key`, `Experiment.key`)."""
    return "x:" + trial


def trial_of(field: bytes, registry: FieldRegistry) -> str | None:
    """The trial whose arm a field holds; None for other fields, and for trials not heard of yet: an exposure decides
    nothing, it is only logged once."""
    if field[0] != EXPOSURE:
        return None
    name = registry.name_of(field[1:])
    return name[2:] if name is not None and name.startswith("x:") else None


def kind_of_name(name: str) -> ContactKind:
    """A kind of contact from its name in the registry, `k:<placement>/<channel>/…`."""
    return ContactKind(*name[2:].split("/"))


def whole_ms(raw: bytes) -> int:
    """A time as stored; raises UnknownField for anything else."""
    if not raw.isdigit():
        raise UnknownField("a time that cannot be read")
    return int(raw)


def is_consent(field: bytes) -> bool:
    return b"." in field and field[0] not in MARKS


def owner_of(field: bytes, registry: FieldRegistry) -> str | None:
    """The owner whose as-of time a field holds; None for other fields, and for owners of bundles not seen here."""
    if field[0] != AS_OF:
        return None
    name = registry.name_of(field[1:])
    return name[2:] if name is not None and name.startswith("o:") else None


def registered(registry: FieldRegistry, field_id: bytes, kind: str) -> str:
    """The name of an id, without its kind; raises UnknownField for one that is not in the registry."""
    name = registry.name_of(field_id)
    if name is None or not name.startswith(kind):
        raise UnknownField("an id that is not in the field registry")
    return name[2:]
