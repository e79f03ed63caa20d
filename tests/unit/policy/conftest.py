"""A complete bundle that tests spoil, one line at a time."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from policy.lint import Mistake, Report, lint

COMPLETE = Path(__file__).parent / "bundles" / "complete"


@dataclass(frozen=True, slots=True)
class Folder:
    """A bundle's folder that may be changed."""

    path: Path

    def change(self, file: str, old: str, new: str) -> None:
        """Replaces a text that stands exactly once."""
        text = (self.path / file).read_text()
        assert text.count(old) == 1, f"`{old}` stands {text.count(old)} times in {file}"
        (self.path / file).write_text(text.replace(old, new))

    def add(self, file: str, text: str) -> None:
        with (self.path / file).open("a") as opened:
            opened.write(text)

    def line(self, file: str, needle: str) -> int:
        """The number of the first line that holds a text."""
        lines = (self.path / file).read_text().splitlines()
        return next(number for number, line in enumerate(lines, 1) if needle in line)

    def report(self) -> Report:
        return lint(self.path)

    def mistakes(self) -> tuple[Mistake, ...]:
        return lint(self.path).mistakes


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """The complete bundle, free to be spoilt."""
    return Folder(Path(shutil.copytree(COMPLETE, tmp_path / "bundle")))
