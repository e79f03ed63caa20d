"""The driver before all else on its cores: it stands for callers, who have machines of their own.

Where the driver waits for the server or the store to leave a core, every request that falls due meanwhile is late, and
a latency that counts from then would charge the server for it. Linux groups processes by session, and niceness counts
within one only: the session's own counts between them (`autogroup` in sched(7)), so both are set.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NICENESS = -15
_SESSION = Path("/proc/self/autogroup")


@contextmanager
def ahead_of_others() -> Iterator[None]:
    """Nothing changes where that is not allowed; how late the driver was is in every report."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
    with suppress(OSError):
        _SESSION.write_text(str(NICENESS))
    try:
        yield
    finally:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, before)
        with suppress(OSError):
            _SESSION.write_text("0")


def in_a_session_of_its_own() -> None:
    """Of a process that makes load, and is no caller whose latency counts: it takes its turn with others."""
    os.setsid()
    os.setpriority(os.PRIO_PROCESS, 0, 0)
