"""Reservations that nobody confirmed.

A contact counts from its reservation on. Only where its placement says `confirm: required` it stops counting when no
outcome said that it was sent: from the later of its reservation + `reserve_ttl` and the end of its window. A `sent`
that comes later than that confirms it, and it counts again; what was sent meanwhile stays sent.

Closed where something is not known: a contact of a placement that the bundle no longer has counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from policy.bundle import Bundle
from policy.facts import Contact


def counting(
    bundle: Bundle, contacts: Sequence[Contact], now_ms: int, reserved_at_ms: Callable[[bytes], int]
) -> Sequence[Contact]:
    """The contacts that still count at `now_ms`, in their order.

    Args:
        reserved_at_ms: when a decision was made (Unix ms), from its packed id.
    """
    ttls_ms = _reserve_ttls_ms(bundle)
    if not ttls_ms:
        return contacts
    return [each for each in contacts if now_ms < _counts_until_ms(each, ttls_ms, reserved_at_ms)]


def _counts_until_ms(contact: Contact, ttls_ms: Mapping[str, int], reserved_at_ms: Callable[[bytes], int]) -> float:
    """The first instant at which the contact no longer counts; infinite for one that always will."""
    ttl_ms = ttls_ms.get(contact.kind.placement)
    if ttl_ms is None or contact.confirmed or contact.engaged:
        return float("inf")
    return max(reserved_at_ms(contact.decision) + ttl_ms, contact.not_after_ms)


@lru_cache(maxsize=64)
def _reserve_ttls_ms(bundle: Bundle) -> Mapping[str, int]:
    """Placement → how long its reservations hold unconfirmed, where they do not hold for ever: a placement has a
    `reserve_ttl` exactly where it says `confirm: required`."""
    return {
        placement.id: placement.reserve_ttl_s * 1000
        for placement in bundle.placements.values()
        if placement.reserve_ttl_s is not None
    }
