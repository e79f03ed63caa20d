"""What a winner's profile and ledger take in from a loser's, as stored: fields, values and members.

What both make together is worked out by `app.core.merging`; this file reads the one form and writes the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from app.core.merging import Place, consent_of_both, first_of_both, later_of_both, place_of_both
from app.store.fields import FieldRegistry
from app.store.profile import (
    AS_OF,
    AS_OF_MARK,
    EXPOSURE,
    LANGUAGE,
    LAST_CONTACT,
    MARKS,
    OUTCOME,
    PREFERENCE_MARK,
    REGION,
    SUPPRESSION,
    SUPPRESSION_COUNT,
    TIMEZONE,
    UPDATED,
    consent_entry,
    is_consent,
    registered,
    suppression_field,
    suppression_of,
    whole_ms,
)
from policy.bundle import Bundle
from policy.consent import merged_suppressions
from policy.facts import ConsentEntry

ID_BYTES = 14


class Held(NamedTuple):
    """All that the store holds of a customer whom a merge touches."""

    now_ms: int  # the store's clock when it was read
    profile: Mapping[bytes, bytes]
    ledger: tuple[tuple[bytes, bytes], ...]  # member, score: as they lie
    aliases: tuple[bytes, ...] = ()

    def lost_its_ledger(self, retention_ms: int) -> bool:
        """There must have been contacts, and there are none."""
        last = self.profile.get(LAST_CONTACT)
        return not self.ledger and last is not None and self.now_ms - int(last) < retention_ms


class Fill(NamedTuple):
    """A field that the winner takes over where it lacks it, and the as-of times that become the older ones by that."""

    field: bytes
    value: bytes
    as_of: Mapping[bytes, bytes]


class TakenIn(NamedTuple):
    """What is written into the winner's keys."""

    sets: Mapping[bytes, bytes]
    fills: tuple[Fill, ...]
    changes: tuple[bytes, ...]  # for the history; described in `history.lua`
    contacts: tuple[tuple[bytes, bytes], ...]  # member, score: those that the winner lacks
    lost: bool  # a ledger is lost in the store: it must stay lost


def taken_in(winner: Held, loser: Held, name: str, registry: FieldRegistry, bundle: Bundle) -> TakenIn:
    """What the winner takes in from the loser, who is called `name`. Raises UnknownField for what cannot be read: to
    pass over a refusal could open what it had closed, so the merge then waits for a process that can."""
    consents = _consents(winner, loser, registry)
    stops = _stops(winner.profile, loser.profile)
    places = _places(winner.profile, loser.profile)
    changes = [
        b"m" + name.encode(),
        *(b"c%b=%b" % pair for pair in consents.items()),
        *(b"%b=%b" % pair for pair in stops.items()),
        *(b"r" + region for field, region in places.items() if field == REGION),
    ]
    return TakenIn(
        sets={**consents, **stops, **places, **_preferences(winner, loser), **_times(winner, loser)},
        fills=tuple(_fills(winner.profile, loser.profile, registry, bundle)),
        changes=tuple(changes),
        contacts=_contacts(winner, loser),
        lost=any(each.lost_its_ledger(bundle.ledger_retention_s * 1000) for each in (winner, loser)),
    )


def _consents(winner: Held, loser: Held, registry: FieldRegistry) -> dict[bytes, bytes]:
    """Those that change."""
    mine, theirs = (
        [consent_entry(field, raw, registry) for field, raw in side.profile.items() if is_consent(field)]
        for side in (winner, loser)
    )
    both = dict(_stored_consent(entry, registry) for entry in consent_of_both(mine, theirs, winner.now_ms))
    return {field: value for field, value in both.items() if winner.profile.get(field) != value}


def _stored_consent(entry: ConsentEntry, registry: FieldRegistry) -> tuple[bytes, bytes]:
    """As `write_customer.lua` stores it."""
    id_of = registry.id_of
    field = id_of("p:" + entry.purpose) + b"." + id_of("c:" + entry.channel)
    value = b"%b%b,%b,%d" % (
        entry.state[0].encode(), id_of("b:" + entry.basis), id_of("s:" + entry.source), entry.at_ms
    )  # fmt: skip
    return field, value if entry.expires_ms is None else value + b",%d" % entry.expires_ms


