"""What a merge tells the worker of a shard, in its stream: so that it comes in the order of its events, once, and is
not lost when somebody dies. No sender can write such an entry: no bundle declares a type that begins so.
"""

from __future__ import annotations

from hashlib import blake2b

from app.core.events.event import Collected
from app.core.features.streams import CARRY


def carrying(loser: str, winner: str, begun_ms: int) -> Collected:
    """The loser became the winner: hand what was folded of it to the winner's shard, and whatever comes from now on.
    `begun_ms` tells this merge from others of the same two, so that a repeat of it is dropped."""
    message_id = blake2b(f"carry\0{loser}\0{winner}\0{begun_ms}".encode(), digest_size=8).digest()
    return Collected(loser, CARRY, 0, begun_ms, begun_ms, message_id, b"", {"to": winner})
