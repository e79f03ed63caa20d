"""The store behind sentinels: who is asked, as whom, and what is said when they do not know."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Iterator

import pytest

from app.ending import end_task
from app.store.clients import ASK_EVERY_S, check_server, open_blocking, open_client
from app.store.link import pack
from app.store.sentinel_link import SentinelLink
from tests.support.link import linked, linking, soon
from tests.support.sentinel import SERVICE, Watched
from tests.support.server import ROOT, eventually

PASSWORD, USER, OF_THE_USER = "of-the-sentinels", "app:of-the-servers", "of-the-user"


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    watched = Watched(password=PASSWORD)
    watched.start()
    for server in watched.servers.values():
        server.command("ACL", "SETUSER", "app", "on", ">of-the-servers", "+@all", "~*")
    yield watched
    watched.remove()


@pytest.fixture
def url(watched: Watched) -> str:
    return watched.url.replace("://", f"://{USER}@") + f"?sentinel_password={PASSWORD}"


async def test_link_and_client_lead_to_the_primary_with_the_servers_own_login(watched: Watched, url: str) -> None:
    async with linked(url) as link, open_client(url) as client:
        who, role = await link.call(pack("ACL", "WHOAMI") + pack("ROLE"), 2, soon())
        assert (who, role[0]) == (b"app", b"master")
        assert await client.execute_command("ACL WHOAMI") == "app"  # type: ignore[no-untyped-call]  # redis-py
        assert await check_server(client, strict=True) == []
        assert (await client.execute_command("ROLE"))[0] == b"master"  # type: ignore[no-untyped-call]  # redis-py


async def test_the_sentinels_are_asked_as_a_user_that_may_do_what_the_documentation_grants(
    watched: Watched, url: str
) -> None:
    (rule,) = re.findall(r"^ACL SETUSER nextbest (.+sentinel.+)$", (ROOT / "docs" / "security.md").read_text(), re.M)
    if os.environ.get("NEXTBEST_TEST_STORE") == "redis-server":  # Redis 7.0 has no CLIENT SETINFO to grant
        rule = rule.replace("+client|setinfo ", "")
    watched.add_user("nextbest", *rule.replace(">password", f">{OF_THE_USER}").split())
    as_user = url.partition("?")[0] + f"?sentinel_username=nextbest&sentinel_password={OF_THE_USER}"
    async with linked(as_user) as link, open_client(as_user) as client:
        assert await link.call(pack("SET", "x", 1), 1, soon()) == [b"OK"]
        assert await client.get("x") == b"1"
    with open_blocking(as_user, timeout_s=2) as blocking:
        assert blocking.get("x") == b"1"
    async with linking(as_user.replace("=nextbest", "=nobody")) as link:
        assert not await link.wait_connected(0.3)
        assert link.last_error


async def test_after_a_failover_link_and_client_have_left_the_former_primary_even_if_that_is_well(
    watched: Watched, url: str
) -> None:
    """It does not hear of it for ten seconds, and would go on taking what is lost then, such as a withdrawal."""
    before = watched.primary
    async with linked(url) as link, open_client(url) as client:
        await client.set("a", 1)
        watched.fail_over()
        await eventually(lambda: watched.primary is not before, 20)
        await asyncio.sleep(ASK_EVERY_S)
        await client.set("withdrawn", 1)
        assert watched.primary.command("GET", "withdrawn") == b"$1\r\n1\r\n"
        assert isinstance(link, SentinelLink)
        await eventually(lambda: link.connected and link.peer == ("127.0.0.1", watched.primary_port))
        who, role, written = await link.call(pack("ACL", "WHOAMI") + pack("ROLE") + pack("SET", "x", 2), 3, soon())
        assert (who, role[0], written) == (b"app", b"master", b"OK")


async def test_a_link_closes_whatever_swallows_a_cancellation() -> None:
    """As `wait_for` does before Python 3.12, with which redis-py asks sentinels: once it kept a process from ending."""

    async def deaf() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(60)

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await end_task(task)
    assert task.cancelled()


async def test_a_wrong_password_of_the_sentinels_or_a_service_that_they_do_not_know_keeps_the_link_down(
    watched: Watched, url: str
) -> None:
    for wrong in (url.replace(PASSWORD, "wrong"), url.replace(f"/{SERVICE}", "/another")):
        async with linking(wrong) as link:
            assert not await link.wait_connected(0.3)
            assert link.last_error
            assert "of-the" not in link.last_error


async def test_a_sentinel_that_is_gone_is_passed_over(watched: Watched, url: str) -> None:
    watched.stop_a_sentinel()
    async with linked(url) as link:
        assert await link.call(pack("SET", "x", 1), 1, soon()) == [b"OK"]
