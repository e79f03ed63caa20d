"""A bundle with one file exchanged: lint answers with mistakes, or what it accepts can be served.

Input: which file (a byte), and its text.
"""

from __future__ import annotations

import atexit
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from policy.compile import load
from policy.lint import lint
from tests.fuzz.targets.yaml import COMPLETE
from tests.fuzz.targets.yaml import WORDS as YAML_WORDS

FILES = tuple(sorted(path.name for path in COMPLETE.iterdir()))
NOW_MS = 1_796_083_200_000  # 2026-12-01T00:00:00Z
WORDS = (
    *YAML_WORDS, b"id: ", b"when: ", b"channel: email", b"purpose: marketing", b"7d", b"customer.", b"context.",
    b"segment.", b" && ", b"has(", b"mens_email", b"null", b"type: float", b"fold: sum", b"\xf0\x9f\x98\x80",
)  # fmt: skip


@cache
def folder() -> Path:
    """The complete bundle, in memory where the machine has such a place."""
    memory = Path("/dev/shm")
    made = Path(mkdtemp(prefix="nextbest-fuzz-", dir=memory if memory.is_dir() else None))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(shutil.copytree(COMPLETE, made / "bundle"))


def seeds() -> Iterator[bytes]:
    for place, name in enumerate(FILES):
        yield bytes((place,)) + (COMPLETE / name).read_bytes()


def run(data: bytes) -> None:
    if not data:
        return
    path = folder() / FILES[data[0] % len(FILES)]
    whole = path.read_bytes()
    try:
        path.write_bytes(data[1:])
        report = lint(folder(), NOW_MS)
        for mistake in report.mistakes:
            assert mistake.line >= 1
            assert mistake.message
            assert mistake.remedy
        if not report.mistakes:
            load(folder())
    finally:
        path.write_bytes(whole)
