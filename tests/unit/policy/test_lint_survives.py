"""Lint answers whatever it is given, and what it accepts can be served."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from policy.compile import load
from policy.lint import lint

COMPLETE = Path(__file__).parent / "bundles" / "complete"
FILES = sorted(path.name for path in COMPLETE.iterdir())
WORDS = ["", "null", "[]", "{}", "- ", "1", "true", "'x'", "mens_email", "{id: x}", "7d", "&a", "*a", "\t"]


@st.composite
def spoilt(draw: st.DrawFn) -> tuple[str, str]:
    """A file of the complete bundle with one stretch of it replaced or removed."""
    file = draw(st.sampled_from(FILES))
    text = (COMPLETE / file).read_text()
    # Cuts fall at the edges of words, where changes still give YAML now and then.
    edges = [0, *(at for at in range(1, len(text)) if text[at - 1].isalnum() != text[at].isalnum()), len(text)]
    first = draw(st.integers(0, len(edges) - 1))
    last = min(len(edges) - 1, first + draw(st.integers(0, 6)))
    return file, text[: edges[first]] + draw(st.sampled_from(WORDS)) + text[edges[last] :]


@settings(max_examples=60, deadline=None)
@given(st.lists(spoilt(), min_size=1, max_size=3))
def test_lint_answers_with_mistakes_or_the_bundle_loads(changes: list[tuple[str, str]]) -> None:
    with TemporaryDirectory() as temporary:
        folder = Path(shutil.copytree(COMPLETE, Path(temporary) / "bundle"))
        for file, text in changes:
            (folder / file).write_text(text)
        report = lint(folder)
        for mistake in report.mistakes:
            assert mistake.line >= 1
            assert mistake.message
            assert mistake.remedy
        if not report.mistakes:
            load(folder)
