"""A server with two workers that asks for keys, and keys of every kind for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from app import keys_file
from tests.support.server import BUNDLE, Server
from tests.support.valkey import Store

#: A key for each test, by what it may and how often.
KEYS = {
    "few": (["decide"], "5/h"),
    "all routes": (["decide", "read", "collect"], "6/h"),
    "free": (["decide"], None),
    "lacking": (["decide"], "1/h"),
    "shared": (["decide"], "10/h"),
    "counted": (["read"], "3/h"),
    "reader": (["read"], None),
}


class Keyed(NamedTuple):
    """The server, its keys file, and the keys themselves by name."""

    server: Server
    path: Path
    keys: dict[str, str]

    def each_worker(self) -> Iterator[None]:
        """Once for each worker, while only that one answers new connections."""
        workers = self.server.workers()
        assert len(workers) == 2
        for stopped in workers:
            os.kill(stopped, signal.SIGSTOP)
            try:
                yield
            finally:
                os.kill(stopped, signal.SIGCONT)


@contextmanager
def keyed_server(folder: Path) -> Iterator[Keyed]:
    path = folder / "keys.jsonl"
    keys = {name: keys_file.add(path, scopes, rate=rate)[1] for name, (scopes, rate) in KEYS.items()}
    store = Store()
    store.start()
    try:
        with Server.on(store.url, BUNDLE, workers=2, keys_file=str(path)) as server:
            yield Keyed(server, path, keys)
    finally:
        store.remove()
