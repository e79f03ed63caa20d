"""`nextbest replay`: decides every record of a file again, under its own bundle, and says which answers differ (G8)."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from app.core.decision.answer import reason_text
from app.core.decision.arbitrate import Decision
from app.core.decision.ids import id_at
from app.core.decision.record import Record
from app.core.decision.replay import Replayed, Wanted, compared, deciding_again, recorded_scoring
from app.core.decision.score import Scoring
from app.record_work import Answer, Bundles, results, together
from app.records_file import Contents
from app.rescoring import Rescorer
from policy.bundle import Bundle

#: Differences that are shown; all are counted.
SHOWN_MAX = 10
#: What is compared of two decisions to say in words what differs, first things first.
MEMBERS = ("action", "rung", "window", "score", "propensity", "arm", "degraded", "funnel", "exposures", "retryable")


class Difference(NamedTuple):
    decision: str
    what: str


@dataclass(slots=True)
class Replay:
    """What was found. `same + different` are all decisions that could be decided again."""

    requests: int = 0
    same: int = 0
    different: int = 0
    without_bundle: int = 0  # requests
    unreadable: int = 0  # requests
    rescored: int = 0  # decisions
    refused: set[str] = field(default_factory=set)  # models that could not be run
    differences: list[Difference] = field(default_factory=list)

    @property
    def proved(self) -> bool:
        """Whether every record was decided again to the same bytes."""
        return not (self.different or self.without_bundle or self.unreadable)

    def add(self, other: Replay) -> None:
        for name in ("requests", "same", "different", "without_bundle", "unreadable", "rescored"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.refused |= other.refused
        self.differences = (self.differences + other.differences)[:SHOWN_MAX]


def replay_all(
    path: Path, found: Contents, processes: int, registries: Sequence[Path] | None
) -> Iterator[tuple[int, Replay]]:
    """The number of records and what was found, chunk by chunk. With `registries` the models run again."""
    return results(path, found, Replaying, (found.bundles, registries), processes)


class Replaying:
    """One process's part."""

    def __init__(self, canonical: dict[str, bytes], registries: Sequence[Path] | None) -> None:
        self._bundles = Bundles(canonical)
        self._registries = registries
        self._rescorers: dict[Bundle, Rescorer] = {}

    def __call__(self, raws: Sequence[bytes]) -> Replay:
        found = Replay()
        by_bundle: dict[Bundle, list[Record]] = {}
        for raw in raws:
            found.requests += 1
            try:
                record = self._bundles.record(raw)
            except Exception as error:  # whatever a broken record does: it is a finding
                _unreadable(found, error)
                continue
            if record is None:
                found.without_bundle += 1
            else:
                by_bundle.setdefault(record.bundle, []).append(record)
        for bundle, records in by_bundle.items():
            rescorer = None if self._registries is None else self._rescorer(bundle, self._registries)
            decided = together([_again(each, rescorer is not None, found) for each in records], _answer(rescorer))
            for record, replayed in zip(records, decided, strict=True):
                _compare(record, replayed, found)
            found.refused |= set(rescorer.refused if rescorer else ())
        return found

    def _rescorer(self, bundle: Bundle, registries: Sequence[Path]) -> Rescorer:
        if bundle not in self._rescorers:
            self._rescorers[bundle] = Rescorer(bundle, registries)
        return self._rescorers[bundle]


def _answer(rescorer: Rescorer | None) -> Answer:
    return rescorer.score if rescorer is not None else _nothing_to_run


def _nothing_to_run(wanted: Sequence[Wanted]) -> list[Scoring]:
    raise AssertionError(f"{len(wanted)} pools wait for scores that their records hold")


def _again(record: Record, rescore: bool, found: Replay) -> Generator[Wanted, Scoring, list[Replayed] | None]:
    """The request, under way once more. A model is run again only where it spoke then: why it did not, no run tells."""
    again = deciding_again(record)
    scoring: Scoring | None = None
    try:
        while True:
            wanted = next(again) if scoring is None else again.send(scoring)
            recorded = record.decisions[wanted.place]
            if rescore and recorded.responses:
                found.rescored += 1
                scoring = yield wanted
            else:
                scoring = recorded_scoring(recorded, wanted.pool)
    except StopIteration as end:
        return compared(record, end.value)
    except Exception as error:
        _unreadable(found, error)
        return None


def _unreadable(found: Replay, error: Exception) -> None:
    """Only the kind of an error is said: its text may quote the record."""
    found.unreadable += 1
    found.differences.append(Difference("", f"a record cannot be decided again ({type(error).__name__})"))
    del found.differences[SHOWN_MAX:]


def _compare(record: Record, replayed: list[Replayed] | None, found: Replay) -> None:
    for place, each in enumerate(replayed or ()):
        if each.same:
            found.same += 1
            continue
        found.different += 1
        if len(found.differences) < SHOWN_MAX:
            what = differing(record.decisions[place], each.decision)
            found.differences.append(Difference(id_at(record.base, place), what))


def differing(recorded: Decision, decided: Decision) -> str:
    """What differs, in words: `score 0.18 → 0.19`; a few bytes of the answer where nothing else does."""
    found = [
        f"{name} {_shown(getattr(recorded, name))} → {_shown(getattr(decided, name))}"
        for name in MEMBERS
        if getattr(recorded, name) != getattr(decided, name)
    ]
    if reason_text(recorded) != reason_text(decided):
        found.insert(0, f"reason {reason_text(recorded)} → {reason_text(decided)}")
    messages = [_message(recorded), _message(decided)]
    if messages[0] != messages[1]:
        found.insert(0, f"message {messages[0]} → {messages[1]}")
    return "; ".join(found) or "the words of the answer"


def _message(decision: Decision) -> str:
    message = decision.message
    return "none" if message is None else f"{message.id}.{message.variants[decision.variant].id}"


def _shown(value: object) -> str:
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return ", ".join(map(str, value)) or "none"
    return str(value)
