"""The way out of a server process, so that nobody who asks it sees a broken connection.

| signal | readiness | answers | new connections | idle ones |
|---|---|---|---|---|
| SIGTERM: the node leaves | 503 at once | end their connection | taken for `NEXTBEST_DRAIN_S` | then closed |
| SIGUSR1: another worker takes over | stays | end their connection | go to the others | closed `RETIRING_S` later |

HTTP/1.1 has no word for "go elsewhere" but `Connection: close` on an answer (RFC 9112, 9.6), so a connection is told
when it is next used. One that is not used in all that time is closed; who sends in that very moment may lose a request,
as on any server that closes idle connections.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

#: What the supervisor of several workers sends to one that was replaced.
RETIRE = signal.SIGUSR1
#: How long a worker that was replaced waits for its connections to be used once more. Pools of clients in use turn over
#: in less; those of a journey tool between two sends do not matter, since they open anew.
RETIRING_S = 3.0
#: How long a connection that was just taken is given to send what it came for.
FRESH_S = 0.5

_Handler = Callable[[int, FrameType | None], object]


class Drain:
    """Whether this process is on its way out, and how far."""

    __slots__ = ("begun", "idle_s", "leaving")

    def __init__(self) -> None:
        self.begun = False  # each answer ends its connection
        self.leaving = False  # the whole node goes: it should get no traffic
        self.idle_s = 0.0  # how long idle connections are kept once no more are taken

    @contextmanager
    def on_signals(self, delay_s: float) -> Iterator[None]:
        """While open, SIGTERM and `RETIRE` begin the drain. The server's own handler of SIGTERM, which ends it, runs
        `delay_s` seconds after SIGTERM, and at once after `RETIRE` or a second SIGTERM.

        Open it in the lifespan, when the server has installed its handler.
        """
        if threading.current_thread() is not threading.main_thread():
            yield  # signals reach the main thread alone: an application inside a test client has none
            return
        end = signal.getsignal(signal.SIGTERM)
        if not callable(end):
            yield
            return
        before = signal.signal(signal.SIGTERM, self._leave(end, delay_s)), signal.signal(RETIRE, self._retire(end))
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before[0])
            signal.signal(RETIRE, before[1])

    def _leave(self, end: _Handler, delay_s: float) -> _Handler:
        loop = asyncio.get_running_loop()

        def handle(number: int, frame: FrameType | None) -> None:
            again, self.begun, self.leaving = self.begun, True, True
            if again or delay_s <= 0:
                self.idle_s = 0.0
                end(number, frame)
            else:
                loop.call_soon_threadsafe(loop.call_later, delay_s, end, number, None)

        return handle

    def _retire(self, end: _Handler) -> _Handler:
        def handle(_: int, frame: FrameType | None) -> None:
            if not self.begun:
                self.begun, self.idle_s = True, RETIRING_S
                end(signal.SIGTERM, frame)

        return handle
