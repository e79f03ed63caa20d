"""What another bundle would have decided: recorded requests, decided again under it, and what differs, counted.

Each record stands on its own recorded ledger. A contact that is newly made here, and everything that it would have
forbidden afterwards, is not in the later records: where many are newly contacted, limits would be hit more often than
this says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import TypeAlias

from app.core.decision.answer import reason_text
from app.core.decision.arbitrate import Decision
from app.core.decision.difference import Change, change_of, limits_hit, why
from app.core.decision.ids import id_at
from app.core.decision.moving import Move, Moved, Pair, lacking, recorded_scores
from app.core.decision.record import Record
from app.core.decision.replay import Wanted, deciding, recorded_scoring, was_unreadable
from app.core.decision.score import Scoring
from app.core.decision.segments import Membership, segments_of
from policy.codes import Action, Degraded

#: Decisions named beside each kind of change, for whoever wants to look at some.
EXAMPLES_MAX = 5

#: Decisions under the other bundle, in the order asked for; None where it has no such placement.
Decisions: TypeAlias = "list[Decision | None]"


@dataclass(slots=True)
class Tally:
    """What was counted; of decisions, unless said. Adding up parts gives the whole, whatever the parts."""

    requests: int = 0
    decisions: int = 0
    aborted: int = 0  # requests that were decided and never answered: they are left out
    unreadable: int = 0  # records that could not be read under their own bundle
    without_bundle: int = 0  # records whose bundle is not there
    first_ms: int | None = None
    last_ms: int | None = None
    changes: Counter[Change] = field(default_factory=Counter)
    whys: Counter[tuple[Change, str]] = field(default_factory=Counter)
    actions: Counter[tuple[str, str]] = field(default_factory=Counter)  # before, after
    rungs: Counter[tuple[str, str]] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)  # "before" or "after", reason
    limits: Counter[tuple[str, str]] = field(default_factory=Counter)  # "before" or "after", name
    messages: Counter[tuple[str, str]] = field(default_factory=Counter)  # sends: "before" or "after", message
    parts: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # kind, name, what was counted
    notes: Counter[tuple[str, str]] = field(default_factory=Counter)  # requests: kind of note, name
    scores: Counter[str] = field(default_factory=Counter)  # where the scores came from
    refused: set[str] = field(default_factory=set)  # models that could not be run, and why
    examples: dict[Change, list[tuple[str, str]]] = field(default_factory=dict)  # decision, customer

    def add(self, other: Tally) -> None:
        """Add what was counted after this."""
        self.first_ms = _known(min, self.first_ms, other.first_ms)
        self.last_ms = _known(max, self.last_ms, other.last_ms)
        for name in ("requests", "decisions", "aborted", "unreadable", "without_bundle"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for each in fields(self):
            mine, theirs = getattr(self, each.name), getattr(other, each.name)
            if isinstance(mine, Counter):
                mine.update(theirs)
        self.refused |= other.refused
        for change, examples in other.examples.items():
            self.examples[change] = (self.examples.get(change, []) + examples)[:EXAMPLES_MAX]


def _known(choose: Callable[[list[int]], int], *times: int | None) -> int | None:
    found = [each for each in times if each is not None]
    return choose(found) if found else None


def simulate(record: Record, move: Move, tally: Tally) -> Generator[Wanted, Scoring, Decisions]:
    """The record's request under the other bundle, under way. It yields only what a model must be asked now."""
    moved = move.moved(record)
    pairs = [(place, pair) for place, pair in enumerate(moved.pairs) if pair is not None]
    again = deciding(moved.situation, [pair.new for _, pair in pairs], record.base, was_unreadable(record.decisions))
    decided = yield from _answered(again, record, pairs, move, tally)
    decisions: Decisions = [None] * len(moved.pairs)
    for (place, _), decision in zip(pairs, decided, strict=True):
        decisions[place] = decision
    _count(record, moved, decisions, move, tally)
    return decisions


