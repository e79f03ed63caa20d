"""Where the store is, as an operator writes it.

    redis://  rediss://  unix://                          one server, as redis-py understands them
    redis+sentinel://host[:26379][,host…]/service[/db]    the primary that these sentinels name
    redis+cluster://host[:6379][,host…]                   a cluster, of which these servers tell the rest
    rediss+sentinel://  rediss+cluster://                 the same over TLS, sentinels included

User and password before the hosts, and options behind them, are the servers' own; those of sentinels are the options
`sentinel_username` and `sentinel_password`. redis-py has no address for either; this form is the one that others add to
it (https://docs.prefect.io/integrations/prefect-redis/api-ref/prefect_redis-connection for sentinels,
https://limits.readthedocs.io/en/stable/storage.html for both).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from urllib.parse import parse_qsl, unquote, urlencode

from app.store.tls import check_tls

SENTINEL_PORT = 26_379
PORT = 6_379


class Kind(StrEnum):
    """What answers at an address."""

    SERVER = "server"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Address:
    """An address, taken apart. `str()` of it may hold a password."""

    kind: Kind
    url: str
    nodes: tuple[tuple[str, int], ...] = ()  # sentinels, or servers of a cluster
    service: str = ""  # by what name sentinels know the primary
    sentinel_options: tuple[tuple[str, str], ...] = ()
    _scheme: str = ""
    _login: str = ""  # with its `@`
    _tail: str = ""  # database and options of the servers

    @property
    def over_tls(self) -> bool:
        return self._scheme == "rediss"

    def node_url(self, host: str, port: int) -> str:
        """The address of one server, with the same login, database and options."""
        name = f"[{host}]" if ":" in host else host
        return f"{self._scheme}://{self._login}{name}:{port}{self._tail}"


def parse(url: str) -> Address:
    """Take an address apart. Raises ValueError, without repeating it: it may hold a password."""
    check_tls(url)
    whole, _, rest = url.partition("://")
    scheme, plus, kind = whole.lower().partition("+")
    if not plus:
        return Address(Kind.SERVER, url)
    if scheme not in ("redis", "rediss") or kind not in (Kind.SENTINEL, Kind.CLUSTER):
        raise ValueError(
            "the store's address cannot be understood: write `redis://`, `rediss://`, `unix://`, "
            "`redis+sentinel://` or `redis+cluster://`"
        )
    rest, _, query = rest.partition("?")
    place, _, path = rest.partition("/")
    login, at, hosts = place.rpartition("@")
    options = parse_qsl(query, keep_blank_values=True)
    theirs = [(name, value) for name, value in options if not name.startswith("sentinel_")]
    address = Address(
        Kind(kind),
        url,
        tuple(_node(each, SENTINEL_PORT if kind == Kind.SENTINEL else PORT) for each in hosts.split(",")),
        sentinel_options=tuple((n.removeprefix("sentinel_"), v) for n, v in options if n.startswith("sentinel_")),
        _scheme=scheme,
        _login=login + at,
    )
    tail = f"?{urlencode(theirs)}" if theirs else ""
    return _with_path(address, path.strip("/"), tail)


def _with_path(address: Address, path: str, tail: str) -> Address:
    if address.kind is Kind.CLUSTER:
        if path not in ("", "0"):
            raise ValueError("a cluster has the database 0 only: leave it out of the store's address")
        return replace(address, _tail=tail)
    service, _, database = path.partition("/")
    if not service:
        raise ValueError("name the service: `redis+sentinel://host:26379/mymaster`")
    return replace(address, service=unquote(service), _tail=(f"/{database}" if database else "") + tail)


def _node(text: str, port: int) -> tuple[str, int]:
    host, colon, number = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, number = text, str(port)
    host = host.removeprefix("[").removesuffix("]")
    if not host or not number.isdecimal() or not 0 < int(number) < 65_536:
        raise ValueError("the store's address cannot be understood: write its hosts as `host:port,host:port`")
    return host, int(number)
