"""Batches make way for single requests."""

from __future__ import annotations

import asyncio

import pytest

from app.flows.pace import ALONE_AFTER_S, CRAWL_S, CROWD, LINES_ALONE, LINES_BESIDE_OTHERS, Pace


class Others:
    """Single requests in flight, and a clock."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.now_s = 1000.0
        self.pace = Pace(lambda: self.in_flight, lambda: self.now_s)


@pytest.fixture
def others() -> Others:
    return Others()


async def entered(pace: Pace) -> int:
    """How many lines find a place at once."""
    count = 0
    while True:
        entering = asyncio.create_task(pace.enter())
        await asyncio.sleep(0)
        if not entering.done():
            entering.cancel()
            return count
        count += 1


async def test_all_places_are_open_while_nobody_waits(others: Others) -> None:
    assert await entered(others.pace) == LINES_ALONE


async def test_few_places_are_open_while_somebody_waits_and_for_a_while_after(others: Others) -> None:
    others.in_flight = 1
    assert await entered(others.pace) == LINES_BESIDE_OTHERS
    others.in_flight = 0
    others.now_s += ALONE_AFTER_S / 2
    assert await entered(others.pace) == 0
    others.now_s += ALONE_AFTER_S
    assert await entered(others.pace) == LINES_ALONE - LINES_BESIDE_OTHERS


async def test_a_place_that_is_given_back_goes_to_whoever_waits_for_it(others: Others) -> None:
    assert await entered(others.pace) == LINES_ALONE
    waiting = asyncio.create_task(others.pace.enter())
    await asyncio.sleep(0)
    assert not waiting.done()
    others.pace.leave()
    await asyncio.wait_for(waiting, 1)


async def test_a_crowd_slows_batches_to_a_crawl_and_does_not_stop_them(others: Others) -> None:
    others.in_flight = CROWD
    await others.pace.enter()
    others.pace.leave()
    assert await entered(others.pace) == 0
    waiting = asyncio.create_task(others.pace.enter())
    await asyncio.sleep(0)
    others.now_s += 2 * CRAWL_S
    await asyncio.wait_for(waiting, 1)


async def test_batches_go_on_as_soon_as_the_crowd_is_gone(others: Others) -> None:
    others.in_flight = CROWD
    await others.pace.enter()
    others.pace.leave()
    waiting = asyncio.create_task(others.pace.enter())
    await asyncio.sleep(0)
    assert not waiting.done()
    others.in_flight = CROWD - 1
    await asyncio.wait_for(waiting, 1)