def _stops(winner: Mapping[bytes, bytes], loser: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Those that change, and how many there are then."""
    sides = [{f: raw for f, raw in side.items() if f[0] == SUPPRESSION} for side in (winner, loser)]
    read = [[suppression_of(field, raw) for field, raw in side.items()] for side in sides]
    changed = {}
    for stop in merged_suppressions(*read):
        field = suppression_field(stop.scope, stop.reason)
        values = [side[field] for side in sides if field in side and suppression_of(field, side[field]) == stop]
        if values[0] != winner.get(field):
            changed[field] = values[0]
    return changed


def _places(winner: Mapping[bytes, bytes], loser: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Those that change."""
    both = place_of_both(_place(winner), _place(loser))
    pairs = ((REGION, both.region), (TIMEZONE, both.timezone))
    return {field: text.encode() for field, text in pairs if text is not None and field not in winner}


def _place(profile: Mapping[bytes, bytes]) -> Place:
    region, zone = profile.get(REGION), profile.get(TIMEZONE)
    return Place(None if region is None else region.decode(), None if zone is None else zone.decode())


def _preferences(winner: Held, loser: Held) -> dict[bytes, bytes]:
    sides = (
        {f: raw for f, raw in side.profile.items() if f[:1] == PREFERENCE_MARK.encode()} for side in (winner, loser)
    )
    return {f: raw for f, raw in first_of_both(*sides).items() if f not in winner.profile}


def _times(winner: Held, loser: Held) -> dict[bytes, bytes]:
    """Outcomes, the last contact, the number of stops, and that somebody wrote this profile."""
    sides = [
        {f: whole_ms(raw) for f, raw in side.profile.items() if f[0] == OUTCOME or f == LAST_CONTACT}
        for side in (winner, loser)
    ]
    times = {f: b"%d" % at_ms for f, at_ms in later_of_both(*sides).items() if sides[0].get(f) != at_ms}
    stops = {f for side in (winner, loser) for f in side.profile if f[0] == SUPPRESSION}
    if stops:
        times[SUPPRESSION_COUNT] = b"%d" % len(stops)
    if UPDATED in winner.profile or UPDATED in loser.profile:
        times[UPDATED] = b"%d" % winner.now_ms
    return times


def _fills(
    winner: Mapping[bytes, bytes], loser: Mapping[bytes, bytes], registry: FieldRegistry, bundle: Bundle
) -> Iterator[Fill]:
    """Attributes, the language, trials. None moves a version, so each is only filled where it is missing still."""
    owners = {f: raw for f, raw in loser.items() if f[0] == AS_OF and _names_owner(f, registry)}
    for field, value in loser.items():
        if field in winner:
            continue
        if field == LANGUAGE or field[0] == EXPOSURE:
            yield Fill(field, value, {})
        elif field[0] not in MARKS and not is_consent(field):
            as_of = _as_of(field, loser, owners, registry, bundle)
            if as_of:  # of an age that nobody knows, it would pass for new
                yield Fill(field, value, as_of)


def _as_of(
    field: bytes, loser: Mapping[bytes, bytes], owners: Mapping[bytes, bytes], registry: FieldRegistry, bundle: Bundle
) -> dict[bytes, bytes]:
    """How old an attribute is: its own time, and its owner's; where the bundle does not know whose it is, those of all
    who wrote of the loser."""
    fact = bundle.fact_by_name.get(registered(registry, field, "a:"))
    owner = b"" if fact is None else AS_OF_MARK.encode() + registry.id_of("o:" + fact.owner)
    own = AS_OF_MARK.encode() + field
    times = {owner: owners[owner]} if owner in owners else dict(owners)
    if own in loser:
        times[own] = loser[own]
    return times


def _names_owner(field: bytes, registry: FieldRegistry) -> bool:
    name = registry.name_of(field[1:])
    return name is not None and name.startswith("o:")


def _contacts(winner: Held, loser: Held) -> tuple[tuple[bytes, bytes], ...]:
    sides = ({entry[0][:ID_BYTES]: entry for entry in side.ledger} for side in (winner, loser))
    mine = {member[:ID_BYTES] for member, _ in winner.ledger}
    return tuple(entry for decision, entry in first_of_both(*sides).items() if decision not in mine)
