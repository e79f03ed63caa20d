"""Letting go of what shards' streams hold and nobody needs any more."""

from __future__ import annotations

from collections.abc import Sequence

from app.store.keys import Keys
from app.store.link import Link
from app.store.resp import pack
from app.store.round_trips import asked
from app.store.shard_leases import Held

#: Before the first entry of a stream.
START = b"0-0"


async def trim(link: Link, keys: Keys, shards: Sequence[Held]) -> None:
    """Let go of what is applied, and archived where there is an archive. Raises StoreError, ReplyError."""
    due = [(each, upto) for each in shards if (upto := trimmable(each)) and upto != each.trimmed]
    await asked(link, [pack("XTRIM", keys.events(each.shard), "MINID", _after(upto)) for each, upto in due])
    for each, upto in due:
        each.trimmed = upto


def trimmable(held: Held) -> bytes:
    """The last entry that nobody needs any more; empty: there is none."""
    if held.position == START:
        return b""
    return min(held.position, held.archived, key=order_of) if held.archived else held.position


def order_of(entry_id: bytes) -> tuple[int, int]:
    """What an entry's id says: Unix ms, and a number within that."""
    ms, _, number = entry_id.partition(b"-")
    return int(ms), int(number or 0)


def _after(entry_id: bytes) -> bytes:
    ms, number = order_of(entry_id)
    return b"%d-%d" % (ms, number + 1)
