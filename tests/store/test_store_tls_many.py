"""Several store servers over TLS: between us and each, between themselves, and to their sentinels.

The servers are real ones that speak nothing else and ask for our certificate. The embedded server is built without TLS:
these run on the machine's own (Debian's `redis-server`), and are skipped where there is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from app.store.clients import open_blocking, open_client
from app.store.link import pack
from app.store.servers import primaries
from tests.support.certificates import Certificates, servers_with_tls
from tests.support.cluster import Cluster
from tests.support.link import linked, linking, soon, until
from tests.support.sentinel import Watched

USER, PASSWORD = "app:of-the-servers", "of-the-sentinels"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def stranger(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


@pytest.fixture(scope="module")
def cluster(certificates: Certificates) -> Iterator[Cluster]:
    with servers_with_tls():
        cluster = Cluster(replicas=False, tls=certificates)
        cluster.start()
    for node in cluster.nodes:
        login(node.store.socket_path)
    yield cluster
    cluster.remove()


@pytest.fixture(scope="module")
def watched(certificates: Certificates) -> Iterator[Watched]:
    with servers_with_tls():
        watched = Watched(password=PASSWORD, tls=certificates)
        watched.start()
    for server in watched.servers.values():
        login(server.socket_path)
    yield watched
    watched.remove()


def login(socket_path: Path) -> None:
    with redis.Redis(unix_socket_path=str(socket_path)) as inside:
        inside.execute_command("ACL", "SETUSER", "app", "on", ">of-the-servers", "+@all", "~*")


async def test_every_server_of_a_cluster_is_spoken_to_over_tls_also_where_a_redirection_points(
    cluster: Cluster,
) -> None:
    url = cluster.url.replace("://", f"://{USER}@")
    keys = [b"{s%03d}:n" % shard for shard in range(24)]
    first, second, _ = cluster.primaries
    moved = next(key for key in keys if cluster.slot_of(key) in first.slots)
    async with linked(url) as link, open_client(url) as client:
        sets = b"".join(pack("SET", key, n) for n, key in enumerate(keys))
        assert await link.call(sets, len(keys), soon()) == [b"OK"] * len(keys)
        assert [await client.get(key) for key in keys] == [b"%d" % n for n in range(len(keys))]
        assert await link.call(pack("DEL", moved), 1, soon()) == [1]
        for node in (second, first):
            node.store.command("CLUSTER", "SETSLOT", cluster.slot_of(moved), "NODE", second.id)
        assert await link.call(pack("SET", moved, "there") + pack("ACL", "WHOAMI"), 2, soon()) == [b"OK", b"app"]
        assert second.store.command("GET", moved) == b"$5\r\nthere\r\n"
        assert await client.get(moved) == b"there"
        for at in await primaries(client):
            assert await client.execute_command("ACL WHOAMI", **at) == "app"  # type: ignore[no-untyped-call]  # redis-py
    with open_blocking(url, timeout_s=2) as blocking:
        assert blocking.get(keys[0]) is not None


async def test_behind_sentinels_they_and_the_primary_are_spoken_to_over_tls(watched: Watched) -> None:
    url = watched.url.replace("://", f"://{USER}@") + f"&sentinel_password={PASSWORD}"
    async with linked(url) as link, open_client(url) as client:
        who, role = await link.call(pack("ACL", "WHOAMI") + pack("ROLE"), 2, soon())
        assert (who, role[0]) == (b"app", b"master")
        assert await client.set("x", 1)
    with open_blocking(url, timeout_s=2) as blocking:
        assert blocking.get("x") == b"1"


@pytest.mark.parametrize("kind", ["cluster", "watched"])
async def test_certificates_of_a_stranger_are_refused_wherever_the_address_leads(
    kind: str, request: pytest.FixtureRequest, certificates: Certificates, stranger: Certificates
) -> None:
    several: Cluster | Watched = request.getfixturevalue(kind)
    url = several.url.replace("://", f"://{USER}@") + f"&sentinel_password={PASSWORD}"
    async with linking(url.replace(certificates.trust, stranger.trust)) as link:
        await until(lambda: "reached yet" not in str(link.last_error))
        assert not link.connected
        assert "certificate" in str(link.last_error)
    async with linking(url.replace(certificates.options, certificates.trust)) as link:  # without ours
        assert not await link.wait_connected(0.5)
        assert link.last_error
    async with linking(url.replace("rediss+", "redis+").partition("?")[0]) as link:  # without TLS
        assert not await link.wait_connected(0.5)
        assert link.last_error
