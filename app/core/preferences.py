"""What a recipient may choose for one channel, and how it stands: purpose by purpose, as decisions see it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from policy.bundle import Bundle, Region
from policy.consent import (
    PERSONALISATION,
    contact_permission,
    law_of,
    personalisation_permission,
)
from policy.facts import ConsentEntry, Suppression


class Choice(NamedTuple):
    """One purpose, and whether decisions may act for it now. `contact`: messages are sent for it, as against the use of
    personal facts in messages."""

    purpose: str
    on: bool
    contact: bool


class Preferences(NamedTuple):
    """Everything that a page offers. `stopped`: no marketing is sent on the channel, whatever is chosen. `known`: the
    store knows the customer; else there is nothing to choose but to stop. `refused`: what was withdrawn on this very
    channel, without an end."""

    purpose: str  # of the link
    channel: str
    choices: tuple[Choice, ...]
    stopped: bool = False
    known: bool = True
    refused: frozenset[str] = frozenset()

    def is_on(self, purpose: str) -> bool:
        return any(choice.on for choice in self.choices if choice.purpose == purpose)


def preferences(
    bundle: Bundle,
    purpose: str,
    channel: str,
    consent: Iterable[ConsentEntry],
    suppressions: Iterable[Suppression],
    region: str | None,
    now_ms: int,
) -> Preferences:
    """What stands for a customer of `region`, whose link is about `purpose` on `channel`.

    Where the region is not known, a caller may name it with a request: what is allowed in any region is shown as on, so
    that it can be turned off.
    """
    entries = tuple(consent)
    rows = [law_of(bundle, bundle.region(region))] if region is not None else list(bundle.regions.values())
    choices = []
    for each in purposes_of(bundle, purpose, channel):
        allowed = any(_allowed(entries, each, channel, row, now_ms) for row in rows)
        choices.append(Choice(each, allowed, each != PERSONALISATION))
    stopped = any(stop.covers(channel) for stop in suppressions)
    refused = frozenset(
        each.purpose
        for each in entries
        if each.channel == channel and each.state == "denied" and each.expires_ms is None
    )
    return Preferences(purpose, channel, tuple(choices), stopped, refused=refused)


def of_nobody(bundle: Bundle, purpose: str, channel: str, erased: bool) -> Preferences:
    """Of a customer of whom nothing is known; or who was `erased`, and so is sent no marketing."""
    choices = (Choice(each, False, each != PERSONALISATION) for each in purposes_of(bundle, purpose, channel))
    return Preferences(purpose, channel, tuple(choices), stopped=erased, known=False)


def _allowed(entries: tuple[ConsentEntry, ...], purpose: str, channel: str, row: Region, now_ms: int) -> bool:
    if purpose == PERSONALISATION:
        return personalisation_permission(entries, channel, row, now_ms).permitted
    return contact_permission(entries, purpose, channel, row, now_ms).permitted


def purposes_of(bundle: Bundle, purpose: str, channel: str) -> tuple[str, ...]:
    """What can be chosen on a channel: the link's own purpose, also where the bundle has lost it, then what marketing
    there asks consent for, in the bundle's order, then whether personal facts may be used."""
    asked = {PERSONALISATION}
    for placement in bundle.placements.values():
        if placement.marketing and placement.channel == channel:
            asked.add(placement.purpose)
            asked.update(each.message.purpose for each in placement.candidates if each.message.purpose)
    others = [each for each in bundle.purposes if each in asked and each != purpose]
    return tuple(dict.fromkeys((purpose, *contacts_of(others), *others)))


def contacts_of(purposes: Iterable[str]) -> tuple[str, ...]:
    """Of some purposes those for which messages are sent."""
    return tuple(each for each in purposes if each != PERSONALISATION)
