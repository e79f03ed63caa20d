"""Consent: what a customer allows, tri-state, and what a region makes of silence.

Granted, denied and unknown are three states. *Unknown is not denied, and is never granted*: a region's table may
still permit contact by opt-out, and then the basis says so. Where no region is known nothing but a grant permits
anything: this file fails closed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from policy.bundle import ContactMode, Region
from policy.facts import ConsentEntry

EVERY_CHANNEL = "*"


class Permission(NamedTuple):
    """Whether something is permitted, in which state, and on what ground (`consent`, `opt_out in US`, …)."""

    permitted: bool
    state: Literal["granted", "denied", "unknown"]
    basis: str


def entry_in_force(entries: Iterable[ConsentEntry], purpose: str, channel: str) -> ConsentEntry | None:
    """The entry that speaks for `purpose` on `channel`.

    A specific entry beats `*`, except that an older specific one yields to a newer `denied` on `*`.
    """
    specific = general = None
    for entry in entries:
        if entry.purpose == purpose:
            if entry.channel == channel:
                specific = entry
            elif entry.channel == EVERY_CHANNEL:
                general = entry
    if specific is None:
        return general
    if general is not None and general.state == "denied" and general.at_ms > specific.at_ms:
        return general
    return specific


def permission(entry: ConsentEntry | None, mode: ContactMode | None, region_id: str) -> Permission:
    """What an entry, or silence, permits where the region's table says `mode` (None: no region is known)."""
    if entry is not None:
        return Permission(entry.state == "granted", entry.state, entry.basis)
    if mode == "opt_out":
        return Permission(True, "unknown", f"opt_out in {region_id}")
    return Permission(False, "unknown", "")


def contact_permission(
    entries: Iterable[ConsentEntry], purpose: str, channel: str, region: Region | None
) -> Permission:
    """May this customer be contacted for `purpose` on `channel`?"""
    entry = entry_in_force(entries, purpose, channel)
    return permission(entry, region.contact if region else None, region.id if region else "")


def personalisation_permission(entries: Iterable[ConsentEntry], channel: str, region: Region | None) -> Permission:
    """May personal facts be read by a rule or a model, for a message on `channel`?"""
    entry = entry_in_force(entries, "personalisation", channel)
    return permission(entry, region.personalisation if region else None, region.id if region else "")
