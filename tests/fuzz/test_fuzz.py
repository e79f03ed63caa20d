"""Whatever comes in, every parser answers in a declared way: the kept inputs again, and seeded changes of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random

import pytest

from tests.fuzz import kept
from tests.fuzz.mutate import changed
from tests.fuzz.targets import NAMES, target_of

#: Changes of one target in a run; those that take long have fewer.
CHANGES, SLOW = 300, {"bundles": 60, "rules": 100, "imports": 150}
#: Of one input, processor time: a hundred times what the slowest needs.
HANGS_S = 5.0


@pytest.mark.parametrize("name", NAMES)
def test_what_the_fuzzer_found_is_answered_in_a_declared_way(name: str) -> None:
    target = target_of(name)
    inputs = [*target.seeds, *kept.inputs(name)]
    for data in inputs:
        answered(target.run, data)
    chance = Random(name)
    for _ in range(SLOW.get(name, CHANGES)):
        data, made = chance.choice(inputs), None
        if target.mutate is not None:
            made = target.mutate(data, chance)
        answered(target.run, made or changed(data, inputs, target.words, chance))


def answered(run: Callable[[bytes], object], data: bytes) -> None:
    began_s = time.process_time()
    try:
        run(data)
    except BaseException as error:
        error.add_note(f"input: {data[:500]!r}")
        raise
    assert time.process_time() - began_s < HANGS_S, data[:500]


def test_the_corpus_is_small() -> None:
    """It is read in every run of the tests, and lies in every checkout."""
    files = [path for path in kept.FOLDER.rglob("*") if path.is_file()]
    assert len(files) > len(NAMES)
    assert sum(path.stat().st_size for path in files) < 200_000
