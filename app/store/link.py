"""The hot path's way to the store, whatever the store is: one server, one that sentinels watch, or a cluster.

redis-py connects: TCP, TLS, unix sockets, AUTH, SELECT. When its handshake is done its transport is given to a `Wire`,
which is all that speaks on it from then on. While there is no usable connection every call fails at once: a decision
has no time to wait for a store, and answers without it (marketing fails closed, by the callers).
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from hiredis import ReplyError

from app.store.addresses import Kind, parse
from app.store.cluster_link import ClusterLink
from app.store.node_link import NodeLink, OnConnect, StoreUnfit
from app.store.resp import Word, bulk, command_prefix, pack
from app.store.sentinel_link import SentinelLink
from app.store.wire import Caller, LinkCounters, StoreBusy, StoreDown, StoreError, StoreTimeout, Wire

__all__ = [
    "Caller",
    "Link",
    "LinkCounters",
    "OnConnect",
    "ReplyError",
    "StoreBusy",
    "StoreDown",
    "StoreError",
    "StoreTimeout",
    "StoreUnfit",
    "Wire",
    "Word",
    "bulk",
    "command_prefix",
    "open_link",
    "pack",
]


class Link(Protocol):
    """`start()`, then `call()` from any task of this loop, `close()` at the end."""

    @property
    def counters(self) -> LinkCounters: ...

    @property
    def last_error(self) -> str | None:
        """Why there is no connection; None while there is one. For readiness reports: never holds a secret."""

    @property
    def connected(self) -> bool: ...

    @property
    def bytes_pending(self) -> int:
        """Bytes of commands whose replies have not come yet."""

    def start(self) -> None:
        """Begin to connect, in the background; there need be no server yet. Called on the running loop."""

    async def wait_connected(self, timeout_s: float) -> bool:
        """Whether the link became usable within `timeout_s`."""

    def call(self, packed: bytes, replies: int, deadline: float) -> asyncio.Future[list[Any]]:
        """Send `packed`, one or several commands (`pack`), and get their replies in order.

        `replies` is the number of commands; `deadline` is on the loop's clock (`loop.time()`, s). A command that the
        store refused has a `ReplyError` in its place in the list: it is not raised, since its neighbours succeeded.
        The future fails with `StoreTimeout`, `StoreDown` or `StoreBusy`; each says by `sent` whether the store may
        have carried out what it was asked. Cancelling the future gives up the reply, not the connection.

        All keys of one command lie in one slot. In a cluster, commands of one call run in their order where their keys
        lie at one server, such as those of one shard; those of others run beside them.
        """

    def drop(self, reason: str) -> None:
        """Look anew at what the store is: for callers whom a reply told that a connection leads to the wrong place
        (`READONLY`, `MASTERDOWN`), or that the server forgot what `on_connect` had told it (`NOSCRIPT`)."""

    async def close(self) -> None:
        """End the connection and stop making new ones. What still waits on it fails."""


def open_link(url: str, *, client_name: str = "nextbest", on_connect: OnConnect | None = None) -> Link:
    """The link for an address. `on_connect` runs after every connect, before the link counts as connected. Raises
    ValueError for an address that cannot be understood, without repeating it."""
    if parse(url).kind is Kind.CLUSTER:
        return ClusterLink(url, client_name=client_name, on_connect=on_connect)
    node_link = SentinelLink if parse(url).kind is Kind.SENTINEL else NodeLink
    return node_link(url, client_name=client_name, on_connect=on_connect)
