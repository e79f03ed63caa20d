"""Entries of the outcome stream, `{s}:outcomes`: whom one is about. Pure.

d decision id (absent: none is known) · c customer · t type, or `rewarded` · a when (Unix ms) · v value
m `1`: a machine · p provider · s stage after it · r SMTP code · x of `rewarded`: its parts (MessagePack)
"""

from __future__ import annotations

from collections.abc import Mapping

from app.core.decision.ids import parse_id


def whose(fields: Mapping[bytes, bytes]) -> tuple[str, int] | None:
    """Whom an entry is about, and the time by which an erasure of them takes it in: when its decision was made, else
    when it happened (Unix ms). None: it cannot be read."""
    try:
        decision = parse_id(fields.get(b"d", b"").decode())
        return fields[b"c"].decode(), int(fields[b"a"]) if decision is None else decision.at_ms
    except (ValueError, LookupError):
        return None
