"""Which streams of a shard are archived, and where each says up to where it may be trimmed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from app.store.keys import Keys


class Source(NamedTuple):
    """One stream of every shard. `name` is that of its folder too; `archived`: the field, beside the lease of the
    shard's worker, that holds its last archived entry. Where the field is, an archiver exists, and nothing behind it is
    trimmed."""

    name: str
    stream: Callable[[Keys, int], bytes]
    archived: bytes


EVENTS = Source("events", Keys.events, b"archived")
DECISIONS = Source("decisions", Keys.decisions, b"archived_decisions")
OUTCOMES = Source("outcomes", Keys.outcome_stream, b"archived_outcomes")
SOURCES = (EVENTS, DECISIONS, OUTCOMES)
