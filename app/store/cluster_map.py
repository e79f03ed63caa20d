"""Which server of a cluster has which slots."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from redis.exceptions import ResponseError

from app.store.clients import CONNECT_TIMEOUT_S, open_pool
from app.store.node_link import StoreUnfit
from app.store.slots import SLOTS

Place = tuple[str, int]  # host and port
Server = TypeVar("Server")


class ClusterMap(Generic[Server]):
    """Slot → server. It may be out of date at any time: a server that is asked in vain says so."""

    def __init__(self) -> None:
        self._servers: list[Server | None] = [None] * SLOTS
        self.owners: tuple[Server, ...] = ()
        self.complete = False

    def owner(self, slot: int) -> Server | None:
        return self._servers[slot]

    def learn(self, ranges: Iterable[tuple[int, int, Server]]) -> None:
        """All there is to know: slots that no range has are nobody's. Both ends of a range belong to it."""
        servers: list[Server | None] = [None] * SLOTS
        owners: dict[Server, None] = {}
        for first, last, server in ranges:
            servers[first : last + 1] = [server] * (last + 1 - first)
            owners[server] = None
        self._servers, self.owners = servers, tuple(owners)
        self.complete = None not in servers

    def move(self, slot: int, server: Server) -> None:
        self._servers[slot] = server
        if server not in self.owners:
            self.owners = (*self.owners, server)


def slots_at(asked: Place, reply: list[Any]) -> list[tuple[int, int, Place, list[Place]]]:
    """First slot, last slot, primary and replicas, of a CLUSTER SLOTS reply (https://valkey.io/commands/cluster-slots/):
    a server without a name of its own is reached at the name that was asked, one that is unknown (`?`) not at all."""
    found = []
    for first, last, *servers in reply:
        places = [place for place in (_place(asked, server) for server in servers) if place is not None]
        if places:
            found.append((int(first), int(last), places[0], places[1:]))
    return found


def _place(asked: Place, server: list[Any]) -> Place | None:
    host = (server[0] or b"").decode() if not isinstance(server[0], str) else server[0]
    return None if host == "?" else (host or asked[0], int(server[1]))


async def ask_for_slots(url: str, client_name: str) -> Any:
    """CLUSTER SLOTS over a connection of its own. Raises redis errors, OSError; StoreUnfit of no cluster."""
    connection = open_pool(url, client_name=client_name, reply_timeout_s=CONNECT_TIMEOUT_S).make_connection()  # type: ignore[no-untyped-call]  # redis-py
    try:
        async with asyncio.timeout(2 * CONNECT_TIMEOUT_S):
            await connection.connect()
            await connection.send_command("CLUSTER", "SLOTS")
            return await connection.read_response()
    except ResponseError as error:
        if "cluster support disabled" in str(error):
            raise StoreUnfit("the store is a single server: write its address as `redis://`") from None
        raise
    finally:
        await connection.disconnect(nowait=True)
