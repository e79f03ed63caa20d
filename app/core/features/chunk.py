"""A chunk of a shard's stream: its entries, who they are about, and what all of them come to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from typing import NamedTuple

from app.core.events.entry import decode
from app.core.events.event import Collected, Letter, Misfit, Misfits
from app.core.features.plan import FoldPlan
from app.core.features.streams import CARRY, OWN


class Results(StrEnum):
    """What became of an entry; values are labels of metrics."""

    APPLIED = "applied"
    REPEAT = "repeat"
    QUARANTINED = "quarantined"
    FORWARDED = "forwarded"  # its customer became another one, perhaps of another shard
    CARRIED = "carried"  # a customer's features went to whom it became
    TAKEN_IN = "taken_in"  # and came there
    ERASED = "erased"  # its customer was erased


class StreamEntry(NamedTuple):
    """An entry of a shard's stream as it lies there."""

    id: bytes
    raw: bytes


class Stored(NamedTuple):
    """What the store holds of a customer's features."""

    groups: Mapping[str, bytes]  # by the group's key
    carried_to: str = ""  # who this customer became; then nothing else is held


NOTHING = Stored({})


@dataclass(slots=True)
class Chunk:
    """Entries of one shard, one after the other, read."""

    entries: list[Collected]
    letters: list[Letter]  # of entries that nothing can be made of
    end: bytes  # the id of the last one

    @classmethod
    def of(cls, entries: Sequence[StreamEntry], now_ms: int) -> Chunk:
        chunk = cls([], [], entries[-1].id)
        for entry in entries:
            try:
                chunk.entries.append(decode(entry.raw))
            except Exception:  # whatever is wrong with it, the shard goes on
                chunk.letters.append(_unreadable(entry, now_ms))
        return chunk

    def put_aside(self, entry: Collected, why: str) -> None:
        """An entry that others could not work on."""
        self.entries.remove(entry)
        self.letters.append(letter_of(entry, Misfit(Misfits.UNFOLDABLE, why)))

    def ids(self) -> list[int]:
        """Every id by which an entry may be a repeat."""
        return [each for entry in self.entries for each in ids_of(entry)]

    def customers(self, plan: FoldPlan) -> list[str]:
        """Whose features are touched or who is linked, each once; with whom they become here, of whatever shard."""
        routes = plan.routes
        touched: dict[str, None] = {}
        for each in self.entries:
            if each.type in routes or each.type.startswith(OWN) or each.edges or each.previous:
                touched[each.customer] = None
                if each.type == CARRY:
                    touched[str(each.properties.get("to", ""))] = None
        return list(touched)

    def linking(self, seen: Set[int], erased: Mapping[str, int]) -> list[Collected]:
        """What tells who belongs to whom, without repeats. `erased`: until when (Unix ms) what was received of a
        customer is nobody's."""
        links: dict[bytes, Collected] = {}
        for each in self.entries:
            is_gone = each.received_at_ms <= erased.get(each.customer, -1)
            if (each.edges or each.previous) and not is_gone and seen.isdisjoint(ids_of(each)):
                links.setdefault(each.message_id, each)
        return list(links.values())


@dataclass(slots=True)
class Worked:
    """All that is to be written for a chunk, in one step; `onward` before it."""

    ids: list[int] = field(default_factory=list)  # to remember
    states: dict[str, dict[str, bytes]] = field(default_factory=dict)  # customer → groups that changed
    carried: dict[str, str] = field(default_factory=dict)  # customers who became another one: nothing else is kept
    letters: list[Letter] = field(default_factory=list)
    onward: list[Collected] = field(default_factory=list)  # for other streams
    counts: Counter[Results] = field(default_factory=Counter)
    received_ms: dict[str, int] = field(default_factory=dict)  # event type → the newest that was applied
    surprises: Counter[str] = field(default_factory=Counter)  # names of exceptions that no fold should raise


def ids_of(entry: Collected) -> tuple[int, ...]:
    """The signed 64-bit numbers by which an entry may be a repeat."""
    message = int.from_bytes(entry.message_id, "big", signed=True)
    return (message, int.from_bytes(entry.once, "big", signed=True)) if entry.once else (message,)


def forwarded_id(entry: Collected, customer: str) -> int:
    """By which a shard remembers that it forwarded an entry of a customer. Not by the entry's own ids: the way may lead
    through other shards back to this one, where it is folded."""
    digest = blake2b(b"%b %b" % (entry.message_id, customer.encode()), digest_size=8, person=b"forwarded")
    return int.from_bytes(digest.digest(), "big", signed=True)


def letter_of(entry: Collected, misfit: Misfit) -> Letter:
    """An entry that was taken at the door and cannot be folded. Nothing of it is left out: it can be judged again."""
    own = entry.type.startswith(OWN)
    return Letter(
        misfit,
        entry.customer,
        entry.type,
        entry.version,
        entry.occurred_at_ms,
        entry.received_at_ms,
        entry.message_id,
        {} if own else entry.properties,
        entry.edges,
        entry.previous,
        entry.source,
        not own,
        entry.known,
        entry.previous_customer,
    )


def _unreadable(entry: StreamEntry, now_ms: int) -> Letter:
    misfit = Misfit(Misfits.UNREADABLE, "no release wrote an entry like this")
    return Letter(misfit, "", "", 0, None, now_ms, blake2b(entry.raw, digest_size=8).digest(), {})
