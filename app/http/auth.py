"""Who may do what: the keys in force, which hold the scopes of `app.http.scopes` and may have a limit.

Fails closed: a keys file that vanishes admits nobody; one that cannot be parsed keeps the keys last read and says so in
readiness. Only where no keys file is configured are credentials ignored, and then the server listens on loopback alone
(`app.serve` refuses anything else).
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import keys_file
from app.core.rates import parse_rate
from app.errors import Problem
from app.http.problems import send_problem
from app.http.scopes import PUBLIC, SELF_CHECKED, required_scope
from app.rate_limits import Cells, Limit, OwnCells

Headers = Iterable[tuple[bytes, bytes]]

#: Who is named in histories where no keys are configured.
LOOPBACK = "loopback"

#: What `admin` includes. Approvals are not among them: who approves must hold that role's own key.
ADMIN_HOLDS = frozenset({"decide", "collect", "read", "admin"})


class Held(NamedTuple):
    """What a key holds."""

    id: str
    scopes: frozenset[str]
    limit: Limit | None


class Authenticator:
    """The keys in force. `scope_problem` costs under a microsecond for a key seen before that has no limit."""

    def __init__(self, path: Path | None, cells: Cells | None = None) -> None:
        """`cells`: where all workers of this server count what keys with a limit have asked."""
        self._path = path
        self._cells = cells or OwnCells()
        self._held_by_hash: dict[str, Held] = {}
        #: `Authorization` values that were verified → what they hold. Bounded by the number of keys. A dict compares
        #: keyed 64-bit hashes before bytes, so the time of a miss tells nothing about a key.
        self._verified: dict[bytes, Held] = {}
        self.limits_some = False  # whether any key has a limit: what has none pays for one look at this
        self._version: tuple[int, int, int] | None = None
        self._finding: str | None = None
        self.reload_if_changed()

    @property
    def is_open(self) -> bool:
        """Whether credentials are ignored: no keys file is configured."""
        return self._path is None

    @property
    def findings(self) -> list[str]:
        """What is wrong with the keys, for readiness."""
        return [self._finding] if self._finding else []

    def scope_problem(self, headers: Headers, required: str) -> Problem | None:
        """Why the caller may not do what needs the scope `required`, or None when it may.

        `headers` are the request's, as ASGI hands them over: lower-case names. Where the key has a limit, one request
        of it is taken: ask once a request.
        """
        if self._path is None or required == PUBLIC:
            return None
        for name, value in headers:
            if name == b"authorization":
                held = self._verified.get(value)
                if held is None:
                    held = self._verify(value)
                if held is None:
                    return Problem("unauthenticated", "the key is not known, or was revoked")
                if required not in held.scopes:
                    return _lacking(required)
                return None if held.limit is None else _over(held.limit)
        return Problem("unauthenticated", "send `Authorization: Bearer <key>`")

    def who(self, headers: Headers) -> str:
        """The id of the key that a request was admitted with, for histories; where no keys are configured, and so
        nobody is told apart, that it came from this machine."""
        if self._path is None:
            return LOOPBACK
        for name, value in headers:
            if name == b"authorization" and (key := _key_in(value)) is not None:
                return self.who_holds(key)
        return "public"

    def who_holds(self, key: bytes) -> str:
        """The id of a key that was admitted."""
        held = self._held_by_hash.get(keys_file.hash_of(key))
        return "revoked" if held is None else held.id  # in the moment since it was admitted

    def key_problem(self, key: bytes, required: str) -> Problem | None:
        """As `scope_problem`, of a key that came otherwise than in the header."""
        return self.scope_problem(((b"authorization", b"Bearer " + key),), required)

    def rate_headers(self, headers: Headers) -> list[tuple[bytes, bytes]]:
        """What an answer says of the limit of the key that asked; nothing where it has none."""
        for name, value in headers:
            if name == b"authorization" and (held := self._verified.get(value)) is not None and held.limit is not None:
                return held.limit.headers()
        return []

    def reload_if_changed(self) -> bool:
        """Reads the keys file again when it is another than last time. True when the keys in force changed."""
        if self._path is None or (version := _version_of(self._path)) == self._version:
            return False
        try:
            keys = keys_file.read(self._path)
        except keys_file.KeysFileError as error:
            self._version, self._finding = version, str(error)
            return False
        self._held_by_hash = {key.hash: self._held(key) for key in keys}
        self._verified = {}
        self.limits_some = any(held.limit is not None for held in self._held_by_hash.values())
        self._version, self._finding = version, None if keys else "the keys file holds no key: `nextbest keys add`"
        return True

    def _held(self, key: keys_file.StoredKey) -> Held:
        # What a key has used stays counted when the file changes: its cell is found again by its id.
        limit = None if key.rate is None else Limit(self._cells, key.id, parse_rate(key.rate))
        return Held(key.id, _scopes_held(key.scopes), limit)

    async def watch(self, every_s: float = 0.25) -> None:
        """Follows the keys file until cancelled; run it as a task for as long as the server lives. A revoked key is
        promised to be refused within a second; a look costs a few microseconds."""
        while self._path is not None:
            await asyncio.sleep(every_s)
            self.reload_if_changed()

    def _verify(self, value: bytes) -> Held | None:
        """One look-up, however many keys there are: a stranger's guesses must not cost more with each customer's key.
        What is looked up is a hash that the stranger cannot steer, so its time tells nothing of the keys."""
        key = _key_in(value)
        held = None if key is None else self._held_by_hash.get(keys_file.hash_of(key))
        if held is not None:
            self._verified[value] = held
        return held


class AuthMiddleware:
    """Checks the table before every route but those that check themselves."""

    def __init__(
        self, app: ASGIApp, authenticator: Authenticator, on_problem: Callable[[str], None] = lambda _: None
    ) -> None:
        """`on_problem` is told the code of each refusal; the metrics count them."""
        self._app = app
        self._authenticator = authenticator
        self._on_problem = on_problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        authenticator = self._authenticator
        if scope["type"] != "http" or authenticator.is_open:
            await self._app(scope, receive, send)
            return
        if authenticator.limits_some:
            send = _telling(authenticator, scope["headers"], send)
        if scope["path"] not in SELF_CHECKED:
            required = required_scope(scope["method"], scope["path"])
            problem = authenticator.scope_problem(scope["headers"], required)
            if problem is not None:
                self._on_problem(problem.code)
                await send_problem(send, problem)
                return
        await self._app(scope, receive, send)


def _telling(authenticator: Authenticator, asked: Sequence[tuple[bytes, bytes]], send: Send) -> Send:
    """`send`, which adds to an answer what is left of its key's limit."""

    async def telling(message: Message) -> None:
        if message["type"] == "http.response.start" and (more := authenticator.rate_headers(asked)):
            message = {**message, "headers": [*message.get("headers", ()), *more]}
        await send(message)

    return telling


def _key_in(value: bytes) -> bytes | None:
    """The key in an `Authorization` header: as a bearer token, or, as event clients send it, as the user name of Basic
    without a password."""
    scheme, _, credentials = value.partition(b" ")
    if scheme.lower() == b"bearer":
        return credentials.strip()
    if scheme.lower() != b"basic":
        return None
    try:
        name, _, password = base64.b64decode(credentials.strip(), validate=True).partition(b":")
    except ValueError:
        return None
    return None if password else name


def _scopes_held(scopes: Sequence[str]) -> frozenset[str]:
    return frozenset(scopes) | (ADMIN_HOLDS if "admin" in scopes else frozenset())


def _lacking(required: str) -> Problem:
    return Problem("forbidden", f"this needs a key with the scope `{required}`")


def _over(limit: Limit) -> Problem | None:
    """Takes a request of a limit."""
    wait_s = limit.take()
    if not wait_s:
        return None
    quota, window_s = limit.rate
    return Problem("rate_limited", f"this key may ask {quota} times in {window_s} s", retry_after_s=wait_s)


def _version_of(path: Path) -> tuple[int, int, int] | None:
    """What tells one state of the file from another; None when it is not there."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
