"""What was said of a recipient's mail, and what was made of it: the seam between whoever tells it and the loop. Pure.

Nothing here names a person: addresses are hashed at the door, with the whole of them stripped and in lower case.
"""

from __future__ import annotations

from enum import StrEnum
from hashlib import blake2b
from typing import NamedTuple

from app.core.decision.ids import DecisionId
from app.core.outcomes import Outcome


class Heard(NamedTuple):
    """What was said of one recipient's mail, without anything that names a person."""

    outcome: Outcome  # its `event_id` is qualified: `<provider>:<the provider's id, or a hash>`
    decision: DecisionId | None = None  # that rode along; not yet believed
    message: bytes | None = None  # `message_hash` of the provider's own id of the mail
    #: SHA-256, hex, of the address: the identity kind `email_sha256`. Once it is taken, the keyed hash of that, since
    #: some of it is kept, and whoever reads the store could try addresses.
    recipient: str | None = None
    customer: str | None = None  # where the teller knows the customer key itself
    channel: str = "email"
    provider: str = ""  # of webhooks; "": told by API
    domain: str = ""  # class of the recipient's domain, for the deliverability watch


class Take(StrEnum):
    """What became of it."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"  # it was known, and nothing was changed
    REJECTED = "rejected"  # it can never be taken: repeating it is of no use


class Taken(NamedTuple):
    """What was made of it. Everything that follows is applied by the time somebody reads this."""

    status: Take
    code: str = ""  # of what was rejected: a problem's
    detail: str = ""
    decision: DecisionId | None = None  # that it was matched with
    customer: str | None = None  # whom it was found to be about
    machine: bool = False  # it was no person who looked, as far as is known now
    at_ms: int = 0  # the time that counts: never after now
    effects: tuple[str, ...] = ()


def message_named(provider: str, message_id: str | None) -> bytes | None:
    """`message_hash` of an id as a provider or a caller writes it, with or without `<>`; None where there is none."""
    bare = (message_id or "").strip().strip("<>")
    return message_hash(provider, bare) if bare else None


def message_hash(provider: str, message_id: str) -> bytes:
    """Sixteen bytes by which a provider's id of a mail is known: ids hold addresses now and then."""
    return blake2b(f"{provider}\x00{message_id}".encode(), digest_size=16).digest()
