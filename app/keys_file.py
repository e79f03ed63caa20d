"""Keys of callers: a file of JSON lines that holds hashes only, never a key.

    {"id": "key_4f0c…", "hash": "blake2b:9c1a…", "scopes": ["decide"], "created": "2026-11-24T08:00:00Z",
     "rate": "100/s"}

`rate` is absent where a key may ask as often as it wants. A key is 256 random bits, so one round of BLAKE2b is enough:
there is no dictionary to try. The file is replaced as a whole on each change, so that a reader never sees half of it;
servers read it again within a second.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson

from app.core.rates import parse_rate

#: What a key may be allowed. `approve:<role>` is one scope a role; `admin` holds every other scope but approvals.
SCOPES = ("decide", "collect", "read", "admin")
APPROVE = re.compile(r"approve:[a-z0-9_]{1,48}\Z")
HASH = re.compile(r"blake2b:[0-9a-f]{64}\Z")


class KeysFileError(ValueError):
    """The file cannot be used; the message names line and remedy, and repeats nothing of the file's content."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """One line of the file."""

    id: str
    hash: str
    scopes: tuple[str, ...]
    created: str
    rate: str | None = None  # as `app.core.rates.parse_rate` understands it; None: no limit


def hash_of(key: bytes) -> str:
    """How a key is stored and looked up."""
    return "blake2b:" + hashlib.blake2b(key, digest_size=32).hexdigest()


def read(path: Path) -> tuple[StoredKey, ...]:
    """All keys of the file; none when it does not exist. Raises `KeysFileError` when a line cannot be understood."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise KeysFileError(f"the keys file cannot be read: {error.strerror}") from error
    return tuple(_parse(line, number) for number, line in enumerate(lines, 1) if line.strip())


def add(
    path: Path, scopes: Sequence[str], now: datetime | None = None, rate: str | None = None
) -> tuple[StoredKey, str]:
    """Makes a key, stores its hash, and returns it with the key itself: the only time it is ever seen.

    `rate`: how often it may ask, such as `100/s`; None: as often as it wants. Raises `KeysFileError`.
    """
    check_scopes(scopes)
    _check_rate(rate)
    key = "nbk_" + secrets.token_urlsafe(32)
    created = (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
    stored = StoredKey("key_" + secrets.token_hex(6), hash_of(key.encode()), tuple(scopes), created, rate)
    with _locked(path):
        _replace(path, (*read(path), stored))
    return stored, key


def revoke(path: Path, key_id: str) -> bool:
    """Removes a key; servers refuse it within a second. False when the file has no such id."""
    with _locked(path):
        keys = read(path)
        kept = tuple(key for key in keys if key.id != key_id)
        if len(kept) == len(keys):
            return False
        _replace(path, kept)
    return True


def check_scopes(scopes: Sequence[str]) -> None:
    """Raises `KeysFileError` when there is no scope, or one that does not exist."""
    if not scopes:
        raise KeysFileError(f"a key needs a scope: {', '.join(SCOPES)} or approve:<role>")
    for scope in scopes:
        if scope not in SCOPES and not APPROVE.match(scope):
            raise KeysFileError(f"unknown scope `{scope}`: use {', '.join(SCOPES)} or approve:<role>")


def _check_rate(rate: str | None) -> None:
    try:
        if rate is not None:
            parse_rate(rate)
    except ValueError as error:
        raise KeysFileError(str(error)) from None


def _parse(line: bytes, number: int) -> StoredKey:
    remedy = f"line {number} of the keys file is not a key: remove it, and make a new one with `nextbest keys add`"
    try:
        fields = orjson.loads(line)
        rate = fields.get("rate")
        key = StoredKey(str(fields["id"]), fields["hash"], tuple(fields["scopes"]), str(fields["created"]), rate)
        if not HASH.match(key.hash):
            raise KeysFileError(remedy)
        check_scopes(key.scopes)
        _check_rate(rate)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise KeysFileError(remedy) from error
    return key


def _line(key: StoredKey) -> bytes:
    return orjson.dumps({name: value for name, value in asdict(key).items() if value is not None}) + b"\n"


def _replace(path: Path, keys: Sequence[StoredKey]) -> None:
    """Writes beside the file and renames over it. `mkstemp` makes it readable by its owner only."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(_line(key) for key in keys)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            os.chmod(name, path.stat().st_mode)  # an operator's choice of readers survives
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One writer at a time: two `keys add` at once keep both keys."""
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f".{path.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
