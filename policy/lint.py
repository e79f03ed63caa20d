"""Lint: every mistake of a bundle at once, each with its file, its line, and what to write instead."""

from __future__ import annotations

from pathlib import Path

from policy.checks import check
from policy.not_in_force import not_in_force
from policy.reading import Reading, read_folder
from policy.reports import BundleError, Mistake, Note, Report
from policy.schema import Documents

__all__ = ["BundleError", "Mistake", "Note", "Report", "examine", "lint"]


def lint(path: Path, now_ms: int | None = None, against: Path | None = None) -> Report:
    """Everything that is wrong with the bundle in a folder, and everything worth knowing. `against` is the folder of
    the bundle that is served: a version of an event that both have must take what it took.

    `now_ms` (Unix ms) judges approvals that end; without it none has ended, so that a bundle means the same whenever
    it is read. Whoever authors, reviews or releases a bundle gives the clock.
    """
    report, _ = examine(path, now_ms, against)
    return report


def examine(path: Path, now_ms: int | None = None, against: Path | None = None) -> tuple[Report, Documents | None]:
    """The report, and the validated files where there is no mistake."""
    reading = read_folder(path)
    served = None if against is None else read_folder(against).documents
    found = check(reading, now_ms, served)
    mistakes = tuple(sorted({*reading.mistakes, *found.mistakes}))
    notes = tuple(sorted({*found.notes, *_unused(reading)}))
    return Report(mistakes, notes), None if mistakes else reading.documents


def _unused(reading: Reading) -> list[Note]:
    notes = []
    for part in not_in_force(reading.documents):
        line, column = reading.trees[part.file].place(part.path) if part.file in reading.trees else (1, 1)
        notes.append(Note(part.file, line, "not_in_force", f"{part.what} is accepted, not in force yet", column))
    return notes
