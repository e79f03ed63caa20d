"""What is measured, running: a store, a server, event workers. All of them on all cores, as on one small machine; or,
pinned, the server on one core and everything else on another.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import redis

from app.children import set_niceness
from app.serve import WORKER_NICENESS
from loadtests.events.traffic import CUSTOMERS, Batches, key, person
from loadtests.events.visible import Visible
from loadtests.standard.machine import Usage, cores, usage
from loadtests.standard.servers import (
    HOST,
    ROOT,
    STOP_S,
    Server,
    bulk,
    free_port,
    project_command,
    project_env,
    started,
    valkey,
)

BUNDLE = Path(__file__).parent / "bundle"
SERVER = "project"


@dataclass(slots=True)
class Stage:
    """Everything that runs, and the events that nobody has sent yet."""

    server: Server
    store: redis.Redis
    store_process: psutil.Process
    visible: Visible
    logs: Path
    env: dict[str, str]
    core: int | None  # of everything but the server, where that is pinned
    batches: Batches = field(default_factory=Batches)
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_worker(self) -> subprocess.Popen[bytes]:
        """One more event worker."""
        run = "from app.cli import main; main()"
        with (self.logs / f"worker{len(self.workers)}.log").open("wb") as out:
            command = [sys.executable, "-c", run, "worker", "--bundle", str(BUNDLE)]
            child = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **self.env},
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        set_niceness(child.pid, WORKER_NICENESS)  # as `serve` runs it
        if self.core is not None:
            os.sched_setaffinity(child.pid, {self.core})  # threads that come later inherit it
        self.workers.append(child)
        return child

    def stop_workers(self) -> None:
        for child in self.workers:
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        for child in self.workers:
            try:
                child.wait(STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.workers.clear()

    def used(self) -> dict[str, Usage]:
        """Processor time by part of the machine."""
        workers = [usage(psutil.Process(child.pid)) for child in self.workers if child.poll() is None]
        return {
            "door and decisions": self.server.usage(),
            "worker": Usage(sum(each.cpu_s for each in workers), sum(each.rss_bytes for each in workers)),
            "store": usage(self.store_process),
        }


@contextmanager
def stage(markers: Sequence[str], room_bytes: int | None = None, *, pinned: bool = False) -> Iterator[Stage]:
    """Everything started and loaded; `room_bytes`: what the event streams may hold, where not as usual. Raises
    CannotStart."""
    own, chosen = os.sched_getaffinity(0), cores()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nextbest-bench-")))
        store, url = stack.enter_context(valkey(folder, chosen.driver))
        store_process = psutil.Process(int(store.info("server")["process_id"]))
        if pinned:
            stack.callback(os.sched_setaffinity, 0, own)
            os.sched_setaffinity(0, {chosen.driver})
        else:
            store_process.cpu_affinity([])  # wherever the system likes
        env = project_env(url) | {"NEXTBEST_EVENT_WORKER": "false", "NEXTBEST_ARCHIVE": "off"}
        if room_bytes is not None:
            env["NEXTBEST_EVENT_STREAM_BYTES"] = str(room_bytes)
        port = free_port()
        server = stack.enter_context(
            started(
                SERVER,
                project_command(port, BUNDLE),
                port,
                core=chosen.server if pinned else None,
                logs=folder,
                env=env,
            )
        )
        on = Stage(server, store, store_process, Visible(store, BUNDLE), folder, env, chosen.driver if pinned else None)
        stack.callback(on.stop_workers)
        names = [*(key(number) for number in range(CUSTOMERS)), *markers]
        bulk(port, (json.dumps(person(name)) for name in names))
        on.start_worker()
        on.visible.await_held(0)
        yield on


__all__ = ["BUNDLE", "HOST", "Stage", "stage"]
