"""`docs/threats.md` names a test for each threat: they exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "threats.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)


def test_each_test_that_the_threat_model_names_exists() -> None:
    assert len(NAMED) > 30
    assert [(path, name) for path, name in NAMED if name not in names_in(ROOT / path)] == []


def test_each_threat_names_a_test() -> None:
    """Every row of the six tables that are headed by a threat."""
    rows = [line for part in re.split(r"^\| threat .*$", PAGE, flags=re.M)[1:] for line in table_of(part)]
    assert len(rows) > 30
    assert [row for row in rows if not re.search(r"`tests/[\w/]+\.py::\w+`", row)] == []


def table_of(part: str) -> list[str]:
    """The rows that come first in it, without the rule under the head."""
    table = part.strip().partition("\n\n")[0]
    return [line for line in table.splitlines() if line.startswith("| ")]


def names_in(path: Path) -> set[str]:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, functions)}
