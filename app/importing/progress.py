"""How far an import is, in `<file>.nextbest-import.json` beside the file, and what was not taken of it, in
`<file>.rejected.ndjson`.

Both are written before the next batch counts as done, the rejected rows first. An import that was killed goes on after
the last batch that it noted; what the server had taken beyond that is sent again, which is harmless.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from app.importing.sending import Rejected
from app.importing.trouble import Trouble

#: Both ends of a file tell one export from another; the whole of a large one would take a minute to digest.
END_BYTES = 64 * 1024


@dataclass(slots=True)
class Done:
    """What is done. `identity` tells the file, how it is read and where it goes."""

    identity: str
    rows: int = 0  # read, and acknowledged or rejected
    accepted: int = 0
    rejected: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    rejected_bytes: int = 0  # of the file of rejected rows
    finished: bool = False


def identity(path: Path, *more: object) -> str:
    """A digest of the file's ends, its size, and whatever else makes it another import."""
    with path.open("rb") as file:
        head = file.read(END_BYTES)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - END_BYTES))
        tail = file.read()
    return sha256(b"\0".join([head, tail, str(size).encode(), *(repr(each).encode() for each in more)])).hexdigest()


def sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".nextbest-import.json")


def rejections(path: Path) -> Path:
    return path.with_name(path.name + ".rejected.ndjson")


def found(path: Path, wanted: str) -> Done | None:
    """What an earlier run noted of just this import; None where it noted nothing, or of another one."""
    try:
        noted: dict[str, Any] = json.loads(sidecar(path).read_text(encoding="utf-8"))
        done = Done(**(noted | {"codes": Counter(noted["codes"])}))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return done if done.identity == wanted else None


class Notes:
    """Notes what is done. Close it."""

    def __init__(self, path: Path, done: Done) -> None:
        self._path = path
        self.done = done
        try:
            self._file: IO[bytes] = rejections(path).open("r+b" if rejections(path).exists() else "w+b")
            # What a run wrote just before it was killed comes again.
            self._file.truncate(done.rejected_bytes)
            self._file.seek(0, os.SEEK_END)
        except OSError as error:
            raise Trouble(f"nothing can be written beside `{path}`: {error.strerror}") from error

    def batch(self, rows: int, accepted: int, rejected: Iterable[Rejected]) -> None:
        """A batch was answered."""
        listed = list(rejected)
        for each in listed:
            line = {"line": each.number, "code": each.code, "detail": each.detail}
            self._file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        self.done.rejected_bytes = self._file.tell()
        self.done.rows += rows
        self.done.accepted += accepted
        self.done.rejected += len(listed)
        self.done.codes.update(each.code for each in listed)
        self._note()

    def finish(self) -> None:
        self.done.finished = True
        self._note()

    def close(self) -> None:
        self._file.close()
        if not self.done.rejected:
            rejections(self._path).unlink(missing_ok=True)

    def _note(self) -> None:
        beside = sidecar(self._path)
        # `asdict` cannot copy a Counter.
        document = {each.name: getattr(self.done, each.name) for each in fields(self.done)}
        written = beside.with_name(beside.name + ".new")
        written.write_text(json.dumps(document), encoding="utf-8")
        written.replace(beside)
