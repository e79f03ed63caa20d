"""The store's append-only file: it holds what was deleted until the store writes it anew."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from app.store.customer_trouble import store_errors
from app.store.servers import servers

#: How often to look whether the store has written its file anew, and how long at most.
LOOK_EVERY_S = 0.1
WRITTEN_WITHIN_S = 1_800.0


async def write_anew(client: Redis) -> str:
    """Have the store write its file anew, without what was deleted, and wait for that; in a cluster every server, the
    replicas too, one after the other. A note where it cannot."""
    with store_errors():
        notes = [await _write_anew(client, at) for at in await servers(client)]
    return next((each for each in notes if each), "")


async def _write_anew(client: Redis, at: dict[str, Any]) -> str:
    info: dict[str, Any] = await client.info("persistence", **at)
    if not int(info.get("aof_enabled", 0)):
        return "the store keeps no append-only file"
    begun = False
    for _ in range(round(WRITTEN_WITHIN_S / LOOK_EVERY_S)):
        if not begun and not _is_writing(info):
            try:
                await client.bgrewriteaof(**at)
                begun = True
            except ResponseError as error:
                if "progress" not in str(error):
                    return "the store does not allow it: have whoever runs it rewrite its files"
        await asyncio.sleep(LOOK_EVERY_S)
        info = await client.info("persistence", **at)
        if begun and not _is_writing(info):
            if info.get("aof_last_bgrewrite_status") == "ok":
                return ""
            begun = False  # it failed, as on a full disk: again
    return "the store did not finish within half an hour: look at its log, and rewrite its file by hand"


def _is_writing(info: dict[str, Any]) -> bool:
    return bool(int(info.get("aof_rewrite_in_progress", 0)) or int(info.get("aof_rewrite_scheduled", 0)))
