"""`nextbest serve` as a process: it starts, stops in order, keeps its data, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from app.welcome import wait_until_ready

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-c", "from app.cli import main; main()", "serve"]
CONSENT = {"purpose": "marketing", "channel": "email", "state": "granted", "source": "test", "basis": "consent"}


@contextmanager
def serving(data: Path, workers: int = 1) -> Iterator[tuple[str, psutil.Process]]:
    """A server in a process group of its own; whatever a test leaves running is ended, and only that."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NEXTBEST_")}
    environment["PYTHONPATH"] = str(ROOT)
    arguments = [*COMMAND, "--port", str(port), "--data", str(data), "--workers", str(workers)]
    with subprocess.Popen(arguments, cwd=data, env=environment, stderr=subprocess.DEVNULL) as started:
        process = psutil.Process(started.pid)
        family = [process]
        try:
            wait_until_ready(f"http://127.0.0.1:{port}", within_s=30)
            family += process.children(recursive=True)
            yield f"http://127.0.0.1:{port}", process
        finally:
            for one in family:
                if one.is_running():
                    one.kill()


def ended(processes: list[psutil.Process], within_s: float = 10) -> bool:
    return psutil.wait_procs(processes, timeout=within_s)[1] == []


def test_a_stopped_server_leaves_no_process_and_a_started_one_finds_its_data(tmp_path: Path) -> None:
    with serving(tmp_path) as (url, process):
        written = httpx.put(f"{url}/v1/customers/cus_1", json={"attributes": {"recency": 3}, "consent": [CONSENT]})
        assert written.is_success
        family = [process, *process.children(recursive=True)]
        assert len(family) > 1  # the embedded store
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert ended(family)
    with serving(tmp_path) as (url, _):
        assert httpx.get(f"{url}/v1/customers/cus_1").status_code == 200


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.newcomer), signal.SIGKILL])
def test_workers_and_store_end_with_their_supervisor_however_it_ends(tmp_path: Path, number: signal.Signals) -> None:
    with serving(tmp_path, workers=2) as (url, process):
        assert httpx.get(f"{url}/health/live").status_code == 200
        family = [process, *process.children(recursive=True)]
        assert len(family) > 3
        process.send_signal(number)
        assert ended(family)
