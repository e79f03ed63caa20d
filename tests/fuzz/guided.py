"""One target under atheris, which is libFuzzer for Python: `python -m tests.fuzz.guided TARGET [libFuzzer's options]`.

A process of its own a target, since libFuzzer ends its process. https://github.com/google/atheris
"""

from __future__ import annotations

import sys
from hashlib import blake2b
from pathlib import Path

import atheris  # type: ignore[import-untyped, import-not-found, unused-ignore]  # no stubs, and one platform

FOUND = "found-"


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

    atheris.Setup([sys.argv[0], *options], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
