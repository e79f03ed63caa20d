"""Events become features: each once, each of its customer, whatever else lies in the stream."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from app.core.features.chunk import Results
from app.store.clients import open_client
from tests.support.working import (
    collected,
    features_in,
    viewed,
    worked_off,
)


@pytest.fixture
async def client(store_url: str) -> AsyncIterator[Redis]:
    async with open_client(store_url) as opened:
        yield opened


async def test_an_event_becomes_a_feature_of_its_customer(client: Redis, store_url: str) -> None:
    await collected(client, [viewed("cus_1", 1, price=3.0), viewed("cus_1", 2, price=7.5), viewed("cus_2", 3)])
    counted = await worked_off(store_url)
    assert await features_in(client, "cus_1") == {"views_7d": 2, "dearest": 7.5, "spend_90d": 0}
    assert await features_in(client, "cus_2") == {"views_7d": 1, "spend_90d": 0}
    assert counted == {Results.APPLIED: 3}
