"""Step `commit`, as data: what shall be written under which versions, and what may become of it.

The shell carries an `Intent` to the store and comes back with exactly one `Outcome`; it raises nothing.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from app.core.features.plan import State
from policy.facts import Contact, Facts


class NewContact(NamedTuple):
    """A contact to be reserved, and the id of the decision that makes it."""

    contact: Contact
    decision_id: str
    variant: str = ""  # its counter (`app.core.outcomes.variant_counter`), where it is compared with others


class Idempotency(NamedTuple):
    """A caller's key (hashed) and what its request was (hashed), so that a repeat is told from a misuse."""

    key_hash: bytes
    body_hash: bytes  # 16 bytes


class Intent(NamedTuple):
    """Everything a commit writes, and under which versions it may."""

    customer: str
    base: str  # of the decision ids
    general_version: int | None  # None: what was answered without the store is logged after the fact
    ledger_version: int | None  # None: no limit binds, so the ledger may have moved
    commit_by_ms: int  # on the store's clock; later than that the answer has been given
    record: bytes
    contacts: tuple[NewContact, ...]
    idempotency: Idempotency | None
    answer: bytes  # kept for repeats of the same idempotency key
    forget_before_ms: int | None  # ledger entries older than this
    exposures: tuple[tuple[str, str], ...] = ()  # (trial, arm): to be logged unless they have been


class Reading(NamedTuple):
    """What the read brought. `features`: the state that features are read from; None: it could not be read, or the
    bundle reads none."""

    facts: Facts
    features: State | None = None


class Kept(NamedTuple):
    """The answer that an idempotency key got before."""

    body_hash: bytes
    answer: bytes


class Unreadable(NamedTuple):
    """Facts could not be read, or must not be used. `timed_out`: because the deadline came first."""

    kind: str
    timed_out: bool


class Committed(NamedTuple):
    """Written: the contacts are reserved, the record is in the log. `durable`: as surely as asked for."""

    durable: bool = True


class Moved(NamedTuple):
    """Facts changed since they were read; here are the fresh ones, or why they cannot be used. Nothing was written."""

    reading: Reading | Unreadable

    def after(self, earlier: Reading) -> Reading | Unreadable:
        """The fresh facts, with the features that were read before: what came in since may be missing in them, as it
        may in any decision."""
        return self.reading._replace(features=earlier.features) if isinstance(self.reading, Reading) else self.reading


class Twin(NamedTuple):
    """The idempotency key was used before; nothing was written. The answer stands: nobody will take it back."""

    kept: Kept


class Late(NamedTuple):
    """The store was past `commit_by`. Nothing was written."""


class Refused(NamedTuple):
    """The commit was not run, or never reached the store; or an earlier answer could not be made to stand. Nothing was
    written."""

    kind: str


class Unknown(NamedTuple):
    """Nobody knows whether it was written: it must be released. `timed_out`: because the deadline came first."""

    kind: str
    timed_out: bool


Outcome: TypeAlias = Committed | Moved | Twin | Late | Refused | Unknown
