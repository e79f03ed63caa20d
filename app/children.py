"""Processes that `serve` runs beside the server: started again when they die, ended with it."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from app.store.embedded import end_with_us

log = logging.getLogger("nextbest.children")

#: The server starts first: both import for a second or two, and somebody waits for its first answer.
FIRST_AFTER_S = 2.0
#: The pause before a process that died is started again, in s; doubled each time, until one lived for a minute.
PAUSE_S, PAUSE_S_MAX = 0.5, 30.0
LIVED_S = 60.0
#: How long a process may take to end in order.
STOP_S = 8.0


class Child:
    """One process, `python -m <module>`, with our environment. It ends when we do, however that is."""

    def __init__(self, module: str, niceness: int, first_after_s: float = FIRST_AFTER_S) -> None:
        """`niceness` (0–19): how far it steps back where processors are short. Decisions come first."""
        self._command: Sequence[str] = (sys.executable, "-m", module)
        self._name = module
        self._niceness = niceness
        self._first_after_s = first_after_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep_running, name=module, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends it, in order if it can; returns when it has ended."""
        self._stopping.set()
        self._thread.join()

    def _keep_running(self) -> None:
        pause_s = PAUSE_S
        wait_s = self._first_after_s
        while not self._stopping.wait(wait_s):
            began_s = time.monotonic()
            code = self._run()
            if code is None:
                return
            pause_s = PAUSE_S if time.monotonic() - began_s > LIVED_S else min(PAUSE_S_MAX, 2 * pause_s)
            log.warning("a process ended and is started again", extra={"what": self._name, "exit_code": code})
            wait_s = pause_s

    def _run(self) -> int | None:
        """Run it until it ends by itself: its exit code; None where we ended it."""
        # Of a session of its own: Ctrl-C is for the server, which ends it in turn.
        process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603  # ours
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            os.setpriority(os.PRIO_PROCESS, process.pid, self._niceness)
        watchdog = end_with_us(process.pid)
        try:
            while not self._stopping.is_set():
                try:
                    return process.wait(0.2)
                except subprocess.TimeoutExpired:
                    continue
            return None
        finally:
            _end(process)
            watchdog.kill()
            watchdog.communicate()


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def running(*children: Child) -> Iterator[None]:
    """They run while the block does."""
    for child in children:
        child.start()
    try:
        yield
    finally:
        for child in children:
            child.stop()
