"""Consent: what a customer allows, tri-state, by purpose × channel, and what the law of their region makes of it.

Granted, denied and unknown are three states. *Unknown is not denied, and is never granted*. This file fails closed:

1. What a caller's Global Privacy Control denies here, by the region's table, is denied, also against a grant.
2. An entry that has ended says nothing. A specific entry beats `*`, except that an older specific one yields to a
   newer `denied` on `*`.
3. A denial is a denial everywhere.
4. A grant permits only on a legal basis that suffices here: those that the region's row names; else under `opt_in` any
   but the weaker ones, under `soft_opt_in` also those of an existing customer, under `opt_out` any. On another basis
   nothing is known: the grant is no permission, and silence is not what was heard either.
5. Silence permits only where the row says `opt_out`, and then the basis says so.

Where nobody knows the region, every restriction and no permission holds: see `unknown_region`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias

from policy.bundle import Bundle, ContactMode, Region
from policy.facts import ConsentEntry, Suppression

EVERY_CHANNEL = "*"
PERSONALISATION = "personalisation"
#: The basis of a denial that a browser's Global Privacy Control expressed.
GPC = "gpc"
#: Bases of who is a customer already, and was told and can object. They suffice under `soft_opt_in`.
SOFT_BASES = frozenset({"soft_opt_in", "existing_customer"})
#: Bases that no act of the customer stands behind. Under `opt_in` none of these suffices.
WEAKER_BASES = SOFT_BASES | {"legitimate_interest", "opt_out", "implied"}


class Permission(NamedTuple):
    """Whether something is permitted, in which state, and on what ground (`consent`, `opt_out in US`, …)."""

    permitted: bool
    state: Literal["granted", "denied", "unknown"]
    basis: str


_DENIED_BY_GPC = Permission(False, "denied", GPC)
_SILENCE = Permission(False, "unknown", "")


def entry_in_force(entries: Iterable[ConsentEntry], purpose: str, channel: str, now_ms: int) -> ConsentEntry | None:
    """The entry that speaks for `purpose` on `channel` now: at most one a purpose and channel is stored."""
    specific = general = None
    for entry in entries:
        if entry.purpose == purpose and (entry.expires_ms is None or now_ms < entry.expires_ms):
            if entry.channel == channel:
                specific = entry
            elif entry.channel == EVERY_CHANNEL:
                general = entry
    return specific if specific is not None and not _overruled(specific, general) else general


def _overruled(specific: ConsentEntry, general: ConsentEntry | None) -> bool:
    return general is not None and general.state == "denied" and general.at_ms > specific.at_ms


def permission(entry: ConsentEntry | None, mode: ContactMode, region: Region) -> Permission:
    """What an entry, or silence, permits in `region`, whose row says `mode` of what is asked."""
    if entry is None:
        return Permission(True, "unknown", f"opt_out in {region.id}") if mode == "opt_out" else _SILENCE
    if entry.state == "denied":
        return Permission(False, "denied", entry.basis)
    if (entry.basis == "consent" and region.bases is None) or suffices(entry.basis, mode, region.bases):
        return Permission(True, "granted", entry.basis)
    return Permission(False, "unknown", f"{entry.basis} does not suffice in {region.id}")


def suffices(basis: str, mode: ContactMode, bases: frozenset[str] | None) -> bool:
    """Whether a grant on this legal basis permits: one of `bases` where the region's row has them, else by its mode.

    Bases are compared in lower case with `_` for `-`, so that no spelling slips past the list of the weaker ones.
    """
    if bases is None and mode == "opt_out":
        return True
    plain = basis.lower().replace("-", "_")
    if bases is not None:
        return plain in bases
    return plain not in WEAKER_BASES or (mode == "soft_opt_in" and plain in SOFT_BASES)


def contact_permission(
    entries: Iterable[ConsentEntry], purpose: str, channel: str, region: Region, now_ms: int, gpc: bool = False
) -> Permission:
    """May this customer be contacted for `purpose` on `channel`? `gpc`: the caller passed on that signal."""
    if gpc and purpose in region.gpc_denies:
        return _DENIED_BY_GPC
    return permission(entry_in_force(entries, purpose, channel, now_ms), region.contact, region)


def personalisation_permission(
    entries: Iterable[ConsentEntry], channel: str, region: Region, now_ms: int, gpc: bool = False
) -> Permission:
    """May personal facts be read by a rule or a model, for a message on `channel`?"""
    if gpc and PERSONALISATION in region.gpc_denies:
        return _DENIED_BY_GPC
    return permission(entry_in_force(entries, PERSONALISATION, channel, now_ms), region.personalisation, region)


def law_of(bundle: Bundle, region: Region | None) -> Region:
    """The row that holds for a customer of `region`; None: nobody knows where they are."""
    return region if region is not None else _law_of_nowhere(bundle)


@lru_cache(maxsize=64)
def _law_of_nowhere(bundle: Bundle) -> Region:
    return unknown_region(bundle.regions)


def unknown_region(rows: Mapping[str, Region]) -> Region:
    """The row for customers who may be anywhere: silence permits nothing, the weaker bases do not suffice, the
    `default` row's own list of bases and of what Global Privacy Control denies holds, and what is restricted in any
    region is restricted."""
    default = rows["default"]
    return Region(
        id="an unknown region",
        contact="opt_in",
        personalisation="opt_in",
        restricted=frozenset().union(*(row.restricted for row in rows.values())),
        gpc_denies=default.gpc_denies,
        bases=default.bases,
    )


# Two profiles become one


def merged(mine: Iterable[ConsentEntry], theirs: Iterable[ConsentEntry]) -> tuple[ConsentEntry, ...]:
    """The consent of two profiles of one person: for every purpose and channel the more restrictive of what both say.

    A denial on either side holds, also where only its `*` speaks for the channel; of two denials the one that lasts
    longer. A grant stays where the other side says nothing. Of two grants the later one's basis and source stay, and
    the earlier end. Sorted; the order and the number of merges make no difference. Ended entries are not looked for:
    leave them out before, or a denial that has ended takes a grant with it, which is the safe direction.
    """
    sides = (_by_key(mine), _by_key(theirs))
    return tuple(sorted(_stricter(sides, *key) for key in {*sides[0], *sides[1]}))


_Profile: TypeAlias = Mapping[tuple[str, str], ConsentEntry]  # (purpose, channel) → what was said


def _by_key(entries: Iterable[ConsentEntry]) -> _Profile:
    return {(entry.purpose, entry.channel): entry for entry in entries}


def _stricter(sides: tuple[_Profile, _Profile], purpose: str, channel: str) -> ConsentEntry:
    said = [entry for side in sides if (entry := _spoken(side, purpose, channel)) is not None]
    denials = [entry for entry in said if entry.state == "denied"]
    if denials:  # those of every channel outlast them here too: without them the grouping of merges would matter
        everywhere = [side[purpose, EVERY_CHANNEL] for side in sides if (purpose, EVERY_CHANNEL) in side]
        denials += [entry for entry in everywhere if entry.state == "denied"]
    latest = max(denials or said, key=lambda entry: (entry.at_ms, entry.basis, entry.source))
    expires_ms = _last_end(denials) if denials else _first_end(said)
    return latest._replace(purpose=purpose, channel=channel, expires_ms=expires_ms)


def _spoken(side: _Profile, purpose: str, channel: str) -> ConsentEntry | None:
    """What one profile says of a channel. A denial of the channel may outlast a newer one of every channel."""
    specific, general = side.get((purpose, channel)), side.get((purpose, EVERY_CHANNEL))
    if specific is None or (specific.state == "granted" and _overruled(specific, general)):
        return general
    return specific


def _first_end(entries: Iterable[ConsentEntry]) -> int | None:
    return min((entry.expires_ms for entry in entries if entry.expires_ms is not None), default=None)


def _last_end(entries: Iterable[ConsentEntry]) -> int | None:
    """None, where one never ends."""
    ends = [entry.expires_ms for entry in entries]
    return None if None in ends else max(end for end in ends if end is not None)


def merged_suppressions(mine: Iterable[Suppression], theirs: Iterable[Suppression]) -> tuple[Suppression, ...]:
    """The stops of both profiles, each since the last time that it was said: a word in between does not lift it.
    Sorted."""
    found: dict[tuple[str, str], Suppression] = {}
    for stop in (*mine, *theirs):
        key = (stop.scope, stop.reason.value)
        if key not in found or stop.at_ms > found[key].at_ms:
            found[key] = stop
    return tuple(found[key] for key in sorted(found))
