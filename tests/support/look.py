"""What tests look up in the store itself, past the server: contacts, records, keys of a customer."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from app.core.decision.ids import id_at
from app.core.decision.record import Record, base_of_record, bundle_digest_of, decode
from app.store.keys import Keys
from policy.bundle import Bundle
from policy.codes import Action

KEYS = Keys(256)
#: A redis-py client. Its own types allow for answers in text, which it was not asked for.
Inside: TypeAlias = Any


class Entry(NamedTuple):
    """A record in the decision log."""

    at_ms: int  # when the store appended it
    raw: bytes

    @property
    def decision_id(self) -> str:
        """Of the request's first placement."""
        return id_at(base_of_record(self.raw), 0)


def contacts(store: Inside, customer: str) -> int:
    """How many contacts the ledger counts."""
    return int(store.zcard(KEYS.of(customer).ledger))


def log(store: Inside, customer: str) -> list[Entry]:
    """All records about a customer, oldest first."""
    entries = store.xrange(KEYS.of(customer).decisions)
    mark = customer.encode()
    return [Entry(int(at.split(b"-")[0]), e[b"r"]) for at, e in entries if b"r" in e and mark in e[b"r"]]


def records(store: Inside, customer: str, bundle: Bundle) -> list[Record]:
    """The same, read; only those of `bundle`."""
    return [decode(e.raw, bundle) for e in log(store, customer) if bundle_digest_of(e.raw) == bundle.digest]


def idempotency_keys(store: Inside, customer: str) -> list[bytes]:
    """Names of what is kept under the customer's idempotency keys."""
    return list(store.scan_iter(KEYS.of(customer).idempotency_prefix + b"*", count=10_000))


def action(entry: Entry, bundle: Bundle) -> Action:
    """What the request's first placement was told."""
    return decode(entry.raw, bundle).decisions[0].action
