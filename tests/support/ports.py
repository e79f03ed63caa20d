"""Ports for servers that tests start."""

from __future__ import annotations

import random
import socket


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses now, all at once; below those that outgoing connections get, of which one might take a
    port before its server starts, or while it is started again."""
    probes: list[socket.socket] = []
    try:
        while len(probes) < count:
            probe = socket.socket()
            try:
                probe.bind(("127.0.0.1", random.randrange(10_000, 32_000)))
            except OSError:
                probe.close()
            else:
                probes.append(probe)
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def free_port() -> int:
    """One of them."""
    (port,) = free_ports(1)
    return port
