"""Erasing a customer: what is left of one, what of a stream is about one, and the receipt. Pure.

1. From the answer on nobody is contacted, shown or written who was erased: a tombstone with `suppressed:erased` is all
   that is left under the customer's key, in the same step that deletes the rest. Everything else is swept up after it.
2. Only a consent that was given after the erasure ends it; then a new profile begins, empty. What was said or happened
   before stays unsaid: neither an old import nor an event that was on its way brings it back.
3. A receipt names nobody: the customer is a keyed hash.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from app.core.features.streams import CARRY

#: Within which an erasure is done, in ms. After it the log says which step it waits for.
DONE_WITHIN_MS = 3_600_000


class Step(StrEnum):
    """What an erasure does, in this order; values are in receipts, and a contract."""

    CUSTOMER = "customer"  # profile, features, contacts, history: before DELETE is answered
    IDENTITIES = "identities"  # what identities told of it, and customers who had become it
    DECISIONS = "decisions"  # its records in the decision log
    RECEIPTS = "receipts"  # idempotency records, pointers of decisions, outcomes
    EVENTS = "events"  # its entries in the streams, dead letters included
    ARCHIVE = "archive"  # files of the archive that name it
    APPEND_ONLY_FILE = "append_only_file"  # the store's own file, written anew


class Erased(NamedTuple):
    """A tombstone. `erasure`: the receipt's id while it stands; None once a later consent has ended it: then only what
    is from before `at_ms` is still gone."""

    at_ms: int
    erasure: str | None

    @property
    def until_ms(self) -> int:
        """Events that were received until then are not the customer's any more."""
        return FOR_EVER if self.erasure is not None else self.at_ms


#: Later than any time.
FOR_EVER = 2**62


class Taken(NamedTuple):
    """One step that was done. `number`: of what was deleted; `note`: what the operator should know."""

    step: Step
    number: int
    at_ms: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """An erasure: under way, or done, and then a receipt. `names`: the customer's keys, last the one that the others
    became; empty when it is done. `hashes`: keyed hashes of them, in the same order."""

    erasure: str
    hashes: tuple[str, ...]
    requested_ms: int
    who: str
    names: tuple[str, ...] = ()
    erased_ms: int = 0  # 0: nothing was deleted yet
    steps: tuple[Taken, ...] = ()
    done_ms: int | None = None

    @property
    def name(self) -> str:
        """The customer's own key, while it is known."""
        return self.names[-1]

    def lacks(self, step: Step) -> bool:
        return all(taken.step is not step for taken in self.steps)

    @property
    def next_step(self) -> Step | None:
        """None: all are done."""
        return next((step for step in Step if self.lacks(step)), None)


class Telling(Protocol):
    """What a stream's entry says of whom it is about."""

    @property
    def customer(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def properties(self) -> Mapping[str, Any]: ...
    @property
    def previous_customer(self) -> str: ...


def names_one_of(entry: Telling, names: Collection[str]) -> str | None:
    """Which of these an entry is about, or says that somebody was or became; None: none of them."""
    if entry.customer in names:
        return entry.customer
    if entry.previous_customer in names:
        return entry.previous_customer
    became = entry.properties.get("to") if entry.type == CARRY else None
    return became if isinstance(became, str) and became in names else None
