"""Targets of many small parsers: the first byte of an input says which of them reads the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from app.errors import Problem


def one_of(parsers: Sequence[Callable[[bytes], object]]) -> Callable[[bytes], None]:
    """What a target runs. A problem is an answer, so it must be one that can be rendered."""

    def run(data: bytes) -> None:
        if not data:
            return
        try:
            parsers[data[0] % len(parsers)](data[1:])
        except Problem as problem:
            problem.render()

    return run
