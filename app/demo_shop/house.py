"""The server that the demo plays in: one that it starts, with the shop's bundle and a store of its own, or one that
runs already."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

from app.store.embedded import end_with_us, running_store
from app.welcome import READY_WITHIN_S, wait_until_ready

BUNDLE = Path(__file__).resolve().parents[2] / "policy" / "bundles" / "shop_demo"
BUNDLE_NAME = "shop_demo"
TIMEOUT_S = 30
#: What a request with events may hold; the server takes 5,000.
EVENTS_A_REQUEST = 500
STOP_WITHIN_S = 15


class CannotPlay(Exception):
    """The demo cannot go on; the message says why and what to do."""


class Refused(CannotPlay):
    """The server said no."""

    def __init__(self, status: int, code: str, detail: str, retry_after_s: float | None) -> None:
        super().__init__(f"the server answered {status}: {detail}")
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s


class Door:
    """The server's, by HTTP."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._headers = {"authorization": f"Bearer {key}"} if key else {}

    def ask(self, path: str) -> Any:
        """The JSON of an answer. Raises Refused, CannotPlay."""
        return json.loads(self._sent(path, None, "application/json"))

    def tell(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send one document. Raises Refused, CannotPlay."""
        return json.loads(self._sent(path, json.dumps(body).encode(), "application/json"))

    def tell_lines(self, path: str, lines: Iterable[Mapping[str, Any]]) -> bytes:
        """Send documents, one a line. Raises Refused, CannotPlay."""
        body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        return self._sent(path, body, "application/x-ndjson")

    def _sent(self, path: str, body: bytes | None, content_type: str) -> bytes:
        headers = {"content-type": content_type, **self._headers}
        request = urllib.request.Request(f"{self.url}{path}", body, headers)  # noqa: S310  (http, as told)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310  (http, as told)
                answer: bytes = response.read()
                return answer
        except urllib.error.HTTPError as error:
            raise _refusal(error) from error
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise CannotPlay(f"no server answers at {self.url} ({reason})") from error


def _refusal(error: urllib.error.HTTPError) -> Refused:
    try:
        problem = json.load(error)
        code, detail = str(problem["code"]), f"{problem['title']}: {problem['detail']}"
    except (ValueError, KeyError, TypeError):
        code, detail = "unknown", "is this nextbest?"
    if code in ("unauthenticated", "forbidden"):
        detail += " (name a key that may `collect`, `decide` and `read` with `--key` or NEXTBEST_KEY)"
    after = error.headers.get("retry-after")
    return Refused(error.code, code, detail, float(after) if after and after.isdigit() else None)


class House(NamedTuple):
    """A server that serves the shop's bundle."""

    door: Door
    store_url: str | None  # None: its store is not known here, so features are not shown


@contextmanager
def opened(folder: Path | None, port: int | None) -> Iterator[House]:
    """Start a server with a store in `folder`; in a temporary one that is removed, where none is named. Raises
    CannotPlay, with nothing left running."""
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nextbest-shop-")))
        url = stack.enter_context(_serving(folder, port or _free_port()))
        yield House(Door(url), running_store(folder))


def entered(url: str, key: str | None, store_url: str | None) -> House:
    """A server that runs already. Raises CannotPlay where it serves another bundle."""
    door = Door(url, key)
    served = door.ask("/v1/bundle")
    if served.get("name") != BUNDLE_NAME:
        raise CannotPlay(
            f"{url} serves the bundle `{served.get('name')}`: the shop needs its own, start a server with "
            f"`nextbest serve --bundle {BUNDLE}`"
        )
    return House(door, store_url)


@contextmanager
def _serving(folder: Path, port: int) -> Iterator[str]:
    run = "from app.cli import main; main()"
    command = [sys.executable, "-c", run, "serve", "--bundle", str(BUNDLE), "--port", str(port), "--data", str(folder)]
    # Settings that happen to stand in the shell are for another server.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("NEXTBEST_")}
    log = folder / "server.log"
    folder.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        # A session of its own: Ctrl-C is for us, and we stop the server in order.
        child = subprocess.Popen(  # noqa: S603  (our own command)
            command, env=clean, stdout=out, stderr=out, start_new_session=True
        )
    watchdog = end_with_us(child.pid)  # however we die
    url = f"http://127.0.0.1:{port}"
    try:
        _await(url, child, log)
        yield url
    except Refused as refused:
        if refused.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
        raise CannotPlay(f"{refused}\n{_end_of(log)}") from refused  # its log goes with its folder
    finally:
        _stop(child)
        watchdog.kill()
        watchdog.communicate()


def _await(url: str, child: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < until:
        if child.poll() is not None:
            raise CannotPlay(f"the server did not start: {_end_of(log)}")
        with contextlib.suppress(TimeoutError):
            wait_until_ready(url, within_s=0.5)
            return
    raise CannotPlay(f"the server was not ready within {READY_WITHIN_S:g} s: {_end_of(log)}")


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-1_500:].strip() or "it said nothing"


def _stop(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
    try:
        child.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
