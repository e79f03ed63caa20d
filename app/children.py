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
from pathlib import Path

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
        self._renewing = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep_running, name=module, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends it, in order if it can; returns when it has ended."""
        self._stopping.set()
        if self._process is not None:
            _end(self._process)
        self._thread.join()

    def renew(self) -> None:
        """Ends it, in order if it can, and starts it again at once: it reads its bundle and its settings anew."""
        if self._process is not None and self._process.poll() is None:
            self._renewing.set()
            self._process.terminate()

    def _keep_running(self) -> None:
        pause_s = PAUSE_S
        wait_s = self._first_after_s
        while not self._stopping.wait(wait_s):
            began_s = time.monotonic()
            code = self._run()
            if code is None:
                return
            if self._renewing.is_set():
                self._renewing.clear()
                wait_s = 0.0
                continue
            pause_s = PAUSE_S if time.monotonic() - began_s > LIVED_S else min(PAUSE_S_MAX, 2 * pause_s)
            log.warning("a process ended and is started again", extra={"what": self._name, "exit_code": code})
            wait_s = pause_s

    def _run(self) -> int | None:
        """Run it until it ends by itself: its exit code; None where we ended it."""
        # Of a session of its own: Ctrl-C is for the server, which ends it in turn.
        process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603  # ours
        set_niceness(process.pid, self._niceness)
        watchdog = end_with_us(process.pid)
        self._process = process
        try:
            # Without a timeout: with one, Python looks fifty times a second whether it has ended, and each time takes
            # the interpreter from who is deciding.
            code = None if self._stopping.is_set() else process.wait()
            return None if self._stopping.is_set() else code
        finally:
            _end(process)
            watchdog.kill()
            watchdog.communicate()


def set_niceness(pid: int, niceness: int) -> None:
    """Of a process in a session of its own: how far it leaves the processor to others. Where Linux groups processes by
    session, niceness counts within a session only, and the session's own counts between them: see `autogroup` in
    sched(7), https://man7.org/linux/man-pages/man7/sched.7.html."""
    with contextlib.suppress(OSError):  # it has ended already, it is not allowed, or this is another system
        os.setpriority(os.PRIO_PROCESS, pid, niceness)
        Path(f"/proc/{pid}/autogroup").write_text(str(niceness))


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def renew(children: Sequence[Child]) -> None:
    """Each ends and starts again."""
    for child in children:
        child.renew()


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
