"""Keys come and go while a server runs: two are valid while callers change over, a revoked one is refused at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app import keys_file
from app.welcome import load
from tests.support.keyed import Keyed
from tests.support.server import Server

DECIDE = {"customer": "cus_1", "placements": ["open"]}
#: What the page on security promises.
WITHIN_S = 1.0


@pytest.fixture
def path(keyed: Keyed) -> Iterator[Path]:
    """The keys file, put back afterwards."""
    before = keyed.path.read_bytes()
    yield keyed.path
    keyed.path.write_bytes(before)
    headers = {"authorization": f"Bearer {keyed.keys['free']}"}
    for _ in keyed.each_worker():
        keyed.server.wait(lambda: httpx.post(f"{keyed.server.url}/v1/decide", json=DECIDE, headers=headers).is_success)


@pytest.fixture
def server(keyed: Keyed) -> Server:
    return keyed.server


def with_key(server: Server, key: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.url, timeout=60, headers={"authorization": f"Bearer {key}"})


async def seconds_until(client: httpx.AsyncClient, status: int) -> float:
    """How long it takes until decisions are answered so."""
    begun = time.monotonic()
    while (await client.post("/v1/decide", json=DECIDE)).status_code != status:
        assert time.monotonic() < begun + 10, "it did not happen"
        await asyncio.sleep(0.01)
    return time.monotonic() - begun


async def test_a_key_is_exchanged_without_one_request_refused(server: Server, path: Path) -> None:
    """Old key in use all the while; then both; then the new one alone."""
    old, old_key = keys_file.add(path, ["decide"])
    async with with_key(server, old_key) as before:
        await seconds_until(before, 200)
        _, new_key = keys_file.add(path, ["decide"])
        async with with_key(server, new_key) as after:
            await seconds_until(after, 200)
            both = [(await client.post("/v1/decide", json=DECIDE)).status_code for client in (before, after) * 5]
            assert set(both) == {200}
            assert keys_file.revoke(path, old.id)
            await seconds_until(before, 401)
            assert (await after.post("/v1/decide", json=DECIDE)).status_code == 200


@pytest.mark.clock
async def test_a_revoked_key_is_refused_within_a_second_on_a_connection_that_is_open(
    server: Server, path: Path
) -> None:
    stored, key = keys_file.add(path, ["decide"])
    async with with_key(server, key) as client:
        await seconds_until(client, 200)
        keys_file.revoke(path, stored.id)
        assert await seconds_until(client, 401) < WITHIN_S


def test_a_file_that_is_gone_or_spoilt_says_so_in_readiness(server: Server, path: Path) -> None:
    _, key = keys_file.add(path, ["decide"])
    whole = path.read_bytes()
    with httpx.Client(base_url=server.url, headers={"authorization": f"Bearer {key}"}) as client:

        def status() -> int:
            return client.post("/v1/decide", json=DECIDE).status_code

        server.wait(lambda: status() == 200)
        path.write_bytes(whole[: len(whole) - 20])
        server.wait(lambda: any("keys file" in each for each in client.get("/health/ready").json()["findings"]))
        assert status() == 200, "the keys of before stay in force"
        path.unlink()  # admits nobody
        server.wait(lambda: status() == 401)


def test_the_demo_says_what_to_do_where_the_server_asks_for_keys(keyed: Keyed) -> None:
    with pytest.raises(PermissionError, match="leave NEXTBEST_KEYS_FILE unset"):
        load(keyed.server.url, 1)
