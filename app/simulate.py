"""`nextbest simulate`: decides the records of a file under another bundle and counts what differs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from app.core.decision.moving import Move
from app.core.decision.record import Record
from app.core.decision.simulation import Tally, simulate
from app.record_work import Bundles, results, together
from app.records_file import Contents
from app.rescoring import Rescorer
from policy.bundle import Bundle
from policy.compile import from_canonical


def simulate_all(
    path: Path, found: Contents, bundle: Bundle, registries: Sequence[Path], processes: int
) -> Iterator[tuple[int, Tally]]:
    """The number of records and what was counted, chunk by chunk. `registries`: where the bundle's models are."""
    arguments = (found.bundles, found.aborted, bundle.canonical, tuple(registries))
    return results(path, found, Simulating, arguments, processes)


class Simulating:
    """One process's part."""

    def __init__(
        self, canonical: dict[str, bytes], aborted: frozenset[str], new: bytes, registries: Sequence[Path]
    ) -> None:
        self._bundles = Bundles(canonical)
        self._aborted = aborted
        self._new = from_canonical(new)
        self._rescorer = Rescorer(self._new, registries)
        self._moves: dict[Bundle, Move] = {}

    def __call__(self, raws: Sequence[bytes]) -> Tally:
        tally = Tally()
        records = [record for raw in raws if (record := self._record(raw, tally)) is not None]
        together([simulate(each, self._move(each.bundle), tally) for each in records], self._rescorer.score)
        tally.refused.update(self._rescorer.refused)
        return tally

    def _record(self, raw: bytes, tally: Tally) -> Record | None:
        try:
            record = self._bundles.record(raw)
        except Exception:  # a broken record is no reason to say nothing of the others
            tally.unreadable += 1
            return None
        if record is None:
            tally.without_bundle += 1
        elif record.base in self._aborted:
            tally.aborted += 1
        else:
            return record
        return None

    def _move(self, old: Bundle) -> Move:
        if old not in self._moves:
            self._moves[old] = Move(old, self._new)
        return self._moves[old]
