"""The store behind sentinels: who is asked, as whom, and what is said when they do not know."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.store.clients import check_server, open_client
from app.store.link import pack
from tests.support.link import linked, linking, soon
from tests.support.sentinel import SERVICE, Watched

PASSWORD, USER = "of-the-sentinels", "app:of-the-servers"


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
