"""Lua scripts beside this file, run by digest and sent again when the store has forgotten them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from typing import Any, NamedTuple, cast

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import NoScriptError, RedisError


class Call(NamedTuple):
    """One run of a script; all its keys lie in one slot."""

    keys: tuple[bytes, ...]
    args: tuple[bytes, ...]


class Ran(NamedTuple):
    """The replies, in the order of the calls, and whether the store said that all is on its disk."""

    replies: list[Any]
    on_disk: bool


@dataclass(frozen=True, slots=True)
class Script:
    """A script. `sha` is how EVALSHA names it."""

    source: bytes
    sha: bytes

    @classmethod
    def load(cls, name: str, *shared: str) -> Script:
        """Read a script that is shipped beside this file, behind the files of functions that it `shared` with others: a
        script of the store's cannot call another."""
        texts = [files("app.store").joinpath(each).read_bytes() for each in (*shared, name)]
        flags = texts[-1][: texts[-1].index(b"\n") + 1] if texts[-1].startswith(b"#!") else b""
        texts[-1] = texts[-1][len(flags) :]
        source = flags + b"".join(texts)
        return cls(source, sha1(source, usedforsecurity=False).hexdigest().encode())

    async def run(self, client: Redis, calls: Sequence[Call], on_disk_within_ms: int = 0) -> Ran:
        """Run for each call in turn, in one round trip; raises the first redis error.

        With `on_disk_within_ms` the store is asked, on the same connection, to answer only when its append-only file is
        synced (WAITAOF, Redis and Valkey ≥ 7.2); a store that cannot do so answers not on disk, and so does a cluster
        that redirected any of it.
        """
        replies = await self._pipelined(client, calls, on_disk_within_ms)
        unknown = [i for i, reply in enumerate(replies[: len(calls)]) if isinstance(reply, NoScriptError)]
        if unknown:  # after a restart or a SCRIPT FLUSH: these have not run
            await client.script_load(self.source)
            again = await self._pipelined(client, [calls[i] for i in unknown], on_disk_within_ms)
            for i, reply in zip(unknown, again, strict=False):
                replies[i] = reply
            # Of those that ran before, only what was asked behind them says that they are on disk.
            replies[len(calls) :] = (
                again[len(unknown) :]
                if len(unknown) == len(calls)
                else [*replies[len(calls) :], *again[len(unknown) :]]
            )
        for reply in replies[: len(calls)]:
            if isinstance(reply, RedisError):
                raise reply
        return Ran(replies[: len(calls)], _synced(replies[len(calls) :]))

    async def _pipelined(self, client: Redis, calls: Sequence[Call], on_disk_within_ms: int) -> list[Any]:
        pipeline = client.pipeline(transaction=False)
        for keys, args in calls:
            pipeline.execute_command("EVALSHA", self.sha, len(keys), *keys, *args)
        wrote = await _primaries_of(client, calls) if on_disk_within_ms else []
        for at in wrote:  # redis-py sends what one server gets over one connection, in this order
            pipeline.execute_command("WAITAOF", 1, 0, on_disk_within_ms, **at)
        return list(await pipeline.execute(raise_on_error=False))


async def _primaries_of(client: Redis, calls: Sequence[Call]) -> list[dict[str, Any]]:
    """The keyword for each server that some calls go to."""
    cluster: object = client  # of which redis-py has no type in common
    if not isinstance(cluster, RedisCluster):
        return [{}]
    await cluster.initialize()
    nodes = dict.fromkeys(cluster.get_node_from_key(cast("Any", keys[0])) for keys, _ in calls)
    return [{"target_nodes": node} for node in nodes]


def _synced(replies: list[Any]) -> bool:
    """WAITAOF answers how many local append-only files (at most one) and how many replicas' are synced."""
    return bool(replies) and all(isinstance(each, list) and each[0] >= 1 for each in replies)
