"""Whether what was done explains what the store's memory grew by: each thing that was done leaves so many bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from app.store.decisions import STREAM_ENTRY_BYTES
from loadtests.capacity import measured as m
from loadtests.mix.page import table
from loadtests.mix.slo import Goal
from loadtests.soak.held import Held
from loadtests.soak.verdict import LEAST_MINUTES

MIB = 2**20
#: What the model may miss: an allocator's slack, tables of keys, what belongs to a customer and not to what was done.
MISSED = 0.2
#: Of less, buffers, tables of keys and the features of customers are too large a part to be left out.
LEAST_MIB = 100.0


class Part(NamedTuple):
    """What one kind of thing explains."""

    what: str
    family: str
    number: int  # that lie in the store and were told: what lies there beyond that explains nothing
    each: float  # bytes

    @property
    def mib(self) -> float:
        return self.number * self.each / MIB


def explained(before: Held, after: Held, told: Mapping[str, int]) -> list[Part]:
    """`told`: what callers were told was done. Events are gone from their streams when they are folded and archived:
    one that waits explains nothing."""
    decisions, outcomes = told.get("decisions", 0) + told.get("decisions to repeat", 0), told.get("outcomes", 0)
    leaves = (
        ("records of decisions", "decisions", decisions, after.record_bytes + STREAM_ENTRY_BYTES),
        ("sends, by their ids", "d", decisions, m.SENT_BYTES.value),
        ("contacts in ledgers", "l", decisions, m.LEDGER_BYTES.value / 10),
        ("outcomes in their streams", "outcomes", outcomes, m.OUTCOME_BYTES.value),
        ("sends of which something is known", "o", outcomes, m.KNOWN_BYTES.value),
        ("mails, by their ids", "pm", outcomes, m.MAIL_BYTES.value),
    )
    parts = [
        Part(what, family, min(things(after, family) - things(before, family), most), each)
        for what, family, most, each in leaves
    ]
    return [
        *parts,
        Part("outcomes, known of their sends", "o", outcomes, m.KNOWN_OUTCOME_BYTES.value),
        Part("repeats of events", "seen", told.get("events", 0), m.REPEAT_BYTES.value),
    ]


def things(held: Held, family: str) -> int:
    return held.families[family].things if family in held.families else 0


def growth_goal(before: Held, after: Held, parts: list[Part], minutes: float) -> Goal:
    """Of a run of so many minutes: a short one, or one that did little, shows buffers that fill, and is not judged."""
    grown, known = (after.resident - before.resident) / MIB, sum(part.mib for part in parts)
    first, second, *_ = sorted(parts, key=lambda part: -part.mib)
    met = abs(grown - known) <= MISSED * grown
    return Goal(
        what="store: memory that it grew by",
        wanted=f"explained within {MISSED:.0%}",
        found=f"{grown:.0f} MiB; explained {known:.0f}: {first.what} {first.mib:.0f}, {second.what} {second.mib:.0f}",
        met=met if minutes >= LEAST_MINUTES and max(grown, known) >= LEAST_MIB else None,
    )


def page_part(before: Held, after: Held, parts: list[Part]) -> str:
    """For the page: by family of keys, what the store says that it holds more, and what is explained of it."""
    rows = []
    for name, family in sorted(after.families.items(), key=lambda each: -each[1].bytes):
        grown = family.bytes - (before.families[name].bytes if name in before.families else 0.0)
        own = [part for part in parts if part.family == name]
        how = " + ".join(f"{part.number:,} {part.what} × {part.each:,.0f} B" for part in own)
        mib = f"{sum(part.mib for part in own):.1f}" if own else ""
        rows.append((name, f"{family.keys:,}", f"{family.things:,}", f"{grown / MIB:.1f}", mib, how))
    caption = "What the store holds more than at the begin, by family of keys, as it says itself of a sample"
    return table(caption, ("family", "keys", "entries", "MiB more", "MiB explained", "by"), rows)
