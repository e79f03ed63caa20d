"""A primary, its replica and three sentinels for tests, all from the embedded binary (`valkey-server … --sentinel`).

`NEXTBEST_TEST_STORE=sentinel` makes it the store that all tests share (tests.support.valkey).
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from app.store.embedded import end_with_us
from tests.support.certificates import Certificates
from tests.support.ports import free_ports
from tests.support.valkey import Store, server_binary

SERVICE = "nextbest"
#: After so long without a sign of life a sentinel takes the primary for dead. It is the sentinels' own default: with
#: 400 ms a busy machine had primaries replaced that nobody had touched.
CALM_AFTER_MS = 30_000
#: The same in tests that kill servers, from the moment when they do.
ALERT_AFTER_MS = 400

StartWatched = Callable[..., "Watched"]


class Watched:
    """Two servers, one of which is the primary, and the sentinels that say which."""

    def __init__(self, *settings: str, sentinels: int = 3, password: str = "", tls: Certificates | None = None) -> None:
        """`password` is that of the sentinels; the servers have none but for users that a test adds. With `tls` all of
        them speak nothing else."""
        self._password = password
        self._tls = tls
        self.ports = free_ports(2 + sentinels)
        first, second, *self.sentinel_ports = self.ports
        usual: tuple[str, ...] = (
            "--bind",
            "127.0.0.1",
            "--repl-diskless-sync-delay",
            "0",
            "--replica-announce-ip",
            "127.0.0.1",
        )
        if tls is not None:
            usual += tls.arguments
        self.servers = {port: Store(*usual, f"--{self._port}", str(port), *settings) for port in (first, second)}
        self._first, self._second = first, second
        self._folder = Path(tempfile.mkdtemp(prefix="nextbest-test-"))
        self._sentinels: list[subprocess.Popen[bytes]] = []
        self._watchdogs: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.sentinel_ports)
        scheme, options = ("redis", "") if self._tls is None else ("rediss", f"?{self._tls.options}")
        return f"{scheme}+sentinel://{hosts}/{SERVICE}{options}"

    @property
    def _port(self) -> str:
        """The setting of whom they listen to."""
        return "port" if self._tls is None else "tls-port"

    def start(self) -> None:
        self.servers[self._first].start()
        self.servers[self._second].start("--replicaof", f"127.0.0.1 {self._first}")
        for number, port in enumerate(self.sentinel_ports):
            self._start_sentinel(number, port)
        give_up_at = time.monotonic() + 15
        while not self.is_whole():
            assert time.monotonic() < give_up_at, "the sentinels did not find each other"
            time.sleep(0.05)

    def _start_sentinel(self, number: int, port: int) -> None:
        settings = self._folder / f"sentinel{number}.conf"
        settings.write_text(
            f"port 0\n{self._port} {port}\nbind 127.0.0.1\ndir {self._folder}\n"
            f"logfile {self._folder}/sentinel{number}.log\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {self._first} 2\n"
            f"sentinel down-after-milliseconds {SERVICE} {CALM_AFTER_MS}\n"
            f"sentinel failover-timeout {SERVICE} 3000\n"
            + (f"requirepass {self._password}\nsentinel sentinel-pass {self._password}\n" if self._password else "")
            + "".join(f"{name} {value}\n" for name, value in (self._tls.settings if self._tls else {}).items())
        )
        process = subprocess.Popen(
            [server_binary(), str(settings), "--sentinel"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._sentinels.append(process)
        self._watchdogs.append(end_with_us(process.pid))

    def is_whole(self) -> bool:
        """Every sentinel knows the others and the replica, which follows."""
        if b"master_link_status:up" not in self.servers[self._second].command("INFO", "replication"):
            return False
        try:
            for port in self.sentinel_ports:
                with self._sentinel(port) as sentinel:
                    raw = sentinel.execute_command("SENTINEL", "MASTER", SERVICE)
                    said = raw if isinstance(raw, dict) else dict(zip(raw[::2], raw[1::2], strict=True))
                    known = {_text(name): _text(value) for name, value in said.items()}
                    others = len(self.sentinel_ports) - 1
                    if int(known["num-other-sentinels"]) < others or int(known["num-slaves"]) < 1:
                        return False
        except (redis.RedisError, KeyError):
            return False
        return True

    def _sentinel(self, port: int) -> redis.Redis:
        ways: dict[str, Any] = {} if self._tls is None else self._tls.keywords()
        return redis.Redis(
            host="127.0.0.1", port=port, socket_timeout=1, protocol=2, password=self._password or None, **ways
        )

    def add_user(self, name: str, *rules: str) -> None:
        """To every sentinel."""
        for port in self.sentinel_ports:
            with self._sentinel(port) as sentinel:
                sentinel.execute_command("ACL", "SETUSER", name, *rules)

    def stop_a_sentinel(self) -> None:
        """The first one."""
        self._sentinels[0].kill()
        self._sentinels[0].wait()

    def is_in_step(self) -> bool:
        """The server that is not the primary follows it."""
        try:
            return b"master_link_status:up" in self.other_than(self.primary).command("INFO", "replication")
        except OSError:
            return False

    @property
    def primary(self) -> Store:
        """As the first living sentinel says."""
        return self.servers[self.primary_port]

    @property
    def primary_port(self) -> int:
        for port in self.sentinel_ports:
            with self._sentinel(port) as sentinel:
                try:
                    _, found = sentinel.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", SERVICE)
                except redis.RedisError:
                    continue
                return int(found)
        raise AssertionError("no sentinel answers")

    def other_than(self, store: Store) -> Store:
        (other,) = (each for each in self.servers.values() if each is not store)
        return other

    def fail_over(self) -> None:
        """Have the sentinels replace a primary that is well, as an operator would, as soon as they take the other
        server for fit: one that was away is looked at every ten seconds."""
        give_up_at = time.monotonic() + 30
        with self._sentinel(self.sentinel_ports[0]) as sentinel:
            while True:
                try:
                    sentinel.execute_command("SENTINEL", "FAILOVER", SERVICE)
                except redis.ResponseError as refused:
                    if "NOGOODSLAVE" not in str(refused) or time.monotonic() > give_up_at:
                        raise
                    time.sleep(0.1)
                else:
                    return

    @contextmanager
    def alert(self) -> Iterator[None]:
        """A primary that dies meanwhile is soon replaced."""
        self._down_after(ALERT_AFTER_MS)
        try:
            yield
        finally:
            self._down_after(CALM_AFTER_MS)

    def _down_after(self, ms: int) -> None:
        for port in self.sentinel_ports:
            with self._sentinel(port) as sentinel:
                sentinel.execute_command("SENTINEL", "SET", SERVICE, "down-after-milliseconds", ms)

    def client(self) -> redis.Redis:
        """An ordinary client of the primary, for looking inside."""
        return redis.Redis(unix_socket_path=str(self.primary.socket_path))

    def command(self, *words: str | bytes | int) -> bytes:
        return self.primary.command(*words)

    def commands(self, *commands: tuple[str | bytes | int, ...]) -> bytes:
        return self.primary.commands(*commands)

    @property
    def socket_path(self) -> Path:
        """Of one server, of which there are several."""
        pytest.skip("about a single server")

    def remove(self) -> None:
        for process in self._sentinels:
            process.kill()
            process.wait()
        for watchdog in self._watchdogs:
            watchdog.kill()
            watchdog.communicate()
        for store in self.servers.values():
            store.remove()
        shutil.rmtree(self._folder, ignore_errors=True)


def _text(word: object) -> str:
    return word.decode() if isinstance(word, bytes) else str(word)


@pytest.fixture
def own_watched() -> Iterator[StartWatched]:
    """`own_watched()` starts servers with sentinels that belong to this test alone."""
    started: list[Watched] = []

    def start(*settings: str) -> Watched:
        started.append(Watched(*settings))
        started[-1].start()
        return started[-1]

    yield start
    for each in started:
        each.remove()
