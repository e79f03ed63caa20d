"""One target under atheris, which is libFuzzer for Python: `python -m tests.fuzz.guided TARGET [libFuzzer's options]`.

A process of its own a target, since libFuzzer ends its process. https://github.com/google/atheris
"""

from __future__ import annotations

import shlex
import sys
from hashlib import blake2b
from pathlib import Path
from random import Random

import atheris  # type: ignore[import-untyped, import-not-found, unused-ignore]  # no stubs, and one platform

FOUND = "found-"
#: Of the changes of a target that has its own: the rest are of bytes.
OWN = 0.9


def main() -> None:
    """Fuzz until libFuzzer's options say stop; its exit code is 77 where something broke, 70 where it hung.

    `REPORTS/found-…` is the input that broke something: libFuzzer itself writes it only where the process ends by a
    signal or hangs.
    """
    _, name, *options = sys.argv
    # Our own code guides it, and the parsers written in Python that it stands on.
    with atheris.instrument_imports(include=["app", "policy", "uvicorn.protocols", "email", "csv"]):
        from tests.fuzz.targets import target_of

        target = target_of(name)

    def run(data: bytes) -> None:
        try:
            target.run(data)
        except BaseException:
            folder = Path("reports") / "fuzz" / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / (FOUND + blake2b(data, digest_size=8).hexdigest())).write_bytes(data)
            raise

    def changed(data: bytes, length_max: int, seed: int) -> bytes:
        chance = Random(seed)
        made = target.mutate(data, chance) if target.mutate is not None and chance.random() < OWN else None
        if made is None or len(made) > length_max:
            made = bytes(atheris.Mutate(data, length_max))
        return made

    own = {} if target.mutate is None else {"custom_mutator": changed}
    # What libFuzzer starts again by its name, through a shell, where it merges inputs.
    again = f"{shlex.quote(sys.executable)} -m tests.fuzz.guided {name}"
    atheris.Setup([again, *options], run, **own)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
