"""uvicorn's configuration with what is ours, and how a worker ends when its supervisor does."""

from __future__ import annotations

import multiprocessing
import multiprocessing.process
import os
import signal
import threading
from dataclasses import dataclass

from uvicorn import Config


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may weigh and how long it may take to arrive."""

    body_bytes: int = 262_144
    head_bytes: int = 32_768  # a bearer key, a traceparent and a proxy's additions need 2 KiB; nginx takes 32 KiB
    header_count: int = 100
    request_timeout_s: float = 10.0


class ServerConfig(Config):
    """uvicorn's configuration, which travels to worker processes, with our limits."""

    limits: Limits = Limits()

    def load(self) -> None:
        """Runs in each worker, before it serves."""
        super().load()
        supervisor = multiprocessing.parent_process()
        if supervisor is not None:
            threading.Thread(target=_end_with, args=(supervisor,), daemon=True).start()


def _end_with(supervisor: multiprocessing.process.BaseProcess) -> None:
    """A worker whose supervisor was killed would keep the port for itself, with nobody left to stop it."""
    supervisor.join()
    os.kill(os.getpid(), signal.SIGTERM)
