"""Features of a customer, as they lie in the store: a command for the read of a decision, and what its reply means."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from app.core.features.live import LiveFeatures
from app.core.features.plan import State
from app.store.resp import bulk, command_prefix


class FeatureReads:
    """Asks for the groups that some features are read from. What a customer's features were carried to is not asked:
    who was merged is decided as the other one, and nothing else is left here then."""

    __slots__ = ("_fields", "_live", "_prefix")

    def __init__(self, live: LiveFeatures) -> None:
        self._live = live
        self._prefix = command_prefix(2 + len(live.groups), "HMGET")
        self._fields = b"".join([bulk(group.key.encode()) for group in live.groups])

    def command(self, key: bytes) -> bytes:
        """`key`: that of the customer's features."""
        return self._prefix + bulk(key) + self._fields

    def state(self, reply: Any) -> State | None:
        """What the reply says; None: it cannot be read, which leaves features missing and stops no decision."""
        return self._live.state(reply) if isinstance(reply, list) else None


@lru_cache(maxsize=1024)
def reads_of(live: LiveFeatures) -> FeatureReads:
    """How these are asked for."""
    return FeatureReads(live)
