"""Which slot of a cluster a packed command belongs to, and what a cluster says when it was asked at the wrong place.

https://valkey.io/topics/cluster-spec/ (slots, MOVED, ASK, TRYAGAIN).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hiredis import Reader, ReplyError
from redis.crc import key_slot

SLOTS = 16_384
#: Commands of the link's callers without a key. Of these, `ANY` are answered by any server; the others concern all.
ANY = frozenset({b"TIME", b"PING"})
EVERYWHERE = frozenset({b"INFO", b"SCRIPT", b"WAITAOF"})
#: Where the first key of a command stands, if not behind its name. All further keys lie in the same slot.
_KEY_AT = {b"EVAL": 3, b"EVALSHA": 3, b"MEMORY": 2, b"XINFO": 2, b"OBJECT": 2}

Words = list[bytes]


class Redirect(NamedTuple):
    """Nothing of the command was carried out: it is to be asked again, there, or a little later (no address)."""

    kind: str  # MOVED, ASK or TRYAGAIN
    host: str = ""  # empty: the one that answered
    port: int = 0


def commands_of(packed: bytes, count: int) -> list[Words]:
    """The words of packed commands: a request is encoded like a reply, so that the parser of replies takes it apart,
    in C (about 1 µs a command)."""
    reader = Reader()
    reader.feed(packed)
    return [reader.gets() for _ in range(count)]


def slot_of(words: Words) -> int | None:
    """None of a command without a key."""
    name = words[0]
    if name in ANY or name in EVERYWHERE:
        return None
    return key_slot(words[_KEY_AT.get(name, 1)])


def redirect_of(reply: Any) -> Redirect | None:
    """What an error reply says of where to ask; None of all others."""
    if type(reply) is not ReplyError:
        return None
    kind, *rest = str(reply).split(" ")
    if kind == "TRYAGAIN":
        return Redirect(kind)
    if kind not in ("MOVED", "ASK") or len(rest) < 2:
        return None
    host, _, port = rest[1].rpartition(":")
    if not port.isdecimal():
        return None
    return Redirect(kind, "" if host == "?" else host.strip("[]"), int(port))
