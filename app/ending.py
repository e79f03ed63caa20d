"""How what runs beside requests ends."""

from __future__ import annotations

import asyncio

#: A cancellation that was heard ends a task within a turn of the loop; one that was not is repeated after so long.
AGAIN_AFTER_S = 0.05


async def end_task(task: asyncio.Task[None] | None) -> None:
    """Cancel a task, and wait until it has ended; raises what it ended with, if that is an error. None: it was never
    started.

    More than once: before Python 3.12 `asyncio.wait_for`, with which redis-py sends every command, swallows a
    cancellation that comes as it ends (https://github.com/python/cpython/issues/86296), and a task that loops goes on.
    Waited for, it would keep its process from ever ending.
    """
    if task is None:
        return
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=AGAIN_AFTER_S)
    if not task.cancelled():
        task.result()
