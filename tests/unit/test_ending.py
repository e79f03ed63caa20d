"""A process can always end: what runs beside requests hears a cancellation, if not the first then the next."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from app.ending import end_task


async def ends(task: asyncio.Task[None]) -> None:
    """It is ended. Looked at from beside: what waits for the task and is cancelled would cancel the task once more."""
    ending = asyncio.create_task(end_task(task))
    await asyncio.wait([ending], timeout=5)
    ended = task.cancelled()
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)
    await ending
    assert ended


async def test_a_cancellation_that_comes_as_a_wait_ends_is_not_lost() -> None:
    """As in every command of redis-py: on Python 3.11 `wait_for` has its answer, returns it, and forgets that it was
    cancelled. The task would go on for ever, and its process with it."""
    answered = asyncio.Event()

    async def look_again_and_again() -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(answered.wait(), 60)
            answered.clear()

    task = asyncio.create_task(look_again_and_again())
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # what is waited for is a task of its own, which has begun now
    answered.set()
    await asyncio.sleep(0)  # and has ended now, which `wait_for` does not know yet
    await ends(task)


async def test_a_task_that_misses_some_cancellations_ends_at_the_next_one() -> None:
    missed = 0

    async def deaf() -> None:
        nonlocal missed
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                missed += 1
                if missed >= 3:
                    raise

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    await ends(task)
    assert missed == 3


async def test_what_a_task_died_of_is_told_and_one_that_was_never_started_is_no_matter() -> None:
    async def fail() -> None:
        raise ValueError("the disk is full")

    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    with pytest.raises(ValueError, match="the disk is full"):
        await end_task(task)
    await end_task(None)
