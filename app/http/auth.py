"""Who may do what: one table of route → scope, and the keys that hold the scopes.

Fails closed: a route that nobody put in the table needs `admin`; a keys file that vanishes admits nobody; one that
cannot be parsed keeps the keys last read, and says so in readiness. Only where no keys file is configured are
credentials ignored, and then the server listens on loopback alone (`app.serve` refuses anything else).
"""

from __future__ import annotations

import asyncio
import base64
import hmac
from collections.abc import Iterable, Sequence
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from app import keys_file
from app.errors import Problem
from app.http.problems import send_problem

Headers = Iterable[tuple[bytes, bytes]]

#: Needs no key: probes, the documentation, and what carries its own proof (signed webhooks, unsubscribe tokens).
PUBLIC = "public"

#: (methods, path, scope), first match wins. A path that ends in `/` stands for everything under it, a `*` for one name.
ROUTES: tuple[tuple[str, str, str], ...] = (
    ("GET", "/health/live", PUBLIC),
    ("GET", "/health/ready", PUBLIC),
    ("GET", "/openapi.json", PUBLIC),
    ("GET", "/docs", PUBLIC),
    ("GET", "/docs/", PUBLIC),
    ("GET POST", "/v1/unsubscribe/", PUBLIC),
    ("GET POST", "/v1/webhooks/", PUBLIC),
    ("POST", "/v1/decide", "decide"),
    ("POST", "/v1/decide/batch", "decide"),
    ("GET", "/v1/decisions/", "read"),
    ("POST", "/v1/decisions/", "collect"),
    ("GET", "/v1/customers/*/export", "admin"),  # everything, unmasked
    ("GET", "/v1/customers/", "read"),
    ("PUT POST", "/v1/customers/", "collect"),
    ("POST", "/v1/suppressions/bulk", "collect"),
    ("DELETE", "/v1/customers/", "admin"),  # erases a customer or lifts a suppression
    ("GET", "/v1/erasures/", "read"),
    ("POST", "/v1/events", "collect"),
    ("POST", "/v1/track", "collect"),
    ("POST", "/v1/identify", "collect"),
    ("POST", "/v1/alias", "collect"),
    ("POST", "/v1/page", "collect"),
    ("POST", "/v1/screen", "collect"),
    ("POST", "/v1/group", "collect"),
    ("POST", "/v1/batch", "collect"),
    ("GET", "/v1/bundle", "read"),
    ("GET", "/v1/releases", "read"),
    ("GET", "/v1/releases/", "read"),
    ("GET", "/v1/switches", "read"),
    ("GET", "/v1/switches/", "read"),
    ("PUT", "/v1/switches/", "admin"),
    ("GET", "/v1/deliverability", "read"),
    ("GET", "/metrics", "read"),
)

#: Who is named in histories where no keys are configured.
LOOPBACK = "loopback"

#: Routes that ask the authenticator themselves, because a layer between costs them time.
#: Or because their clients may send the key in the URL or the body instead.
SELF_CHECKED = frozenset(
    {"/v1/decide", "/v1/events"}
    | {f"/v1/{name}" for name in ("track", "identify", "alias", "page", "screen", "group", "batch")}
)

#: What `admin` includes. Approvals are not among them: who approves must hold that role's own key.
ADMIN_HOLDS = frozenset({"decide", "collect", "read", "admin"})


def required_scope(method: str, path: str) -> str:
    """The scope that a request needs. HEAD needs what GET does."""
    method = "GET" if method == "HEAD" else method
    for methods, route, scope in ROUTES:
        if method in methods.split() and _covers(route, path):
            return scope
    return "admin"


def _covers(route: str, path: str) -> bool:
    if "*" in route:
        before, _, after = route.partition("*")
        name = path.removeprefix(before).removesuffix(after)
        return path.startswith(before) and path.endswith(after) and "/" not in name
    return path == route or (route[-1] == "/" and path.startswith(route))


class Authenticator:
    """The keys in force. `scope_problem` costs under a microsecond for a key seen before."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._scopes_by_hash: dict[str, frozenset[str]] = {}
        self._id_by_hash: dict[str, str] = {}
        #: `Authorization` values that were verified → their scopes. Bounded by the number of keys. A dict compares
        #: keyed 64-bit hashes before bytes, so the time of a miss tells nothing about a key.
        self._verified: dict[bytes, frozenset[str]] = {}
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

        `headers` are the request's, as ASGI hands them over: lower-case names.
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
                return None if required in held else _lacking(required)
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
        return self._id_by_hash.get(keys_file.hash_of(key), "revoked")  # in the moment since it was admitted

    def key_problem(self, key: bytes, required: str) -> Problem | None:
        """As `scope_problem`, of a key that came otherwise than in the header."""
        return self.scope_problem(((b"authorization", b"Bearer " + key),), required)

    def reload_if_changed(self) -> bool:
        """Reads the keys file again when it is another than last time. True when the keys in force changed."""
        if self._path is None or (version := _version_of(self._path)) == self._version:
            return False
        try:
            keys = keys_file.read(self._path)
        except keys_file.KeysFileError as error:
            self._version, self._finding = version, str(error)
            return False
        self._scopes_by_hash = {key.hash: _scopes_held(key.scopes) for key in keys}
        self._id_by_hash = {key.hash: key.id for key in keys}
        self._verified = {}
        self._version, self._finding = version, None if keys else "the keys file holds no key: `nextbest keys add`"
        return True

    async def watch(self, every_s: float = 1.0) -> None:
        """Follows the keys file until cancelled; run it as a task for as long as the server lives."""
        while self._path is not None:
            await asyncio.sleep(every_s)
            self.reload_if_changed()

    def _verify(self, value: bytes) -> frozenset[str] | None:
        key = _key_in(value)
        if key is None:
            return None
        presented = keys_file.hash_of(key)
        for stored, held in self._scopes_by_hash.items():
            if hmac.compare_digest(stored, presented):
                self._verified[value] = held
                return held
        return None


class AuthMiddleware:
    """Checks the table before every route but those that check themselves."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator) -> None:
        self._app = app
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in SELF_CHECKED and not self._authenticator.is_open:
            required = required_scope(scope["method"], scope["path"])
            problem = self._authenticator.scope_problem(scope["headers"], required)
            if problem is not None:
                await send_problem(send, problem)
                return
        await self._app(scope, receive, send)


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


def _version_of(path: Path) -> tuple[int, int, int] | None:
    """What tells one state of the file from another; None when it is not there."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
