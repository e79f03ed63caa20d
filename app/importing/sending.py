"""Lines to a running server, over one connection, as fast as it takes them.

A batch that the server could not take (429, 503, no answer) is sent again whole, after as long as it asks for: writing
a line twice is harmless.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from threading import Event
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from app.importing.columns import What
from app.importing.trouble import Trouble

ROUTES = {
    What.CUSTOMERS: "/v1/customers/bulk",
    What.CONSENT: "/v1/customers/bulk",
    What.SUPPRESSIONS: "/v1/suppressions/bulk",
}
TIMEOUT_S = 60.0
#: Between tries where the server does not say how long.
WAIT_S, WAIT_S_MAX = 0.5, 10.0
#: Worth another try.
LATER = frozenset({408, 429, 500, 502, 503, 504})


class Rejected(NamedTuple):
    """A row that was not taken."""

    number: int
    code: str
    detail: str


class Answer(NamedTuple):
    """What became of a batch. `dropped`: attributes that the bundle wants not kept."""

    accepted: int
    rejected: tuple[Rejected, ...]
    dropped: tuple[str, ...]


class Sender:
    """One server. `patience_s`: how long it may not take a batch before the import ends."""

    def __init__(self, url: str, key: str | None, what: What, patience_s: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Trouble("the server's address is such as `http://127.0.0.1:8000`")
        made = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = made(parts.hostname, parts.port, timeout=TIMEOUT_S)
        self.place = f"{parts.scheme}://{parts.hostname}:{parts.port or made.default_port}"
        self._path = parts.path.rstrip("/") + ROUTES[what]
        self._bundle_path = parts.path.rstrip("/") + "/v1/bundle"
        self._headers = {"content-type": "application/x-ndjson"}
        if key:
            self._headers["authorization"] = f"Bearer {key}"
        self._patience_s = patience_s
        self._stopped = Event()
        self.waited_s = 0.0  # for a server that had no room

    def bundle(self) -> str | None:
        """The digest of the bundle that is served; None where the key may not ask. Raises Trouble."""
        try:
            status, _, body = self._ask("GET", self._bundle_path, b"")
        except (OSError, http.client.HTTPException) as error:
            raise self._silent(error) from error
        if status == 401:
            raise Trouble("the server wants a key that may `collect`: name it with --key or NEXTBEST_KEY")
        return str(json.loads(body)["bundle"]) if status == 200 else None

    def send(self, numbers: Sequence[int], lines: Sequence[bytes]) -> Answer:
        """Send a batch; `numbers` are those of its rows in the file. Raises Trouble."""
        if not lines:
            return Answer(0, (), ())
        body = b"\n".join(lines)
        waited_s, wait_s = 0.0, WAIT_S
        while True:
            trouble, asked_s = self._try(body)
            if not isinstance(trouble, Trouble):
                return _answer(trouble, numbers)
            if waited_s >= self._patience_s:
                raise trouble
            pause_s = min(wait_s if asked_s is None else max(asked_s, 0.05), self._patience_s)
            if self._stopped.wait(pause_s):
                raise trouble
            waited_s, self.waited_s, wait_s = waited_s + pause_s, self.waited_s + pause_s, min(2 * wait_s, WAIT_S_MAX)

    def stop(self) -> None:
        """Wait for the server no longer; of any thread."""
        self._stopped.set()

    def close(self) -> None:
        self._connection.close()

    def _try(self, body: bytes) -> tuple[Any, float | None]:
        """The answer; or trouble that another try may end, and how long the server wants it to wait."""
        try:
            status, headers, text = self._ask("POST", self._path, body)
        except (OSError, http.client.HTTPException) as error:
            return self._silent(error), None
        if status == 200:
            return json.loads(text), None
        detail = _detail(status, text)
        if status in LATER:
            trouble = Trouble(f"the server at {self.place} took nothing for {self._patience_s:g} s: {detail}")
            return trouble, _seconds(headers)
        if status in (401, 403):
            detail += " (name a key that may `collect` with --key or NEXTBEST_KEY)"
        raise Trouble(f"the server refused the import: {detail}")

    def _ask(self, method: str, path: str, body: bytes) -> tuple[int, Any, bytes]:
        try:
            self._connection.request(method, path, body or None, self._headers)
            response = self._connection.getresponse()
            return response.status, response.headers, response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()  # it is opened again by the next request
            raise

    def _silent(self, error: Exception) -> Trouble:
        reason = str(error) or type(error).__name__
        return Trouble(f"no server answers at {self.place} ({reason}): start one, or name it with --url")


def _answer(body: Any, numbers: Sequence[int]) -> Answer:
    rejected = tuple(
        Rejected(numbers[each["line"] - 1], each["code"], with_places(each["detail"], each.get("errors")))
        for each in body["rejected"]
    )
    return Answer(body["accepted"], rejected, tuple(body.get("dropped", ())))


def with_places(detail: str, errors: Sequence[dict[str, Any]] | None) -> str:
    """`1 field does not fit: region: expected …`."""
    return detail if not errors else f"{detail}: " + "; ".join(f"{each['path']}: {each['detail']}" for each in errors)


def _detail(status: int, text: bytes) -> str:
    try:
        problem = json.loads(text)
        return f"{problem['title']}: {problem['detail']}"
    except (ValueError, KeyError, TypeError):
        return f"it answered {status}: is this nextbest?"


def _seconds(headers: Any) -> float | None:
    """Of `Retry-After`; a date, which this server never sends, says nothing."""
    value = headers.get("retry-after")
    return float(value) if value is not None and value.isdigit() else None
