"""What differs between one server and a cluster for the ordinary clients: which servers there are, and what to ask.

Everything else is the same: each command, script and step of a pipeline touches one slot, and redis-py sends it there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import RedisError

from app.store.resp import Word
from app.store.scripts import Call, Script

TOGETHER = Script.load("together.lua")
#: How often names are looked through again because slots moved meanwhile.
LOOKS_MAX = 3


class SlotsMoving(RedisError):
    """Slots were moved all the time: a look through all names may have missed some."""


def is_cluster(client: Redis) -> bool:
    return isinstance(client, RedisCluster)


async def primaries(client: Redis) -> list[dict[str, Any]]:
    """For each primary the keyword that sends a command to it: `client.info(**at)`."""
    cluster = await _cluster(client)
    return [{}] if cluster is None else [{"target_nodes": node} for node in cluster.get_primaries()]


async def servers(client: Redis) -> list[dict[str, Any]]:
    """The same, replicas included, of which a lone server's are not known."""
    cluster = await _cluster(client)
    return [{}] if cluster is None else [{"target_nodes": node} for node in cluster.get_nodes()]


async def _cluster(client: Redis) -> RedisCluster | None:
    return await cast("Any", client).initialize() if is_cluster(client) else None


async def together(client: Redis, *commands: Sequence[Word]) -> list[Any]:
    """Run commands all at once, as in MULTI; their replies. The key of each is its second word, all in one slot, and
    numbers among the replies are whole. Raises redis errors: then none was run, or those before the one that failed.
    """
    words = [[_word(each) for each in command] for command in commands]
    keys = tuple(dict.fromkeys(command[1] for command in words))
    args = [word for command in words for word in (b"%d" % len(command), *command)]
    return list((await TOGETHER.run(client, [Call(keys, tuple(args))])).replies[0])


def _word(word: Word) -> bytes:
    return word if isinstance(word, bytes) else str(word).encode()


async def scanned(client: Redis, pattern: bytes, page: int) -> AsyncIterator[list[bytes]]:
    """The keys of a pattern, some more than once, about `page` looked at for each list (SCAN); in a cluster those of
    every primary, where keys of a slot that moves meanwhile may be passed over. Raises redis errors."""
    for at in await primaries(client):
        async for found in _scanned_at(client, pattern, page, at):
            yield found


async def all_scanned(client: Redis, pattern: bytes, page: int) -> AsyncIterator[list[bytes]]:
    """The same, passing over none: where slots moved meanwhile everything is looked at again. Raises redis errors, and
    `SlotsMoving`, when most are found already, where there is no end to it."""
    for _ in range(LOOKS_MAX):
        before = await _slots(client)
        async for found in scanned(client, pattern, page):
            yield found
        if before == await _slots(client) and not before[1]:
            return
    raise SlotsMoving("slots of the cluster are being moved: do it again when that is done")


async def _scanned_at(client: Redis, pattern: bytes, page: int, at: dict[str, Any]) -> AsyncIterator[list[bytes]]:
    cursor: Any = 0
    while True:
        cursor, found = await cast("Any", client).scan(cursor, match=pattern, count=page, **at)
        if isinstance(cursor, dict):  # of a cluster: by server
            (cursor,) = cursor.values()
        yield found
        if not int(cursor):
            return


async def _slots(client: Redis) -> tuple[list[Any], bool]:
    """Who has which slots, and whether some are on their way (https://valkey.io/commands/cluster-nodes/)."""
    held, moving = [], False
    for at in await primaries(client) if is_cluster(client) else ():
        nodes = await cast("Any", client).execute_command("CLUSTER NODES", **at)
        own = next(each for each in nodes.values() if "myself" in each["flags"])
        held.append((own["node_id"], own["slots"]))
        moving = moving or bool(own["migrations"])
    return held, moving
