"""Nodes and workers are replaced under load, with a new bundle, and no caller notices but by what is decided."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from app.upkeep import LEARN_EVERY_S, LOOK_EVERY_S
from tests.support.nodes import called
from tests.support.server import BUNDLE, Client, Server, eventually
from tests.support.valkey import StartStore, Store

TIER = "tier"
CUSTOMERS = [f"r{n}" for n in range(40)]
PIPELINED = b"GET /health/live HTTP/1.1\r\nhost: example.com\r\n\r\n" * 3


def another(bundle: Path, folder: Path) -> Path:
    """The same bundle with another owner and one more attribute: another digest, the same decisions."""
    shutil.copytree(bundle, folder)
    with (folder / "attributes.yaml").open("a") as attributes:
        attributes.write(
            f"  {TIER}: {{type: string, max_length: 16, owner: crm, sensitivity: none, purposes: [personalisation]}}\n"
        )
    described = folder / "bundle.yaml"
    described.write_text(described.read_text().replace("owner: growth", "owner: retention"))
    return folder


def logged(store: Store) -> int:
    """Records in all decision logs."""
    with redis.Redis(unix_socket_path=str(store.socket_path)) as inside:
        return sum(inside.xlen(key) for key in inside.scan_iter("{s*}:decisions", count=1000))


async def known(customers: list[str], *servers: Server) -> int:
    """Make customers known, and wait until every process knows the names that came with them; gives the sends."""
    await servers[0].client.welcome(*customers)
    sends = in_a_row = 0
    while in_a_row < 20 * len(servers):
        client = Client(servers[in_a_row % len(servers)].port)
        sent = (await client.decide(customers[0], "open")).sends
        sends, in_a_row = sends + sent, in_a_row + 1 if sent else 0
        await client.close()
    return sends


@pytest.mark.long  # a dozen seconds; the next one is as strict, with workers for nodes
async def test_nodes_are_replaced_one_by_one_by_a_new_bundle_and_no_request_fails(
    own_store: StartStore, tmp_path: Path
) -> None:
    store = own_store()
    with ExitStack() as stack:

        async def started(bundle: Path, count: int) -> list[Server]:
            with_drain = [Server.on(store.url, bundle, wait=False, drain_s="1.2") for _ in range(count)]
            servers = await asyncio.gather(*(asyncio.to_thread(stack.enter_context, each) for each in with_drain))
            await asyncio.gather(*(asyncio.to_thread(each.wait, each.is_ready) for each in servers))
            return list(servers)

        old = await started(BUNDLE, 2)
        await known(CUSTOMERS, *old)
        before = logged(store)
        async with called(CUSTOMERS, *old) as nodes:
            await nodes.more()
            new = await started(another(BUNDLE, tmp_path / "new"), 2)
            nodes.add(*new)
            await eventually(lambda: all(map(nodes.is_ready, new)))
            await asyncio.sleep(LEARN_EVERY_S + LOOK_EVERY_S)  # a node that has just become ready is not asked at once
            await new[0].client.welcome(*CUSTOMERS[:10], **{TIER: "gold"})  # which old nodes have no word for
            await nodes.more()
            for leaving in old:
                kept = await asyncio.open_connection("127.0.0.1", leaving.port)
                os.kill(leaving.pid, signal.SIGTERM)
                await eventually(lambda each=leaving: not nodes.is_ready(each))  # type: ignore[misc]  # mypy infers no lambda with a default
                assert leaving.findings() == ["draining: the server was asked to stop"]
                assert leaving.is_live()  # new connections are taken still
                kept[1].write(PIPELINED)
                told = await asyncio.wait_for(kept[0].read(), 5)  # to the end of the connection
                assert (told.count(b"HTTP/1.1 200 OK"), told.count(b"connection: close")) == (3, 1)
                kept[1].close()
                await asyncio.to_thread(leaving.ended)
                await nodes.more()
        assert nodes.trouble == []
        assert nodes.told["looks"] > 20
        assert nodes.closed > 0  # kept connections were told, not cut
        assert len(set(nodes.bundles)) == 2
        assert nodes.bundles[0] != nodes.bundles[-1]
        assert logged(store) - before == nodes.told["sends"]


async def test_workers_are_replaced_one_by_one_by_a_new_bundle_but_not_by_a_broken_one_and_no_request_fails(
    own_store: StartStore, tmp_path: Path
) -> None:
    store, served = own_store(), tmp_path / "served"
    served.symlink_to(another(BUNDLE, tmp_path / "broken"))
    with Server.on(store.url, served, workers=2) as server:
        await asyncio.to_thread(server.wait, lambda: len(server.workers()) == 2)
        sends = await known(CUSTOMERS, server)
        before = server.workers()
        async with called(CUSTOMERS, server) as nodes:
            await nodes.more()
            (tmp_path / "broken" / "messages.yaml").write_text("messages: [{id: broken}]\n")
            os.kill(server.pid, signal.SIGHUP)
            await eventually(lambda: "a new worker did not start" in server.log, 60)
            assert server.workers() == before
            served.unlink()
            served.symlink_to(another(BUNDLE, tmp_path / "new"), target_is_directory=True)
            described = tmp_path / "new" / "bundle.yaml"
            described.write_text(described.read_text().replace("retention", "loyalty"))
            os.kill(server.pid, signal.SIGHUP)
            await eventually(lambda: not set(before) & set(server.workers()), 90)
            await nodes.more()
        assert nodes.trouble == []
        assert len(server.workers()) == 2
        assert nodes.closed > 0
        assert len(set(nodes.bundles)) == 2
        assert nodes.bundles[0] != nodes.bundles[-1]
        sends += nodes.told["sends"]
        await asyncio.to_thread(
            server.wait, lambda: server.metric('decisions_total{placement="open",action="send"') == sends
        )
        assert logged(store) == sends
        await asyncio.to_thread(server.wait, lambda: server.metric("store_connected") == 2)
