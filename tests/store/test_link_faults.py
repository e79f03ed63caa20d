"""The link on bad days: a connection that cannot be trusted ends at once and is rebuilt; nothing waits in vain."""

from __future__ import annotations

import asyncio
import time

import pytest

from app.store import wire
from app.store.link import StoreDown, StoreTimeout, pack
from tests.support.link import linked, soon, until
from tests.support.proxy import FaultProxy
from tests.support.valkey import StartStore, Store


async def test_a_reply_cut_in_half_fails_its_call_and_the_link_comes_back(store_url: str, store_server: Store) -> None:
    async with FaultProxy(store_server.socket_path) as proxy, linked(proxy.url) as link:
        proxy.cut_after(len(b"+PONG\r\n$4\r\nha"))
        replies = [link.call(pack("PING"), 1, soon()), link.call(pack("ECHO", "half"), 1, soon())]
        pong, down = await asyncio.gather(*replies, return_exceptions=True)
        assert pong == [b"PONG"]
        assert isinstance(down, StoreDown)
        assert down.sent is True
        assert not link.connected
        assert link.last_error == "the store closed the connection"
        assert await link.wait_connected(2)
        assert await link.call(pack("ECHO", "whole"), 1, soon()) == [b"whole"]
        assert (link.counters.disconnects, link.counters.reconnects, link.last_error) == (1, 1, None)


async def test_half_a_reply_and_then_silence_ends_the_connection(
    store_url: str, store_server: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "SILENCE_S_MAX", 0.1)
    async with FaultProxy(store_server.socket_path) as proxy, linked(proxy.url) as link:
        proxy.stall_after(6)
        with pytest.raises(StoreTimeout):
            await link.call(pack("ECHO", "stalled"), 1, soon(0.02))
        with pytest.raises(StoreDown, match=r"no reply for 0\.1 s"):
            await link.call(pack("ECHO", "behind it"), 1, soon(5))
        assert await link.wait_connected(2)
        assert await link.call(pack("PING"), 1, soon()) == [b"PONG"]


async def test_a_trickle_that_completes_no_reply_is_silence(
    store_url: str, store_server: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "SILENCE_S_MAX", 0.1)
    store_server.command("SET", "large", b"x" * 2000)
    async with FaultProxy(store_server.socket_path) as proxy, linked(proxy.url) as link:
        proxy.fragment(10, every_s=0.01)
        started_at = time.monotonic()
        with pytest.raises(StoreDown, match="no reply for"):
            await link.call(pack("GET", "large"), 1, soon(5))
        assert time.monotonic() - started_at < 1


async def test_slow_replies_that_do_come_keep_the_connection(
    store_url: str, store_server: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "SILENCE_S_MAX", 0.1)
    async with FaultProxy(store_server.socket_path) as proxy, linked(proxy.url) as link:
        proxy.delay(0.05)
        for _ in range(5):
            calls = [link.call(pack("PING"), 1, soon(5)) for _ in range(3)]
            assert await asyncio.gather(*calls) == [[b"PONG"]] * 3
        await asyncio.sleep(0.15)  # and an idle connection is not a silent one
        assert (link.connected, link.counters.disconnects) == (True, 0)


async def test_a_garbled_reply_ends_the_connection(store_url: str, store_server: Store) -> None:
    async with FaultProxy(store_server.socket_path) as proxy, linked(proxy.url) as link:
        proxy.garble()
        with pytest.raises(StoreDown, match="a reply that cannot be read") as down:
            await link.call(pack("PING"), 1, soon(5))
        assert down.value.sent is True
        assert await link.wait_connected(2)
        assert await link.call(pack("PING"), 1, soon()) == [b"PONG"]


async def test_a_reply_too_many_ends_the_connection_before_it_can_be_taken_for_anothers(
    store_url: str, store_server: Store
) -> None:
    async with FaultProxy(store_server.socket_path) as proxy, linked(proxy.url) as link:
        proxy.garble(b"+OK\r\n")
        await link.call(pack("PING"), 1, soon(5))
        await until(lambda: link.counters.disconnects == 1)
        assert link.last_error == "the store sent a reply that nobody asked for"


async def test_a_dropped_connection_fails_all_that_wait_on_it_at_once(store_url: str, store_server: Store) -> None:
    async with FaultProxy(store_server.socket_path) as proxy, linked(proxy.url) as link:
        proxy.freeze()
        sent = [link.call(pack("PING"), 1, soon(60)) for _ in range(5)]
        await asyncio.sleep(0.01)
        unsent = link.call(pack("PING"), 1, soon(60))
        link.drop("a reply said READONLY")
        errors = await asyncio.gather(*sent, unsent, return_exceptions=True)
        assert [(type(error), str(error)) for error in errors] == [(StoreDown, "a reply said READONLY")] * 6
        assert [error.sent for error in errors if isinstance(error, StoreDown)] == [True] * 5 + [False]
        with pytest.raises(StoreDown, match="READONLY") as refused:
            await link.call(pack("PING"), 1, soon(60))
        assert refused.value.sent is False
        assert link.bytes_pending == 0
        proxy.heal()
        assert await link.wait_connected(3)


async def test_a_frozen_store_is_left_and_found_again_when_it_resumes(
    own_store: StartStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "SILENCE_S_MAX", 0.2)
    store = own_store()
    async with linked(store.url) as link:
        store.freeze()
        started_at = time.monotonic()
        with pytest.raises(StoreTimeout):
            await link.call(pack("SET", "k", "1"), 1, soon(0.02))
        assert link.connected
        with pytest.raises(StoreDown, match=r"no reply for 0\.2 s"):
            await link.call(pack("PING"), 1, soon(60))
        assert 0.2 <= time.monotonic() - started_at < 0.5
        store.thaw()
        assert await link.wait_connected(3)
        assert await link.call(pack("PING"), 1, soon()) == [b"PONG"]


async def test_a_killed_store_fails_what_waits_and_the_restarted_one_is_found(own_store: StartStore) -> None:
    store = own_store("--appendfsync", "always")
    async with linked(store.url) as link:
        assert await link.call(pack("SET", "kept", "yes"), 1, soon()) == [b"OK"]
        waiting = link.call(pack("BLPOP", "none", 60), 1, soon(60))
        await asyncio.sleep(0)
        store.kill()
        with pytest.raises(StoreDown) as down:
            await waiting
        assert down.value.sent is True
        with pytest.raises(StoreDown) as refused:
            await link.call(pack("PING"), 1, soon())
        assert refused.value.sent is False
        await asyncio.sleep(0.1)  # a few attempts fail
        store.start()
        assert await link.wait_connected(3)
        assert await link.call(pack("GET", "kept"), 1, soon()) == [b"yes"]
        assert (link.counters.disconnects, link.counters.reconnects) == (1, 1)
