"""What the webhook door itself keeps: proofs that may be used once, and what it did not understand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from typer.testing import CliRunner

from app.cli import app
from app.core.webhooks.provider import Ticket
from app.core.webhooks.puzzles import puzzle
from app.errors import Problem
from app.store.clients import open_client
from app.store.keys import CTL_WEBHOOK_PUZZLES
from app.store.webhooks import PUZZLE_BYTES_MAX, PUZZLES_KEPT, WebhookStore


@pytest.fixture
async def client(store_url: str) -> AsyncIterator[Redis]:
    async with open_client(store_url) as opened:
        await opened.delete(CTL_WEBHOOK_PUZZLES)
        yield opened


async def test_a_ticket_is_good_for_what_it_was_first_used_for(client: Redis) -> None:
    store = WebhookStore(client)
    assert await store.first_use("mailgun", Ticket("t1", b"delivered"))
    assert await store.first_use("mailgun", Ticket("t1", b"delivered"))  # the provider's repeat, after a crash or not
    assert not await store.first_use("mailgun", Ticket("t1", b"complained"))
    assert await store.first_use("mailgun", Ticket("t2", b"complained"))
    assert await store.first_use("another", Ticket("t1", b"complained"))


async def test_of_two_uses_at_once_one_is_first(client: Redis) -> None:
    store = WebhookStore(client)
    said = [b"%d" % number for number in range(20)]
    first = await asyncio.gather(*(store.first_use("mailgun", Ticket("t3", each)) for each in said))
    assert first.count(True) == 1


async def test_nothing_that_is_kept_is_kept_without_end(client: Redis) -> None:
    store = WebhookStore(client)
    await store.first_use("mailgun", Ticket("t4", b"said"))
    for _ in range(12):
        await store.keep("generic", [puzzle("unknown", "odd", {"n": n}) for n in range(100)])
    names = [each async for each in client.scan_iter("wht:*")] + [CTL_WEBHOOK_PUZZLES]
    assert all([await client.ttl(name) > 0 for name in names])
    assert await client.xlen(CTL_WEBHOOK_PUZZLES) < PUZZLES_KEPT + 100  # trimmed by whole nodes
    (newest,) = await store.puzzles(1)
    assert (newest["provider"], newest["code"], newest["type"], newest["item"]) == (
        "generic",
        "unknown",
        "odd",
        '{"n":99}',
    )


async def test_of_what_is_too_large_the_type_is_kept(client: Redis) -> None:
    store = WebhookStore(client)
    large = {f"field_{n}": {f"f{m}": "x" * 60 for m in range(40)} for n in range(10)}
    await store.keep("generic", [puzzle("unknown", "odd", large)])
    (kept,) = await store.puzzles(1)
    assert len(str(large)) > PUZZLE_BYTES_MAX
    assert (kept["type"], kept["item"]) == ("odd", "{}")


async def test_a_store_that_is_away_is_one_problem() -> None:
    async with open_client("unix:///nowhere") as away:
        for asked in (WebhookStore(away).first_use("mailgun", Ticket("t", b"")), WebhookStore(away).puzzles(1)):
            with pytest.raises(Problem) as caught:
                await asked
            assert caught.value.code == "store_unavailable"


async def test_the_command_line_shows_what_was_not_understood(client: Redis, store_url: str) -> None:
    await WebhookStore(client).keep("generic", [puzzle("unknown", "newsletter.read", {"email": "jane@example.com"})])

    def run(*words: str) -> str:
        return CliRunner().invoke(app, ["webhooks", *words, "--url-of-store", store_url]).output

    assert "newsletter.read" in await asyncio.to_thread(run)
    assert await asyncio.to_thread(run, "--provider", "sendgrid") == ""
    assert '"email": "(masked)"' in await asyncio.to_thread(run, "--json")
