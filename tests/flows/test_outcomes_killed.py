"""A process that takes outcomes dies at any moment, or two of them get the same batch at once: each counts once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.core.decision.ids import parse_id
from app.core.heard import Heard, Take
from app.core.outcomes import Outcome
from app.store.outcomes import Told
from policy.codes import OutcomeType
from tests.support.outcomes import KEYS, Desk, desk_on

ROOT = Path(__file__).parents[2]
TOLD = Told("webhook:postmark", "webhook")
TYPES = ("sent", "delivered", "opened", "clicked", "converted", "bounced_soft", "deferred", "unsubscribed")
BATCH = 96

#: Takes the batch that it is told on a line, and says so.
TAKER = """
import asyncio, json, sys
from tests.flows.test_outcomes_killed import TOLD, batch
from tests.support.outcomes import desk_on

async def main():
    async with desk_on(sys.argv[1]) as desk:
        print("ready", flush=True)
        decision = sys.stdin.readline().strip()
        taken = await desk.taker.take(batch(decision), TOLD)
        print(json.dumps([each.status for each in taken]), flush=True)

asyncio.run(main())
"""


def batch(decision_id: str) -> list[Heard]:
    decision = parse_id(decision_id)
    assert decision is not None
    return [
        Heard(
            Outcome(
                OutcomeType(TYPES[number % len(TYPES)]), decision.at_ms + 10 * number, event_id=f"postmark:{number}"
            ),
            decision,
            provider="postmark",
            domain="gmail",
        )
        for number in range(BATCH)
    ]


@pytest.fixture
async def desk(store_url: str) -> AsyncIterator[Desk]:
    async with desk_on(store_url) as made:
        yield made


async def taker(store_url: str) -> asyncio.subprocess.Process:
    """A process of its own, ready to take."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        TAKER,
        store_url,
        cwd=ROOT,
        stdin=-1,
        stdout=-1,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    return process


async def begin(process: asyncio.subprocess.Process, decision: Any) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{decision}\n".encode())
    await process.stdin.drain()


async def answer(process: asyncio.subprocess.Process) -> list[str]:
    assert process.stdout is not None
    said: list[str] = json.loads(await process.stdout.readline())
    await process.wait()
    return said


async def noted(desk: Desk) -> int:
    return int(await desk.client.xlen(KEYS.outcome_stream(0)))


async def everything(desk: Desk, decision: Any) -> Any:
    """What is known, without what depends on the instant of the test."""
    told = await desk.client.hgetall(KEYS.outcomes(0, str(decision).encode()))
    watched = {name: n async for name in desk.client.scan_iter("*:watch:*") for n in await desk.client.hvals(name)}
    return told, set(watched.values()), await desk.earned(), await desk.suppressions(), await desk.member(decision)


@pytest.mark.parametrize("killed_after", [1, 17, 60])
async def test_a_taker_that_is_killed_loses_nothing_and_doubles_nothing(
    desk: Desk, store_url: str, killed_after: int
) -> None:
    decision = await desk.send()
    process = await taker(store_url)
    await begin(process, decision)
    while await noted(desk) < killed_after:
        pass  # each look is a round trip
    process.send_signal(signal.SIGKILL)
    await process.wait()
    assert killed_after <= await noted(desk) <= BATCH
    again = await desk.taker.take(batch(str(decision)), TOLD)  # the provider had no answer, and sends it again
    assert {each.status for each in again} <= {Take.ACCEPTED, Take.DUPLICATE}
    assert await noted(desk) == BATCH
    found = await everything(desk, decision)
    assert found[1] == {b"1"}, "the watch counts a contact once"
    assert found[2] == {"only@4.a:n": 1, "only@4.a:r": 1}
    assert set(found[3]) == {"email"}, "unsubscribed, and too many soft bounces"
    assert len([name for name in found[0] if len(name) == 8]) == BATCH


async def test_two_processes_that_get_one_batch_at_once_count_it_once(desk: Desk, store_url: str) -> None:
    decision = await desk.send()
    both = await asyncio.gather(taker(store_url), taker(store_url))
    await asyncio.gather(*(begin(process, decision) for process in both))
    one, two = await asyncio.gather(*(answer(process) for process in both))
    assert all({a, b} == {"accepted", "duplicate"} for a, b in zip(one, two, strict=True))
    assert await noted(desk) == BATCH
    assert (await everything(desk, decision))[1:3] == ({b"1"}, {"only@4.a:n": 1, "only@4.a:r": 1})
