"""What a server says of its memory (`INFO memory`)."""

from __future__ import annotations


def memory_facts(info: bytes) -> dict[str, int]:
    """The numbers among it."""
    facts: dict[str, int] = {}
    for line in info.decode(errors="replace").splitlines():
        name, colon, value = line.partition(":")
        if colon and value.isdigit():
            facts[name] = int(value)
    return facts


def share_used(info: bytes) -> float:
    """How much of the memory that a server may have it uses; 0 where it does not say."""
    facts = memory_facts(info)
    most = facts.get("maxmemory") or facts.get("total_system_memory") or 0
    return facts.get("used_memory", 0) / most if most else 0.0
