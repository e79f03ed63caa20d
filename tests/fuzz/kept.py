"""Inputs that are kept: `corpus/<target>.txt`, one a line in Base64; what broke it: `corpus/<target>/found-…`."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"
#: Of one target, beside what broke something. All of them together stay under 200 KB.
KEPT_BYTES_MAX = 8_000
#: One input: what needs more to reach new code is not worth its place.
INPUT_BYTES_MAX = 2_000


def inputs(name: str) -> list[bytes]:
    """The inputs of a target, in an order that is always the same: those that broke something last."""
    return [*_lines(name), *(path.read_bytes() for path in sorted((FOLDER / name).glob("found-*")))]


def keep(name: str, new: Iterable[bytes]) -> int:
    """Keep these and no others, the shortest first, as many as may be. How many that is; none: all stays as it is."""
    kept: list[bytes] = []
    for data in sorted(set(new), key=lambda each: (len(each), each)):
        if len(data) > INPUT_BYTES_MAX or sum(map(len, kept)) + len(data) > KEPT_BYTES_MAX:
            break
        kept.append(data)
    if not kept:
        return 0
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.txt").write_bytes(b"".join(b64encode(data) + b"\n" for data in kept))
    return len(kept)


def _lines(name: str) -> list[bytes]:
    path = FOLDER / f"{name}.txt"
    return [b64decode(line) for line in path.read_bytes().splitlines()] if path.is_file() else []
