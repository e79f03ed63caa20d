"""Mutation testing: how many small mistakes in `policy/` somebody would notice (`make mutate`).

mutmut makes the mistakes, one at a time: `<` for `<=`, `None` for a value, an argument left out. mypy refuses those
that could not be merged; the unit tests meet the rest (`session.py`). All of it happens in a copy, `reports/mutation`.
One thing is different there, and some are left alone:

- Caches are taken off: mutmut skips decorated functions, and an answer remembered from before would hide a mutant.
- Strings that hold a blank are words for people. A test that repeats them word by word would hold nothing else.
- Properties, pydantic validators and the bodies of modules and classes are beyond mutmut: it mutates plain functions.

What was found before is kept in the copy, for functions that did not change; survivors meet the tests again.

    python -m tests.mutation.run                       everything
    python -m tests.mutation.run "policy.hours*"       one file
"""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import libcst as cst
import pytest
from mutmut.__main__ import create_mutants
from mutmut.configuration import config
from mutmut.mutation import mutators
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.file_mutation import filter_mutants_with_type_checker
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import copy_also_copy_files, copy_src_dir, setup_source_paths, walk_mutatable_files

from tests.mutation.session import Session

ROOT = Path(__file__).parents[2]
COPY = ROOT / "reports" / "mutation"
COPIED = ("app", "policy", "models", "loadtests", "tests", "docs", "pyproject.toml", "README.md", "Makefile")
_CACHE = re.compile(rb"^@(?:lru_)?cache(?:\(.*\))?(?: *#.*)?\n", re.MULTILINE)
REFUSED = 37  # by the type checker
KILLED, LIVES = ("killed", "timeout"), ("survived", "no tests", "suspicious", "segfault")


def main(wanted: list[str]) -> None:
    _copy()
    os.chdir(COPY)
    _forget_the_original()
    _leave_words_alone()
    files = _mutated()
    mutants = {
        name: data
        for data in files
        for name, code in data.exit_code_by_key.items()
        if code is None or status_by_exit_code[code] in LIVES
        if not wanted or any(fnmatch.fnmatch(name, pattern) for pattern in wanted)
    }
    os.chdir("mutants")

    def heard(mutant: str, code: int) -> None:
        mutants[mutant].exit_code_by_key[mutant] = code
        mutants[mutant].meta_path = COPY / mutants[mutant].meta_path
        mutants[mutant].save()

    tests = [*config().pytest_add_cli_args, *config().pytest_add_cli_args_test_selection]
    options = ["-q", "-x", "-s", "--rootdir=.", "-p", "no:cacheprovider"]
    pytest.main([*options, *tests], plugins=[Session([*mutants], heard)])
    sys.stdout.write("\n".join(_table(files)) + "\n")


def _copy() -> None:
    """The project as it is now; what did not change is left alone, because mutmut looks at the times of files."""
    for name in COPIED:
        for source in [ROOT / name] if (ROOT / name).is_file() else sorted((ROOT / name).rglob("*")):
            if source.is_file() and "__pycache__" not in source.parts:
                path = source.relative_to(ROOT)
                content = source.read_bytes()
                if path.suffix == ".py" and (path.parts[0] == "policy" or path.parts[:2] == ("app", "core")):
                    content = _CACHE.sub(b"", content)
                _write(COPY / path, content)
                if path.parts[0] == "policy" and path.suffix != ".py":
                    _write(COPY / "mutants" / path, content)


def _write(path: Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _forget_the_original() -> None:
    """Tests shall import the copy's `tests` and `policy`, not those that this file came from."""
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != ROOT]
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]


def _leave_words_alone() -> None:
    """One mutant a string, none of words for people: the place in the list of operators is taken by our own."""
    operators = mutators.mutation_operators
    place = next(place for place, (_, operator) in enumerate(operators) if operator is mutators.operator_string)
    operators[place] = (cst.SimpleString, _string)  # type: ignore[index]  # a list, declared as a Sequence


def _string(node: cst.SimpleString) -> Iterator[cst.BaseString]:
    if not re.search(r"\w\s|\s\w", node.raw_value):
        yield from list(mutators.operator_string(node))[:1]


def _mutated() -> list[SourceFileMutationData]:
    """The mutants of every file, with what the type checker says of them."""
    shutil.rmtree("mutants/tests", ignore_errors=True)
    Path("mutants").mkdir(exist_ok=True)
    copy_src_dir()
    copy_also_copy_files()
    setup_source_paths()
    create_mutants(1)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # the type checker's python
    refused = filter_mutants_with_type_checker()
    files = []
    for path in walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        data.load()
        for name, code in data.exit_code_by_key.items():
            if name in refused:
                data.exit_code_by_key[name] = REFUSED
            elif code == REFUSED:
                data.exit_code_by_key[name] = None
        data.save()
        files.append(data)
    return files


def _table(files: list[SourceFileMutationData]) -> Iterator[str]:
    """A line per file: of the mutants that met the tests, those that did not survive."""
    whole: Counter[str] = Counter()
    yield "| file | refused by mypy | killed by a test | survived | score of the tests |"
    yield "| --- | --- | --- | --- | --- |"
    for data in files:
        counts = Counter(status_by_exit_code[code] for code in data.exit_code_by_key.values())
        if counts.total() and not counts["not checked"]:
            whole += counts
            yield _line(f"`{data.path}`", counts)
    yield _line("all", whole)


def _line(name: str, counts: Counter[str]) -> str:
    killed, lives = (sum(counts[status] for status in group) for group in (KILLED, LIVES))
    score = f"{killed / (killed + lives):.1%}" if killed + lives else "–"
    return f"| {name} | {counts['caught by type check']} | {killed} | {lives} | {score} |"


if __name__ == "__main__":
    main(sys.argv[1:])
