"""Mutation testing: how many small mistakes in `policy/` somebody would notice (`make mutate`).

mutmut makes the mistakes, one at a time: `<` for `<=`, `None` for a value, an argument left out. mypy refuses those
that could not be merged; the unit tests meet the rest. All of it happens in a copy, `reports/mutation`, that stays for
`mutmut browse`. One thing is different there, and some are left alone:

- Caches are taken off: mutmut skips decorated functions, and an answer remembered from before would hide a mutant.
- Strings that hold a blank are words for people. A test that repeats them word by word would hold nothing else.
- Properties, pydantic validators and the bodies of modules and classes are beyond mutmut: it mutates plain functions.

    python -m tests.mutation.run                       everything, in about an hour on one core
    python -m tests.mutation.run "policy.hours*"       one file
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import libcst as cst
from mutmut.__main__ import cli
from mutmut.mutation import mutators
from mutmut.stats import status_by_exit_code

ROOT = Path(__file__).parents[2]
COPY = ROOT / "reports" / "mutation"
COPIED = ("app", "policy", "models", "loadtests", "tests", "docs", "pyproject.toml", "README.md", "Makefile")
_CACHE = re.compile(r"^@(?:lru_)?cache(?:\(.*\))?(?: *#.*)?\n", re.MULTILINE)
KILLED, LIVES = ("killed", "timeout"), ("survived", "no tests", "suspicious", "segfault")


def main(mutants: list[str]) -> None:
    _copy()
    os.chdir(COPY)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # the type checker's python
    _leave_words_alone()
    try:
        cli(["run", "--max-children", "1", *mutants], standalone_mode=False)
    finally:
        sys.stdout.write("\n".join(_table()) + "\n")


def _copy() -> None:
    """The project as it is now. What mutmut found before stays in `mutants/`, and holds for functions that did not
    change."""
    COPY.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        source, target = ROOT / name, COPY / name
        if source.is_file():
            shutil.copy2(source, target)
            continue
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for file in (*COPY.glob("policy/*.py"), *COPY.glob("app/core/**/*.py")):
        file.write_text(_CACHE.sub("", file.read_text()))


def _leave_words_alone() -> None:
    """One mutant a string, none of words for people: the place in the list of operators is taken by our own."""
    place = next(
        i for i, (_, operator) in enumerate(mutators.mutation_operators) if operator is mutators.operator_string
    )
    mutators.mutation_operators[place] = (cst.SimpleString, _string)  # type: ignore[index]


def _string(node: cst.SimpleString) -> Iterator[cst.BaseString]:
    if not re.search(r"\w\s|\s\w", node.raw_value):
        yield from list(mutators.operator_string(node))[:1]


def _table() -> Iterator[str]:
    """A line per file: tested mutants that did not survive; what the type checker refused is not among them."""
    whole: Counter[str] = Counter()
    yield "| file | killed | survived | score | refused by mypy |\n| --- | --- | --- | --- | --- |"
    for file in sorted(Path("mutants").rglob("*.meta")):
        counts = Counter(
            status_by_exit_code[code] for code in json.loads(file.read_text())["exit_code_by_key"].values()
        )
        if counts.total() > counts["not checked"]:
            whole += counts
            yield _line(f"`{file.relative_to('mutants').with_suffix('')}`", counts)
    yield _line("all", whole)


def _line(name: str, counts: Counter[str]) -> str:
    killed, lives = (sum(counts[status] for status in group) for group in (KILLED, LIVES))
    score = f"{killed / (killed + lives):.1%}" if killed + lives else "–"
    return f"| {name} | {killed} | {lives} | {score} | {counts['caught by type check']} |"


if __name__ == "__main__":
    main(sys.argv[1:])
