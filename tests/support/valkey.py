"""Real stores for tests: one that all tests share, and own ones for tests that kill, freeze or configure theirs.

A conftest imports the fixtures: `from tests.support.valkey import own_store, store_server, store_url  # noqa: F401`.
`NEXTBEST_TEST_STORE` names another server binary to run everything on, such as `redis-server`; with `cluster` or
`sentinel` the store that tests share is one of those (tests.support.cluster, tests.support.sentinel), and tests that
are about a single server's socket are skipped.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import redis
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from app.store.embedded import end_with_us, find_server

StartStore = Callable[..., "Store"]
SEVERAL = ("cluster", "sentinel")


class Store:
    """A server process on a unix socket in a folder of its own (short, whatever the test's folder is called)."""

    def __init__(self, *settings: str) -> None:
        """`settings` are the server's own arguments: `Store("--requirepass", "secret")`."""
        self.folder = Path(tempfile.mkdtemp(prefix="nextbest-test-"))
        self.socket_path = self.folder / "store.sock"
        self.url = f"unix://{self.socket_path}"
        self._settings = settings
        self._binary = server_binary()  # whatever is the choice when it is started again
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "the store does not run"
        return self._process.pid

    def start(self, *settings: str, wait: bool = True) -> None:
        """Start, with more settings for this time only. Without `wait` it may still be loading its data."""
        # Data outlives `kill` and `stop`: a restarted store has what the old one had acknowledged.
        fixed = ["--port", "0", "--unixsocket", str(self.socket_path), "--dir", str(self.folder), "--save", ""]
        fixed += ["--appendonly", "yes", "--logfile", str(self.folder / "store.log")]
        # Names of fields and steps of merges wait until they are on disk: up to a second each under `everysec`.
        fixed += ["--appendfsync", "always"]
        self._process = subprocess.Popen(
            [self._binary, *fixed, *self._settings, *settings],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # A disk that tests make small (RLIMIT_FSIZE) is then an error of writing, as a full one is, and no signal.
            restore_signals=False,
        )
        self._watchdog = end_with_us(self._process.pid)
        if wait:
            self._wait_until_it_answers()

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As a crash: no goodbye, nothing flushed."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """The process keeps its connections and does nothing, as on a machine that swaps or sleeps."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def command(self, *words: str | bytes | int) -> bytes:
        """Send one command from outside and return the raw reply, up to 64 KiB: for setting tests up."""
        return self.commands(words)

    def commands(self, *commands: tuple[str | bytes | int, ...]) -> bytes:
        """Several commands on one connection; returns when the last reply has begun to arrive."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(60)
            client.connect(str(self.socket_path))
            reply = b""
            for words in commands:
                client.sendall(b" ".join(_quoted(word) for word in words) + b"\r\n")
                reply = client.recv(65536)
            return reply

    def remove(self) -> None:
        if self._process is not None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, by: signal.Signals) -> None:
        assert self._process is not None, "the store does not run"
        self._process.send_signal(by)
        if by is not signal.SIGKILL:
            self._process.send_signal(signal.SIGCONT)
        self._process.wait(60)
        self._process = None
        if self._watchdog is not None:
            self._watchdog.kill()
            self._watchdog.communicate()

    def _wait_until_it_answers(self) -> None:
        give_up_at = time.monotonic() + 60
        while True:
            try:
                # An answer is enough: a store with a password says NOAUTH.
                if not self.command("PING").startswith(b"-LOADING"):
                    return
            except OSError:
                assert self._process is not None
                assert self._process.poll() is None, (self.folder / "store.log").read_text()
            assert time.monotonic() < give_up_at, "the store did not start"
            time.sleep(0.005)


def server_binary() -> str:
    named = os.environ.get("NEXTBEST_TEST_STORE")
    binary = shutil.which(named) if named and named not in SEVERAL else find_server()
    assert binary is not None, "no store server to test on"
    return str(binary)


def _quoted(word: str | bytes | int) -> bytes:
    text = word if isinstance(word, bytes) else str(word).encode()
    return b'"' + b"".join(b"\\x%02x" % byte for byte in text) + b'"'


@pytest.fixture(scope="session")
def store_server() -> Iterator[Store]:
    """The store that all tests share. Tests must leave its settings and its process alone."""
    store = shared_store()
    store.start()
    yield store
    store.remove()


def shared_store(*settings: str) -> Store:
    """A store of the kind that the suite runs on."""
    kind = os.environ.get("NEXTBEST_TEST_STORE")
    if kind == "cluster":
        from tests.support.cluster import Cluster

        return cast("Store", Cluster(*settings))
    if kind == "sentinel":
        from tests.support.sentinel import Watched

        return cast("Store", Watched(*settings))
    return Store(*settings)


@contextmanager
def inside_of(store: Store) -> Iterator[redis.Redis]:
    """A store as somebody sees it who may look at everything."""
    several = cast("Any", store)  # see `shared_store`
    with several.client() if hasattr(store, "client") else redis.Redis(unix_socket_path=str(store.socket_path)) as one:
        yield one


@pytest.fixture
def store_url(store_server: Store) -> str:
    """The shared store's URL; it is empty when the test begins, scripts included."""
    store_server.commands(("FLUSHALL", "SYNC"), ("SCRIPT", "FLUSH", "SYNC"))
    return store_server.url


@pytest.fixture
def own_store() -> Iterator[StartStore]:
    """`own_store("--requirepass", "secret")` starts a store that belongs to this test alone."""
    stores: list[Store] = []

    def start(*settings: str) -> Store:
        stores.append(Store(*settings))
        stores[-1].start()
        return stores[-1]

    yield start
    for store in stores:
        store.remove()


async def skip_without_waitaof(client: Redis) -> None:
    """Skip the test on a store that cannot say what is on disk (Redis and Valkey before 7.2)."""
    try:
        await client.waitaof(0, 0, 0)
    except ResponseError:
        pytest.skip("this store has no WAITAOF")
