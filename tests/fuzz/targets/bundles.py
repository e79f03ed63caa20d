"""A bundle with one file exchanged: lint answers with mistakes, or what it accepts can be served.

Input: which file (a byte), and its text. Most changes are made to what the text means (`tests/fuzz/tree.py`): of
changed bytes nearly all end at the syntax, which is the target `yaml`'s.
"""

from __future__ import annotations

import atexit
import re
import shutil
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import Any

from policy import reading, source
from policy.compile import from_canonical
from policy.lint import examine
from policy.schema import FILES as MODELS
from policy.schema import Documents, json_schemas
from tests.fuzz import tree
from tests.fuzz.targets.yaml import COMPLETE
from tests.fuzz.targets.yaml import WORDS as YAML_WORDS

ROOT = Path(__file__).parents[3]
#: New ones come last: kept inputs name a file by its place.
FILES = (*sorted(path.name for path in COMPLETE.iterdir()), "outcomes.yaml")
#: Whose files are seeds, in the place of the complete bundle's.
OTHERS = (
    ROOT / "policy" / "bundles" / "retail_demo",
    ROOT / "policy" / "bundles" / "shop_demo",
    *(
        ROOT / "tests" / "support" / f"{name}_bundle"
        for name in ("contract", "feature", "pharmacy", "privacy", "trials")
    ),
)
NOW_MS = 1_796_083_200_000  # 2026-12-01T00:00:00Z

# One file differs from run to run, and parsing the others would be most of the time.
reading.read = lru_cache(64)(source.read)  # type: ignore[attr-defined]  # a name that the module imports


def _said(schema: Any) -> Iterator[str]:
    """Names of fields, and values of closed lists."""
    for spot in tree.spots(schema):
        if spot.key == "properties":
            yield from spot.value
        elif spot.key == "enum":
            yield from map(str, spot.value)


#: Names and values that a bundle's files know, by their own schemas.
TERMS = tuple(
    sorted({*_said(json_schemas()), "mens_email", "segment.loyal", "has(customer.orders)", "customer.orders > 3"})
)
WORDS = (
    *YAML_WORDS, *(f"{term}: ".encode() for term in TERMS), b"customer.", b"context.", b"segment.", b" && ", b"has(",
    b"\xf0\x9f\x98\x80",
)  # fmt: skip


@cache
def folder() -> Path:
    """The complete bundle, in memory where the machine has such a place."""
    memory = Path("/dev/shm")
    made = Path(mkdtemp(prefix="nextbest-fuzz-", dir=memory if memory.is_dir() else None))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(shutil.copytree(COMPLETE, made / "bundle"))


@cache
def seeds() -> tuple[bytes, ...]:
    """Files of bundles, each as the file that it is, and the examples of the documentation."""
    found = []
    for place, name in enumerate(FILES):
        paths = [bundle / name for bundle in (COMPLETE, *OTHERS)]
        found += [bytes((place,)) + path.read_bytes() for path in paths if path.is_file()]
    for page in sorted((ROOT / "docs").glob("*.md")):
        for example in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            found += [bytes((place,)) + example.encode() for place in _meant(example)]
    return tuple(found)


def _meant(example: str) -> Iterator[int]:
    """The file that an example is of: the one that knows its first field."""
    values = tree.values_of(example.encode())
    for place, name in enumerate(FILES):
        if isinstance(values, dict) and next(iter(values)) in MODELS[name].model_fields:
            yield place
            return


def mutate(data: bytes, chance: Random) -> bytes | None:
    """Another file of the same name, or the same as another's."""
    if not data:
        return None
    place = data[0] % len(FILES)
    if chance.random() < 0.02:
        place = chance.randrange(len(FILES))
    others = [seed[1:] for seed in seeds()]
    text = tree.changed(data[1:], others, TERMS, chance)
    return None if text is None else bytes((place,)) + text


def run(data: bytes) -> None:
    if not data:
        return
    path = folder() / FILES[data[0] % len(FILES)]
    whole = path.read_bytes() if path.exists() else None
    try:
        path.write_bytes(data[1:])
        report, documents = examine(folder(), NOW_MS)
    finally:
        if whole is None:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(whole)
    for mistake in report.mistakes:
        assert mistake.line >= 1
        assert mistake.message
        assert mistake.remedy
    assert (documents is None) == bool(report.mistakes)
    if documents is not None:
        served = from_canonical(documents.canonical())
        assert Documents.model_validate_json(served.canonical).canonical() == served.canonical
