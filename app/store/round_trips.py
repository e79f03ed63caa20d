"""Many commands over a link, in pieces, for work that nobody waits for within milliseconds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from hiredis import ReplyError

from app.store.link import Link

#: Commands go out in pieces of about this size, so that the store answers others in between.
PIECE_BYTES = 32 * 1024
#: How long one piece waits for its replies, in s. The link itself gives up on a silent store after a second.
PATIENCE_S = 2.0
#: Refusals that a new connection may mend: scripts are gone after a restart; it is a replica now, or loads data.
WRONG_CONNECTION = ("NOSCRIPT", "READONLY", "MASTERDOWN", "LOADING")


async def asked(link: Link, commands: Iterable[bytes]) -> list[Any]:
    """All replies, in order. Raises StoreError, and the first refusal as ReplyError: then others may be carried out."""
    replies: list[Any] = []
    piece: list[bytes] = []
    size = 0
    for command in commands:
        piece.append(command)
        size += len(command)
        if size > PIECE_BYTES:
            replies += await _answered(link, piece)
            piece, size = [], 0
    if piece:
        replies += await _answered(link, piece)
    return replies


async def _answered(link: Link, piece: list[bytes]) -> list[Any]:
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    replies = await link.call(b"".join(piece), len(piece), deadline)
    for reply in replies:
        if isinstance(reply, ReplyError):
            if str(reply).startswith(WRONG_CONNECTION):
                link.drop("the store is not what it was")  # what is done after a connect is done again
            raise reply
    return replies


def ms_of(time: list[bytes]) -> int:
    """Unix ms of what TIME answers."""
    return int(time[0]) * 1000 + int(time[1]) // 1000
