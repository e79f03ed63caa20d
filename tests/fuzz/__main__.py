"""`python -m tests.fuzz [TARGET …] --seconds N [--keep]`: fuzzes the targets, one after another.

Exit code 1 where something broke or hung: the input lies in `reports/fuzz/<target>/`, and the last lines say how to see
it again. `--keep` puts the shortest of the inputs that together reach all that was reached into `tests/fuzz/corpus/`.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from tests.fuzz import kept
from tests.fuzz.targets import NAMES, Target, target_of

REPORTS = Path("reports") / "fuzz"
#: One input that takes longer hangs (s, by the clock, on a busy machine); one that takes more memory (MB) is a bomb.
HANGS_S, MEMORY_MB = 20, 2_048
#: Inputs are no longer than what a line of an import may be.
LENGTH_MAX = 65_536


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(NAMES)}; none: all of them")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--keep", action="store_true", help="keep what reaches new code")
    given = parser.parse_args()
    if unknown := set(given.targets) - set(NAMES):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    return max(fuzz(target_of(name), given.seconds, given.keep) for name in given.targets or NAMES)


def fuzz(target: Target, seconds: int, keep: bool) -> int:
    """Fuzz one target; 1 where something broke."""
    folder = REPORTS / target.name
    found = folder / "corpus"
    found.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as temporary:
        given = _given(target, Path(temporary))
        log = folder / "log.txt"
        with log.open("wb") as out:
            ran = _guided(
                target.name,
                f"-max_total_time={seconds}",
                f"-dict={_dictionary(target, Path(temporary))}",
                f"-artifact_prefix={folder}/",
                # What is made of an input's meaning is as long as it is: libFuzzer would begin with the shortest.
                *(["-len_control=0"] if target.mutate else []),
                *(str(each) for each in (found, given)),
                out=out,
            )
        say(f"{target.name}: {_summary(log.read_text(errors='replace'))}")
        if ran:
            say(log.read_text(errors="replace")[-3000:])
            say(f"again: python -m tests.fuzz.guided {target.name} {folder}/found-… (or timeout-…, oom-…)")
        if keep:
            merged = Path(temporary) / "merged"
            merged.mkdir()
            _guided(target.name, "-merge=1", *(str(each) for each in (merged, found, given)), out=subprocess.DEVNULL)
            new = [each.read_bytes() for each in merged.iterdir()]
            say(f"{target.name}: of {len(new)} that together reach the same, {kept.keep(target.name, new)} inputs kept")
    return int(ran != 0)


def _given(target: Target, temporary: Path) -> Path:
    """Seeds and kept inputs as files."""
    return _write(temporary / "given", (*target.seeds, *kept.inputs(target.name)))


def _write(folder: Path, inputs: tuple[bytes, ...]) -> Path:
    folder.mkdir()
    for number, data in enumerate(inputs):
        (folder / f"{number:04}").write_bytes(data)
    return folder


def _dictionary(target: Target, temporary: Path) -> Path:
    path = temporary / "words"
    path.write_text("".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in target.words))
    return path


def _guided(name: str, *options: str, out: IO[bytes] | int) -> int:
    limits = (f"-timeout={HANGS_S}", f"-rss_limit_mb={MEMORY_MB}", f"-max_len={LENGTH_MAX}")
    command = [sys.executable, "-m", "tests.fuzz.guided", name, *limits, *options]
    return subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, check=False).returncode


def _summary(log: str) -> str:
    runs = re.findall(r"^#(\d+)\s.*?cov: (\d+).*?corp: (\d+)", log, re.MULTILINE)
    if not runs:
        return "nothing was run"
    number, covered, inputs = runs[-1]
    return f"{number} inputs, {covered} edges of code reached, {inputs} inputs that reach something of their own"


if __name__ == "__main__":
    sys.exit(main())
