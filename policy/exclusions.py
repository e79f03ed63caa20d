"""Messages that exclude each other: at most one of them within a while, whichever comes first.

Two contacts come within the while of each other when some moment at which the one may be sent is no farther than that
from some moment at which the other may, in either direction: a reservation in the future excludes like the past. Just
as far counts as within. A message does not exclude itself (a limit does that), and the class makes no difference.
"""

from __future__ import annotations

from collections.abc import Sequence

from policy.bundle import Bundle, Placement
from policy.facts import Contact


def contacts_near(
    bundle: Bundle, placement: Placement, contacts: Sequence[Contact], not_before_ms: int, not_after_ms: int
) -> dict[int, tuple[Contact, ...]]:
    """For each exclusion of the placement, by index, the contacts with one of its messages that come within its while
    of [`not_before_ms`, `not_after_ms`]; exclusions without any are left out."""
    near = {}
    for index in placement.exclusions:
        exclusion = bundle.exclusions[index]
        earliest, latest = not_before_ms - exclusion.within_s * 1000, not_after_ms + exclusion.within_s * 1000
        found = tuple(
            contact
            for contact in contacts
            if contact.kind.message in exclusion.messages
            and contact.not_before_ms <= latest
            and contact.not_after_ms >= earliest
        )
        if found:
            near[index] = found
    return near


def excluding(near: Sequence[Contact], message: str) -> Contact | None:
    """The last of these contacts with another message: it stands against `message` for longest."""
    return next((contact for contact in reversed(near) if contact.kind.message != message), None)
