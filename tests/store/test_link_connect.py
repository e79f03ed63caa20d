"""Becoming connected: every way to a store, every reason why it cannot be used yet, and never a secret in a reason."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme

from app.store.link import Caller, Link, ReplyError, StoreDown, StoreUnfit, pack
from app.store.node_link import _retry_delay_s
from tests.support.link import linked, linking, soon, until
from tests.support.proxy import FaultProxy
from tests.support.valkey import StartStore, Store


async def pong(link: Link) -> bool:
    return await link.call(pack("PING"), 1, soon()) == [b"PONG"]


async def test_it_connects_over_a_unix_socket_and_gives_its_name(store_url: str) -> None:
    async with linked(store_url) as link:
        assert await link.call(pack("CLIENT", "GETNAME"), 1, soon()) == [b"nextbest"]


async def test_it_connects_over_tcp_and_to_the_database_of_its_address(store_url: str, store_server: Store) -> None:
    async with FaultProxy(store_server.socket_path) as proxy, linked(f"{proxy.url}/3") as link:
        [info] = await link.call(pack("CLIENT", "INFO"), 1, soon())
        assert b" db=3 " in info


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


async def test_it_connects_over_tls_and_knows_the_certificate(
    store_url: str, store_server: Store, authority: trustme.CA, server_tls: ssl.SSLContext, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with FaultProxy(store_server.socket_path, tls=server_tls) as proxy:
        async with linked(f"{proxy.url}?ssl_ca_certs={tmp_path / 'ca.pem'}") as link:
            large = b"x" * 300_000
            assert await link.call(pack("SET", "k", large) + pack("GET", "k"), 2, soon(5)) == [b"OK", large]
            proxy.drop_connections()
            await until(lambda: link.counters.reconnects == 1)
            assert await pong(link)
        async with linking(proxy.url) as link:
            await until(lambda: "certificate is not trusted" in str(link.last_error))
            assert not link.connected


async def test_it_starts_without_a_store_and_finds_it_when_it_comes(own_store: StartStore) -> None:
    store = own_store()
    store.stop()
    async with linking(store.url) as link:
        assert not await link.wait_connected(0.05)
        with pytest.raises(StoreDown) as down:
            await link.call(pack("PING"), 1, soon(60))
        assert down.value.sent is False
        store.start()
        assert await link.wait_connected(3)
        assert await pong(link)
        assert link.counters.reconnects == 0


@pytest.mark.parametrize("user", ["", "decider"])
async def test_a_wrong_password_keeps_it_down_until_it_is_right_and_is_never_told(
    own_store: StartStore, user: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    store = own_store("--requirepass", "other")
    secret = "s3cret/@:%"
    url = f"{store.url.replace('unix://', f'unix://{user}@' if user else 'unix://')}?password={quote(secret, safe='')}"
    async with linking(url) as link:
        await until(lambda: "reached yet" not in str(link.last_error))
        assert "WRONGPASS" in str(link.last_error) or "invalid username-password" in str(link.last_error)
        with pytest.raises(StoreDown) as down:
            await link.call(pack("PING"), 1, soon())
        told = f"{link.last_error} {down.value!r} {link!r} {caplog.text}"
        assert "s3cret" not in told
        store.commands(
            ("AUTH", "other"),
            ("ACL", "SETUSER", "decider", "on", f">{secret}", "~*", "+@all"),
            ("CONFIG", "SET", "requirepass", secret),
        )
        assert await link.wait_connected(3)
        assert await pong(link)


async def test_a_replica_is_not_used_until_it_is_the_primary(own_store: StartStore) -> None:
    store = own_store("--replicaof", "127.0.0.1", "1")
    async with linking(store.url) as link:
        await until(lambda: link.last_error == "the store is a replica: point the server at the primary")
        store.command("REPLICAOF", "NO", "ONE")
        assert await link.wait_connected(3)
        assert await pong(link)


async def test_a_primary_that_became_a_replica_is_dropped_by_who_sees_it(own_store: StartStore) -> None:
    store = own_store()
    async with linked(store.url) as link:
        store.command("REPLICAOF", "127.0.0.1", "1")
        [refused] = await link.call(pack("SET", "k", "1"), 1, soon())
        assert isinstance(refused, ReplyError)
        assert str(refused).startswith("READONLY")
        link.drop("the store is read-only")
        await until(lambda: link.last_error == "the store is a replica: point the server at the primary")
        assert not link.connected
        store.command("REPLICAOF", "NO", "ONE")
        assert await link.wait_connected(3)


async def test_a_store_that_loads_its_data_is_waited_for(own_store: StartStore) -> None:
    store = own_store()
    store.command("EVAL", "for n = 1, 14000 do redis.call('SET', 'k' .. n, n) end", 0)
    store.stop()
    store.start("--key-load-delay", "25", wait=False)
    async with linking(store.url) as link:
        reasons = set()
        while not link.connected:
            reasons.add(str(link.last_error))
            await asyncio.sleep(0.002)
        assert any("LOADING" in reason for reason in reasons), reasons
        assert await link.call(pack("DBSIZE"), 1, soon()) == [14000]


async def test_the_hook_runs_at_every_connect_before_any_call(store_url: str, store_server: Store) -> None:
    async def load(wire: Caller) -> None:
        connected_meanwhile.extend(link.connected for link in links)
        digests.extend(await wire.call(pack("SCRIPT", "LOAD", "return 1"), 1, soon()))

    links: list[Link] = []
    digests: list[bytes] = []
    connected_meanwhile: list[bool] = []
    async with FaultProxy(store_server.socket_path) as proxy, linked(proxy.url, on_connect=load) as link:
        links.append(link)
        assert await link.call(pack("EVALSHA", digests[0], 0), 1, soon()) == [1]
        store_server.command("SCRIPT", "FLUSH")
        proxy.drop_connections()
        await until(lambda: len(digests) == 2)
        assert await link.wait_connected(2)
        assert connected_meanwhile == [False]
        assert await link.call(pack("EVALSHA", digests[0], 0), 1, soon()) == [1]


async def test_a_hook_that_refuses_the_server_keeps_the_link_down_with_its_reason(store_url: str) -> None:
    async def check(wire: Caller) -> None:
        if not fit:
            raise StoreUnfit("`maxmemory-policy` is `allkeys-lru`: set it to `noeviction`")

    fit = False
    async with linking(store_url, on_connect=check) as link:
        await until(lambda: "allkeys-lru" in str(link.last_error))
        assert not link.connected
        fit = True
        assert await link.wait_connected(2)
        assert await pong(link)


async def test_a_hook_whose_connection_breaks_is_tried_again(store_url: str, store_server: Store) -> None:
    async def break_once(wire: Caller) -> None:
        nonlocal broken
        if not broken:
            broken = True
            proxy.drop_connections()
        await wire.call(pack("PING"), 1, soon())

    broken = False
    async with FaultProxy(store_server.socket_path) as proxy, linked(proxy.url, on_connect=break_once) as link:
        assert await pong(link)
        assert (proxy.accepted, link.counters.disconnects) == (2, 0)


async def test_a_connection_that_ended_during_its_hook_never_counts_as_connected(
    store_url: str, store_server: Store
) -> None:
    async def outlive(wire: Caller) -> None:
        if proxy.accepted == 1:
            proxy.drop_connections()
            await until(lambda: wire.end_reason is not None)
        else:
            await release.wait()

    release = asyncio.Event()
    async with FaultProxy(store_server.socket_path) as proxy, linking(proxy.url, on_connect=outlive) as link:
        await until(lambda: proxy.accepted == 2)
        assert not link.connected
        release.set()
        assert await link.wait_connected(2)


async def test_a_server_that_closes_every_connection_is_not_hammered(tmp_path: Path) -> None:
    async with FaultProxy(tmp_path / "nothing here") as proxy, linking(proxy.url):
        await until(lambda: proxy.accepted == 1)
        await asyncio.sleep(0.4)
        assert 2 <= proxy.accepted <= 7  # 20 + 40 + 80 + 160 ms …, each between half and whole


def test_retries_slow_down_to_one_a_second_and_never_stop() -> None:
    delays = [_retry_delay_s(failures) for failures in range(2000)]
    assert 0.01 <= delays[0] <= 0.02
    assert all(0.5 <= delay <= 1.0 for delay in delays[6:])
    assert len(set(delays)) > 1000  # jitter: nodes do not come back in step


async def test_closing_while_connecting_leaves_nothing_behind(store_url: str, store_server: Store) -> None:
    async with FaultProxy(store_server.socket_path) as proxy:
        proxy.freeze()
        async with linking(proxy.url):
            await until(lambda: proxy.accepted == 1)
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
