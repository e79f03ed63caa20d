"""Collects what the checks across files find, each at the place in the file where it was written."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from policy.reading import Reading
from policy.reports import Mistake, Note
from policy.rule_types import did_you_mean
from policy.schema import Documents
from policy.schema.types import Identified
from policy.source import Path


@dataclass(slots=True)
class Findings:
    """The findings so far, and the folder that they are about."""

    reading: Reading
    mistakes: list[Mistake] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    @property
    def documents(self) -> Documents:
        return self.reading.documents

    def place(self, file: str, path: Path, offset: int | None = None) -> tuple[int, int]:
        """(line, column) of a path, or of a character in the text there."""
        tree = self.reading.trees.get(file)
        if tree is None:
            return 1, 1
        return tree.place(path) if offset is None else tree.place_in_text(path, offset)

    def mistake(self, file: str, path: Path, code: str, message: str, remedy: str, offset: int | None = None) -> None:
        line, column = self.place(file, path, offset)
        self.mistakes.append(Mistake(file, line, code, message, remedy, column=column))

    def note(self, file: str, path: Path, code: str, message: str, offset: int | None = None) -> None:
        line, column = self.place(file, path, offset)
        self.notes.append(Note(file, line, code, message, column=column))

    def ids(self, collection: str, items: Iterable[Identified]) -> set[str]:
        """Ids of a collection, with those of items that were set aside: they exist, though they do not fit."""
        return {item.id for item in items} | self.reading.set_aside.get(collection, set())

    def refer(self, file: str, path: Path, kind: str, name: str | None, known: Collection[str]) -> bool:
        """Whether a name exists; a mistake where it does not. Says nothing where the naming file cannot be read."""
        home = HOMES[kind]
        if name is None or name in known or home in self.reading.incomplete:
            return name in known
        remedy = did_you_mean(name, known, f"declare it in {home}")
        self.mistake(file, path, f"unknown_{kind}", f"unknown {kind} `{name}`", remedy)
        return False


#: kind of name → the file that declares it.
HOMES = {
    "message": "messages.yaml",
    "category": "messages.yaml",
    "variant": "messages.yaml",
    "placement": "placements.yaml",
    "model": "models.yaml",
    "purpose": "consent.yaml",
    "approval": "data.yaml",
}
