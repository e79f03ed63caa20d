"""Rules of the house that no linter knows."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from app.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted(ROOT.glob("requirements*.lock"))
PIN = re.compile(r"[a-z0-9-]+==[\w.!+]+( ; [^\\]+)?( \\)?\Z")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?\Z")
#: One that ends its line, with no words behind it.
SUPPRESSION = re.compile(r"# (noqa(: ?[A-Z0-9, ]+)?|type: ignore(\[[a-z, -]+\])?) *\Z")


def test_there_are_locks_for_serving_developing_and_building() -> None:
    assert [lock.name for lock in LOCKS] == ["requirements-build.lock", "requirements-dev.lock", "requirements.lock"]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_holds_pins_and_hashes_and_nothing_else(lock: Path) -> None:
    """A resolver once wrote the address of the mirror it had used into a lock, and installs elsewhere hung on it."""
    odd = [line for line in lock.read_text().splitlines() if not PIN.match(line) and not HASH.match(line)]
    assert odd == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_pin_of_a_lock_has_a_hash(lock: Path) -> None:
    blocks = re.split(r"\n(?=\S)", lock.read_text().strip())
    assert [block.split(" ")[0] for block in blocks if "--hash=" not in block] == []


def test_the_locks_agree_on_what_they_share() -> None:
    served, developed = pins("requirements.lock"), pins("requirements-dev.lock")
    assert {name: version for name, version in served.items() if developed.get(name) != version} == {}


def test_every_direct_dependency_is_locked_and_gives_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    project = tomllib.loads(text)["project"]
    wanted = [*project["dependencies"], *(one for many in project["optional-dependencies"].values() for one in many)]
    names = {re.split(r"[<>=;\[ ]", one)[0].lower() for one in wanted}
    assert names - pins("requirements-dev.lock").keys() == set()
    lines = text.partition("\n[tool.")[0].splitlines()
    unexplained = [
        line
        for number, line in enumerate(lines)
        if re.match(r'    "[A-Za-z-]+([>=;].*|)",?$', line) and "#" not in lines[number - 1]
    ]
    assert unexplained == []


def test_every_setting_is_in_the_operator_s_guide() -> None:
    guide = (ROOT / "docs" / "operations.md").read_text()
    assert [name for name in Settings.model_fields if f"| `NEXTBEST_{name.upper()}` |" not in guide] == []


def test_every_suppression_gives_its_reason() -> None:
    """Without one nobody dares to take it away, and it outlives what it was for."""
    unexplained = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in ("app", "policy", "models", "loadtests", "tests")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if SUPPRESSION.search(line)
    ]
    assert unexplained == []


def pins(lock: str) -> dict[str, tuple[str, ...]]:
    """Name → the versions it is pinned to: more than one where a version drops a Python that we support."""
    found: dict[str, tuple[str, ...]] = {}
    for line in (ROOT / lock).read_text().splitlines():
        if PIN.match(line):
            name, _, version = line.split(" ")[0].partition("==")
            found[name] = (*found.get(name, ()), version)
    return found
