"""Plain redis-py clients for all that is off the hot path, and what a server must be to serve as the store."""

from __future__ import annotations

import contextlib
import time
from typing import Any, cast

from redis import Redis as BlockingRedis
from redis import Sentinel as BlockingSentinel
from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import AbstractConnection, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.cluster import ClusterNode as BlockingNode
from redis.cluster import RedisCluster as BlockingCluster
from redis.exceptions import ConnectionError, NoPermissionError, RedisError, ResponseError

from app.store.addresses import Address, Kind, parse
from app.store.cluster_client import ClusterClient
from app.store.servers import is_cluster, primaries

CONNECT_TIMEOUT_S = 1.0
#: Off the hot path nobody waits for milliseconds; this only keeps a frozen server from holding a task for ever.
REPLY_TIMEOUT_S = 5.0
#: Connections a process opens for what is off the hot path. The store runs one command at a time whatever their number;
#: who comes in a burst waits for a free one, since a withdrawal must not be refused for having come with many others.
CONNECTIONS_MAX = 64
#: To each server of a cluster. Nobody waits there for a free one (redis-py refuses who finds none): so many come never.
CLUSTER_CONNECTIONS_MAX = 1_000
#: One of several sentinels that does not answer must not use up the time in which a connect has to be done.
SENTINEL_TIMEOUT_S = 0.5
#: Writes that a replaced primary takes are lost; this bounds for how long it is given any.
ASK_EVERY_S = 0.5

REDIS_VERSION_MIN = (7, 0)
VALKEY_VERSION_MIN = (7, 2)

NOT_UNDERSTOOD = ValueError(
    "the store's address cannot be understood: write `redis://`, `rediss://`, `unix://`, `redis+sentinel://` or "
    "`redis+cluster://`, and percent-encode what is special in its password"
)


class SentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to the primary that sentinels name; who comes in a burst waits for a free one.

    They are asked again while connections are in use: a primary that was replaced while it was well does not hear of it
    for some ten seconds, and a withdrawal that it takes meanwhile is lost.
    """

    _ask_at_s = 0.0

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        """See redis-py; one to a former primary leads to the new one. Where no sentinel answers, it stays as it is."""
        if time.monotonic() >= self._ask_at_s:
            self._ask_at_s = time.monotonic() + ASK_EVERY_S
            with contextlib.suppress(RedisError, OSError):
                await self.get_master_address()  # type: ignore[no-untyped-call]  # redis-py
        at = (getattr(connection, "host", None), getattr(connection, "port", None))
        if connection.is_connected and self.master_address not in (None, at):
            await connection.disconnect()
        await super().ensure_connection(connection)

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """At the end also from the sentinels, which redis-py leaves to whoever asked for the pool."""
        await super().disconnect(inuse_connections)
        if inuse_connections:
            await self.sentinel_manager.aclose()


def open_pool(url: str, *, client_name: str, reply_timeout_s: float = REPLY_TIMEOUT_S) -> ConnectionPool:
    """A pool of connections to one server: to `url` itself (`redis://`, `rediss://`, `unix://`), or to the primary that
    its sentinels name; connects to nothing yet.

    Raises ValueError for a URL that cannot be understood, without repeating it: it may hold a password.
    """
    address = parse(url)
    options = _options(client_name, reply_timeout_s) | {"timeout": REPLY_TIMEOUT_S}  # for a free connection
    if address.kind is Kind.SENTINEL:
        return _sentinel_pool(address, options)
    if url.startswith("unix:"):
        del options["socket_keepalive"]
    try:
        return BlockingConnectionPool.from_url(url, **options)
    except ValueError:
        raise NOT_UNDERSTOOD from None


def _options(client_name: str, reply_timeout_s: float) -> dict[str, Any]:
    return {
        "protocol": 2,
        "client_name": client_name,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": reply_timeout_s,
        "socket_keepalive": True,
        "max_connections": CONNECTIONS_MAX,
    }


def _sentinel_pool(address: Address, options: dict[str, Any]) -> SentinelPool:
    shared = _parsed(address.node_url(*address.nodes[0]))
    del shared["host"], shared["port"]
    shared["ssl"] = shared.pop("connection_class", None) is SSLConnection
    theirs: dict[str, Any] = {name: value for name, value in shared.items() if name.startswith("ssl")}
    theirs |= {"socket_connect_timeout": SENTINEL_TIMEOUT_S, "socket_timeout": SENTINEL_TIMEOUT_S, "protocol": 2}
    theirs["retry"] = Retry(NoBackoff(), 0)  # the next sentinel is asked at once
    sentinels = Sentinel(address.nodes, sentinel_kwargs=theirs | dict(address.sentinel_options))  # type: ignore[no-untyped-call]  # redis-py
    return SentinelPool(address.service, sentinels, **options, **shared)  # type: ignore[no-untyped-call]  # redis-py


def _parsed(url: str) -> dict[str, Any]:
    try:
        return dict(parse_url(url))
    except ValueError:
        raise NOT_UNDERSTOOD from None


def open_client(url: str, *, client_name: str = "nextbest") -> Redis:
    """A client over its own pool: replies are bytes, broken connections are retried three times within a second. A
    silent one is not: its caller has waited long enough.

    Of a cluster it is redis-py's `RedisCluster`, which has the methods that are used here and no type in common; what
    differs is in `app.store.servers`.
    """
    retry = Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.5), 3, (ConnectionError,))
    address = parse(url)
    if address.kind is Kind.CLUSTER:
        return cast("Redis", _cluster_client(address, client_name, retry))
    client: Redis = Redis.from_pool(open_pool(url, client_name=client_name))
    client.set_retry(retry)
    return client


def open_blocking(url: str, *, timeout_s: float) -> BlockingRedis:
    """A blocking client, for what has no loop. Raises ValueError for a URL that cannot be understood."""
    address = parse(url)
    if address.kind is Kind.SERVER:
        return BlockingRedis.from_url(url, socket_timeout=timeout_s)
    options = _parsed(address.node_url(*address.nodes[0]))
    options["ssl"] = options.pop("connection_class", None) is SSLConnection
    del options["host"], options["port"]
    if address.kind is Kind.CLUSTER:
        nodes = [BlockingNode(*each) for each in address.nodes]  # type: ignore[no-untyped-call]  # redis-py
        cluster = BlockingCluster(startup_nodes=nodes, require_full_coverage=False, socket_timeout=timeout_s, **options)
        return cast("BlockingRedis", cluster)
    theirs = {name: value for name, value in options.items() if name.startswith("ssl")} | {"socket_timeout": timeout_s}
    sentinels = BlockingSentinel(address.nodes, sentinel_kwargs=theirs | dict(address.sentinel_options))  # type: ignore[no-untyped-call]  # redis-py
    primary: BlockingRedis = sentinels.master_for(address.service, socket_timeout=timeout_s, **options)  # type: ignore[no-untyped-call]  # redis-py
    return primary


def _cluster_client(address: Address, client_name: str, retry: Retry) -> ClusterClient:
    shared = _parsed(address.node_url(*address.nodes[0]))
    shared["ssl"] = shared.pop("connection_class", None) is SSLConnection
    del shared["host"], shared["port"]
    options = _options(client_name, REPLY_TIMEOUT_S) | shared
    options |= {"max_connections": CLUSTER_CONNECTIONS_MAX, "require_full_coverage": False, "retry": retry}
    return ClusterClient(startup_nodes=[ClusterNode(*each) for each in address.nodes], **options)


async def check_server(client: Redis, *, strict: bool) -> list[str]:
    """Why this server, or these primaries, cannot be the store, in sentences for an operator; empty when they can.

    An evicted ledger would open limits, so every `maxmemory-policy` but `noeviction` is a finding, and so is one that
    cannot be read. `strict` asks for the durability that the guarantees name: every write on disk before its answer.
    """
    findings: dict[str, None] = {}  # one that all primaries have is said once
    for at in await primaries(client):
        findings |= dict.fromkeys(await _check_primary(client, at, strict=strict))
    return list(findings)


async def _check_primary(client: Redis, at: dict[str, Any], *, strict: bool) -> list[str]:
    try:
        info: dict[str, Any] = await client.info(**at)
    except NoPermissionError:
        return ["the store's user may not use `INFO`: grant it, so that the store can be checked"]
    findings = _check_version(info)
    if info.get("role") != "master":
        findings.append("the store is a replica: point the server at the primary")
    if info.get("cluster_enabled") == 1 and not is_cluster(client):
        findings.append("the store is a cluster: write its address as `redis+cluster://`")
    findings += _check_eviction(await _setting(client, at, "maxmemory-policy") or info.get("maxmemory_policy"))
    if strict:
        findings += await _check_durability(client, at, info)
    return findings


def _check_version(info: dict[str, Any]) -> list[str]:
    # Valkey calls itself Redis 7.2.4 in `redis_version`, for clients that do not know it.
    if "valkey_version" in info:
        name, version, least = "Valkey", str(info["valkey_version"]), VALKEY_VERSION_MIN
    else:
        name, version, least = "Redis", str(info.get("redis_version", "0")), REDIS_VERSION_MIN
    if _numbers(version) >= least:
        return []
    return [f"{name} {version} is too old: {name} {least[0]}.{least[1]} or later is needed"]


def _check_eviction(policy: str | None) -> list[str]:
    if policy == "noeviction":
        return []
    return [f"`maxmemory-policy` is `{policy or 'unknown'}`: set it to `noeviction`"]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


async def _check_durability(client: Redis, at: dict[str, Any], info: dict[str, Any]) -> list[str]:
    findings = []
    if info.get("aof_enabled") != 1:
        findings.append("`appendonly` is off: strict mode needs it on")
    appendfsync = await _setting(client, at, "appendfsync")
    if appendfsync != "always":
        findings.append(f"`appendfsync` is `{appendfsync or 'unknown'}`: strict mode needs `always`")
    return findings


async def _setting(client: Redis, at: dict[str, Any], name: str) -> str | None:
    """One CONFIG value; None where this user may not ask, or a managed service has no such command."""
    try:
        reply: dict[Any, Any] = await client.config_get(name, **at)
    except (NoPermissionError, ResponseError):
        return None
    for value in reply.values():
        return value.decode() if isinstance(value, bytes) else str(value)
    return None
