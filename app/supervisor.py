"""The parent of several server processes: it keeps them running, and on SIGHUP replaces them without refusing anybody.

uvicorn's supervisor does the former. Of its restart we keep the order (a new worker serves before an old one goes) and
change the way out: an old worker is asked to retire, so that connections that are kept alive see no reset, and the next
one is started meanwhile.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Callable

from uvicorn import Config
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from app.http.drain import RETIRE

log = logging.getLogger("nextbest.supervisor")

#: A worker imports for a second or two, on a machine whose processors are busy with its predecessors for several.
READY_S = 60.0
#: The pause before a worker that could not start is tried again, in s; doubled each time. Each try costs the imports.
PAUSE_S, PAUSE_S_MAX = 0.5, 30.0


class Supervisor(Multiprocess):
    """Runs until SIGINT or SIGTERM."""

    def __init__(self, config: Config, sockets: list[socket.socket], beside: Callable[[], object]) -> None:
        """`beside` starts what runs beside the server again: it serves the same bundle."""
        super().__init__(config, sockets)
        self._beside = beside
        self._retiring: list[Process] = []
        self._missing = 0  # workers that could not start
        self._pause_s, self._try_at_s = PAUSE_S, 0.0

    def handle_hup(self) -> None:
        """SIGHUP: new workers, with the bundle, the models and the code that are there now."""
        for number, old in enumerate(list(self.processes)):
            new = Process(self.config, self.sockets)
            new.start()
            if not new.wait_until_ready(READY_S, self.should_exit):
                new.kill()
                new.join()
                log.error("a new worker did not start: those that run go on as they are, its own log says why")
                return
            self.processes[number] = new
            self._retire(old)
        self._beside()

    def _retire(self, old: Process) -> None:
        if old.exitcode is None and old.pid is not None:
            os.kill(old.pid, RETIRE)
        self._retiring.append(old)

    def keep_subprocess_alive(self) -> None:
        if self.should_exit.is_set():
            return
        super().keep_subprocess_alive()
        if self.should_exit.is_set():  # uvicorn gives up where one could not start
            self._set_aside()
        self._try_again()
        for old in [each for each in self._retiring if each.exitcode is not None]:
            old.join()
            self._retiring.remove(old)

    def _set_aside(self) -> None:
        """A worker that cannot start, such as after a mistake was deployed, ends the server only where none serves:
        uvicorn would take those that do with it."""
        failed = [each for each in self.processes if each.exitcode == STARTUP_FAILURE]
        if not any(each.exitcode is None and each.is_ready(1) for each in self.processes):
            return
        self.should_exit.clear()
        for each in failed:
            self.processes.remove(each)
        self._missing += len(failed)
        self._try_at_s, self._pause_s = time.monotonic() + self._pause_s, min(PAUSE_S_MAX, 2 * self._pause_s)
        log.error("a worker could not start and is tried again: the others go on, its own log says why")

    def _try_again(self) -> None:
        if self.should_exit.is_set() or time.monotonic() < self._try_at_s:
            return
        if not self._missing:
            self._pause_s = PAUSE_S
            return
        for _ in range(self._missing):
            process = Process(self.config, self.sockets)
            process.start()
            self.processes.append(process)
        self._missing = 0
        self._try_at_s = time.monotonic() + READY_S  # by then it serves, or has failed again

    def handle_term(self) -> None:
        super().handle_term()
        for one in self.sockets:  # the workers have their own; with ours open, callers would wait for nobody
            one.close()

    def terminate_all(self) -> None:
        super().terminate_all()
        for old in self._retiring:
            if old.exitcode is None and old.pid is not None:
                os.kill(old.pid, signal.SIGTERM)

    def join_all(self) -> None:
        super().join_all()
        for old in self._retiring:
            old.join()
