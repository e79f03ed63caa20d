"""A real server process on a real store, for tests of what callers see."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import httpx

from app.store.embedded import end_with_us
from tests.support.ports import free_port
from tests.support.valkey import Store


class Server:
    """`nextbest serve` with a bundle, on a free port of this machine, on a store of its own."""

    def __init__(self, bundle: Path, **variables: str) -> None:
        """`variables` are settings: `Server(bundle, NEXTBEST_BODY_LIMIT_BYTES="2048")`."""
        self.store = Store()
        self.url = ""
        self._bundle = bundle
        self._variables = variables
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Where the server keeps what; for commands beside it."""
        return {"NEXTBEST_REDIS_URL": self.store.url, "NEXTBEST_DATA": str(self.store.folder / "data")}

    def __enter__(self) -> Server:
        self.store.start()
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-c", "from app.cli import main; main()", "serve", "--bundle", str(self._bundle)]
        with (self.store.folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "--port", str(port)],
                env={**os.environ, "NEXTBEST_ARCHIVE": "off", **self.environment, **self._variables},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        self._watchdog = end_with_us(self._process.pid)
        self._wait_until_ready()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._watchdog is not None:
            self._watchdog.kill()
            self._watchdog.communicate()
        self.store.remove()

    def log(self) -> str:
        """What the server wrote, for the message of a test that fails."""
        return (self.store.folder / "server.log").read_text()

    def _wait_until_ready(self) -> None:
        give_up_at = time.monotonic() + 120
        while True:
            assert self._process is not None
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < give_up_at, self.log()
            try:
                if httpx.get(f"{self.url}/health/ready", timeout=60).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