def _answered(
    again: Generator[Wanted, Scoring, list[Decision]],
    record: Record,
    pairs: Sequence[tuple[int, Pair]],
    move: Move,
    tally: Tally,
) -> Generator[Wanted, Scoring, list[Decision]]:
    """Hand on what the record itself cannot answer."""
    same_bundle = move.old.digest == move.new.digest
    scoring: Scoring | None = None
    while True:
        try:
            wanted = next(again) if scoring is None else again.send(scoring)
        except StopIteration as end:
            decided: list[Decision] = end.value
            return decided
        place, pair = pairs[wanted.place]
        recorded = record.decisions[place]
        if same_bundle:
            scoring = recorded_scoring(recorded, wanted.pool)
        else:
            scoring = recorded_scores(pair, recorded, wanted.pool)
        if scoring is None:
            scoring = yield wanted
            tally.scores["no_model" if scoring.degraded is Degraded.MODEL_MISSING else "model_run"] += 1
        else:
            tally.scores["recorded"] += 1


def _count(record: Record, moved: Moved, decisions: Decisions, move: Move, tally: Tally) -> None:
    now_ms = record.facts.now_ms
    tally.requests += 1
    tally.first_ms = _known(min, tally.first_ms, now_ms)
    tally.last_ms = _known(max, tally.last_ms, now_ms)
    tally.notes.update(dict.fromkeys(moved.notes, 1))
    memberships = segments_of(move.new).of(moved.situation)
    lacked: set[str] = set()
    for place, (before, after) in enumerate(zip(record.decisions, decisions, strict=True)):
        pair = moved.pairs[place]
        if pair is None or after is None:
            tally.notes["placement_gone", before.placement.id] += 1
        elif move.old.digest != move.new.digest:
            lacked.update(lacking(pair, before, after, record.facts.values))
        change = change_of(before, after)
        _count_decision(before, after, change, move, tally)
        for part in _parts(before, moved, memberships):
            _count_part(part, before, after, change, tally)
        if change is not Change.SAME:
            tally.whys[change, why(change, before, after, move.old, move.new)] += 1
            examples = tally.examples.setdefault(change, [])
            if len(examples) < EXAMPLES_MAX:
                examples.append((id_at(record.base, place), record.asked.customer))
    tally.notes.update(("fact_lacking", name) for name in lacked)


def _count_decision(before: Decision, after: Decision | None, change: Change, move: Move, tally: Tally) -> None:
    tally.decisions += 1
    tally.changes[change] += 1
    tally.actions[before.action.value, "gone" if after is None else after.action.value] += 1
    tally.rungs[before.rung.value, "gone" if after is None else after.rung.value] += 1
    for when, decision, bundle in (("before", before, move.old), ("after", after, move.new)):
        if decision is None:
            continue
        tally.reasons[when, reason_text(decision)] += 1
        for name in limits_hit(decision, bundle):
            tally.limits[when, name] += 1
        if decision.action is Action.SEND and decision.message is not None:
            tally.messages[when, decision.message.id] += 1


def _parts(before: Decision, moved: Moved, memberships: dict[str, Membership]) -> Iterator[tuple[str, str]]:
    """The parts of all decisions to which this one belongs."""
    yield "placement", before.placement.id
    yield "region", moved.situation.region_code or "unknown"
    for name, membership in memberships.items():
        if membership is Membership.IN:
            yield "segment", name
        elif membership is Membership.UNKNOWN:
            yield "segment", f"{name}: unknown"


def _count_part(part: tuple[str, str], before: Decision, after: Decision | None, change: Change, tally: Tally) -> None:
    parts = tally.parts
    parts[*part, "decisions"] += 1
    if before.action is Action.SEND:
        parts[*part, "before"] += 1
    if after is not None and after.action is Action.SEND:
        parts[*part, "after"] += 1
    if change is not Change.SAME:
        parts[*part, change.value] += 1
