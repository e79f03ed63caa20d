"""Plain redis-py clients for all that is off the hot path, and what a server must be to serve as the store."""

from __future__ import annotations

from typing import Any

from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError, NoPermissionError, ResponseError

CONNECT_TIMEOUT_S = 1.0
#: Off the hot path nobody waits for milliseconds; this only keeps a frozen server from holding a task for ever.
REPLY_TIMEOUT_S = 5.0
#: Connections a process opens for what is off the hot path. The store runs one command at a time whatever their number;
#: who comes in a burst waits for a free one, since a withdrawal must not be refused for having come with many others.
CONNECTIONS_MAX = 64

REDIS_VERSION_MIN = (7, 0)
VALKEY_VERSION_MIN = (7, 2)


def open_pool(url: str, *, client_name: str, reply_timeout_s: float = REPLY_TIMEOUT_S) -> ConnectionPool:
    """A pool of connections to `url` (`redis://`, `rediss://`, `unix://`); connects to nothing yet.

    Raises ValueError for a URL that cannot be understood, without repeating it: it may hold a password.
    """
    options: dict[str, Any] = {
        "protocol": 2,
        "client_name": client_name,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": reply_timeout_s,
        "max_connections": CONNECTIONS_MAX,
        "timeout": REPLY_TIMEOUT_S,  # for a free connection
    }
    if not url.startswith("unix:"):
        options["socket_keepalive"] = True
    try:
        return BlockingConnectionPool.from_url(url, **options)
    except ValueError:
        raise ValueError(
            "the store's address cannot be understood: write `redis://`, `rediss://` or `unix://`, "
            "and percent-encode what is special in its password"
        ) from None


def open_client(url: str, *, client_name: str = "nextbest") -> Redis:
    """A client over its own pool: replies are bytes, broken connections are retried three times within a second. A
    silent one is not: its caller has waited long enough."""
    client: Redis = Redis.from_pool(open_pool(url, client_name=client_name))
    client.set_retry(Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.5), 3, (ConnectionError,)))
    return client


async def check_server(client: Redis, *, strict: bool) -> list[str]:
    """Why this server cannot be the store, in sentences for an operator; empty when it can.

    An evicted ledger would open limits, so every `maxmemory-policy` but `noeviction` is a finding, and so is one that
    cannot be read. `strict` asks for the durability that the guarantees name: every write on disk before its answer.
    """
    try:
        info: dict[str, Any] = await client.info()
    except NoPermissionError:
        return ["the store's user may not use `INFO`: grant it, so that the store can be checked"]
    findings = _check_version(info)
    if info.get("role") != "master":
        findings.append("the store is a replica: point the server at the primary")
    findings += _check_eviction(await _setting(client, "maxmemory-policy") or info.get("maxmemory_policy"))
    if strict:
        findings += await _check_durability(client, info)
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


async def _check_durability(client: Redis, info: dict[str, Any]) -> list[str]:
    findings = []
    if info.get("aof_enabled") != 1:
        findings.append("`appendonly` is off: strict mode needs it on")
    appendfsync = await _setting(client, "appendfsync")
    if appendfsync != "always":
        findings.append(f"`appendfsync` is `{appendfsync or 'unknown'}`: strict mode needs `always`")
    return findings


async def _setting(client: Redis, name: str) -> str | None:
    """One CONFIG value; None where this user may not ask, or a managed service has no such command."""
    try:
        reply: dict[Any, Any] = await client.config_get(name)
    except (NoPermissionError, ResponseError):
        return None
    for value in reply.values():
        return value.decode() if isinstance(value, bytes) else str(value)
    return None
