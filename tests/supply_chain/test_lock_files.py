"""What is installed: pinned, hashed, from any mirror; and listed for whoever must know what is inside (CycloneDX)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-build.lock")
#: As `make sbom` calls it.
SBOM = ("requirements", "requirements.lock", "--pyproject", "pyproject.toml", "--output-reproducible", "--of", "JSON")
PINNED = re.compile(r"(?P<name>[a-z0-9][a-z0-9-]*)==(?P<version>[^\s;]+)(?P<marker> ; [^\\]+)?")
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


class Locked(NamedTuple):
    """A line of a lock file, with those that go on with it."""

    name: str
    version: str
    hashes: frozenset[str]


def locked(file: str) -> list[Locked]:
    """Everything in a lock file; a line that is no pin with hashes fails."""
    found = []
    for line in (ROOT / file).read_text().replace("\\\n", " ").splitlines():
        pin, *hashes = re.split(r"\s+(?=--hash)", line.strip())
        match = PINNED.fullmatch(pin.strip())
        assert match is not None, f"{file}: `{line[:60]}` is no pin: make lock"
        sums = [HASH.fullmatch(each.strip()) for each in hashes]
        assert sums, f"{file}: `{pin}` has no hash: make lock"
        assert None not in sums, f"{file}: `{pin}` has more than pins and hashes: make lock"
        found.append(Locked(match["name"], match["version"], frozenset(each[1] for each in sums if each)))
    return found


@pytest.mark.parametrize("file", LOCKS)
def test_a_lock_file_holds_pins_and_hashes_and_no_address(file: str) -> None:
    assert len(locked(file)) >= 2
    assert not re.search(r"://|^-i|index-url|@ ", (ROOT / file).read_text(), re.MULTILINE)


def test_every_dependency_that_is_declared_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[^A-Za-z0-9._-]", each)[0].lower().replace("_", "-") for each in project["dependencies"]}
    assert names <= {each.name for each in locked("requirements.lock")}


def test_what_is_served_with_is_what_is_developed_with() -> None:
    assert set(locked("requirements.lock")) <= set(locked("requirements-dev.lock"))


@pytest.fixture(scope="module")
def bill() -> str:
    """The bill of materials, as `make sbom` makes it."""
    made = subprocess.run(
        [sys.executable, "-m", "cyclonedx_py", *SBOM], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    return made.stdout


def test_the_bill_of_materials_is_cyclonedx(bill: str) -> None:
    version = SchemaVersion.from_version(json.loads(bill)["specVersion"])
    assert JsonStrictValidator(version).validate_str(bill) is None


def test_the_bill_of_materials_names_the_product_and_every_locked_package(bill: str) -> None:
    said = json.loads(bill)
    assert said["metadata"]["component"]["name"] == "nextbest"
    listed = {
        Locked(each["name"], each["version"], frozenset(
            digest["content"] for reference in each["externalReferences"] for digest in reference.get("hashes", ())
        ))
        for each in said["components"]
    }  # fmt: skip
    assert listed == set(locked("requirements.lock"))
    assert all(each["purl"] == f"pkg:pypi/{each['name']}@{each['version']}" for each in said["components"])


def test_the_bill_of_materials_is_the_same_whenever_it_is_made(bill: str) -> None:
    assert "timestamp" not in json.loads(bill)["metadata"], "--output-reproducible"
    assert "serialNumber" not in json.loads(bill)
