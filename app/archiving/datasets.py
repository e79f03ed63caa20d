"""What is archived: three streams of each shard, each in a folder of its own, written and tidied the same way.

events/      what customers did                       columns.py
decisions/   what was decided, and why                decision_rows.py
outcomes/    what happened, and what it earned        outcome_rows.py
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, TypeAlias

import pyarrow as pa

from app.archiving import columns, decision_rows, outcome_rows
from app.archiving.rows import RowsOf
from app.store.archive_positions import Entry
from app.store.archive_sources import DECISIONS, EVENTS, OUTCOMES, Source

#: Learns what rows need to be made of what was read of shards (which bundles records refer to).
Prepare: TypeAlias = Callable[[Mapping[int, list[Entry]]], Awaitable[RowsOf]]


class Dataset(NamedTuple):
    """One stream as Parquet."""

    source: Source
    schema: pa.Schema
    #: Whom an entry is about, and the time by which an erasure of them takes it in (Unix ms); None: nobody knows.
    whose: Callable[[Entry], tuple[str, int] | None]
    told: str  # the column that holds that time

    @property
    def name(self) -> str:
        """Of its folder."""
        return self.source.name


EVENT_SET = Dataset(EVENTS, columns.SCHEMA, columns.whose, "received_at")
DECISION_SET = Dataset(DECISIONS, decision_rows.SCHEMA, decision_rows.whose, "decided_at")
OUTCOME_SET = Dataset(OUTCOMES, outcome_rows.SCHEMA, outcome_rows.whose, "told_at")
DATASETS = (EVENT_SET, DECISION_SET, OUTCOME_SET)


async def events_as_they_are(_: Mapping[int, list[Entry]]) -> RowsOf:
    """`Prepare` of events."""
    return columns.rows_of


async def outcomes_as_they_are(_: Mapping[int, list[Entry]]) -> RowsOf:
    """`Prepare` of outcomes."""
    return outcome_rows.rows_of
