"""Links for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from app.store.link import Link, OnConnect, open_link


def soon(seconds: float = 1.0) -> float:
    """A deadline on the running loop's clock."""
    return asyncio.get_running_loop().time() + seconds


@asynccontextmanager
async def linked(url: str, *, on_connect: OnConnect | None = None) -> AsyncIterator[Link]:
    """A link that is connected; closed afterwards."""
    async with linking(url, on_connect=on_connect) as link:
        assert await link.wait_connected(5), link.last_error
        yield link


@asynccontextmanager
async def linking(url: str, *, on_connect: OnConnect | None = None) -> AsyncIterator[Link]:
    """A link that has begun to connect; closed afterwards."""
    link = open_link(url, on_connect=on_connect)
    link.start()
    try:
        yield link
    finally:
        await link.close()


async def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait for what has no event of its own, such as another process; fails when it does not come."""
    give_up_at = soon(timeout_s)
    while not condition():
        assert soon(0) < give_up_at, "it did not happen in time"
        await asyncio.sleep(0.002)
