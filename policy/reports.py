"""What lint says: mistakes, which keep a bundle from being served, and notes, which do not."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """Something that must be changed: where (`line` and `column` count from 1), what, and what to write instead.

    `code` is stable, so that tools can branch on it.
    """

    file: str
    line: int
    code: str
    message: str
    remedy: str
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}; {self.remedy} [{self.code}]"


@dataclass(frozen=True, slots=True, order=True)
class Note:
    """Something to know: a part that is not in force yet, or a rule that may meet a missing fact."""

    file: str
    line: int
    code: str
    message: str
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message} [{self.code}]"


@dataclass(frozen=True, slots=True)
class Report:
    """All that lint found, in the order of files and lines."""

    mistakes: tuple[Mistake, ...]
    notes: tuple[Note, ...]


class BundleError(Exception):
    """A bundle that cannot be served, with every one of its mistakes."""

    def __init__(self, mistakes: tuple[Mistake, ...]) -> None:
        lines = [f"the bundle has {len(mistakes)} mistake{'s' * (len(mistakes) != 1)}", *map(str, mistakes)]
        super().__init__("\n  ".join(lines))
        self.mistakes = mistakes
