"""The driver before all else on its cores: it stands for callers, who have machines of their own.

Where the driver waits for the server or the store to leave a core, every request that falls due meanwhile is late, and
a latency that counts from then would charge the server for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from app.children import set_niceness

NICENESS = -15


@contextmanager
def ahead_of_others() -> Iterator[None]:
    """Nothing changes where that is not allowed; how late the driver was is in every report."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    set_niceness(os.getpid(), NICENESS)
    try:
        yield
    finally:
        set_niceness(os.getpid(), before)


def in_a_session_of_its_own() -> None:
    """Of a process that makes load, and is no caller whose latency counts: it takes its turn with others."""
    os.setsid()
    set_niceness(os.getpid(), 0)
