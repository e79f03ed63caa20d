"""A batch whose caller does not take its answers, or leaves: the response alone, on a wire that does as told."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.types import Message

from app.admission import Admission
from app.flows.pace import Pace
from app.http import batch as batches
from app.http.batch import AnswerStream
from app.telemetry.metrics import Metrics

PATIENCE_S = 0.03


class Wire:
    """A caller: what it sends, and whether it takes what it is sent."""

    def __init__(self, *messages: Message) -> None:
        self.coming: asyncio.Queue[Message] = asyncio.Queue()
        for message in messages:
            self.coming.put_nowait(message)
        self.taking = asyncio.Event()
        self.answered = asyncio.Event()
        self.sent: list[Message] = []
        self.pace = Pace(lambda: 0, asyncio.get_running_loop().time)
        self.stopping = False

    async def receive(self) -> Message:
        return await self.coming.get()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            await self.taking.wait()
            self.answered.set()
        self.sent.append(message)

    async def run(self) -> None:
        services: Any = SimpleNamespace(metrics=Metrics(None, {}), admission=Admission(None, 0.04), bundle=None)
        services.idempotency_of = services.decider = services.observer = None
        stream = AnswerStream(services, self.pace, lambda: self.stopping)
        async with asyncio.timeout(5):
            await stream({"type": "http"}, self.receive, self.send)

    @property
    def body(self) -> bytes:
        return b"".join(cast(bytes, message["body"]) for message in self.sent[1:])


def piece(body: bytes, more_body: bool = True) -> Message:
    return {"type": "http.request", "body": body, "more_body": more_body}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "UNTAKEN_S", PATIENCE_S)
    monkeypatch.setattr(batches, "LOOK_EVERY_S", 0.005)


async def test_a_caller_who_stays_and_takes_nothing_is_cut_after_a_while() -> None:
    wire = Wire(piece(b"{\n" * 10, more_body=False))
    begun_s = asyncio.get_running_loop().time()
    await wire.run()
    assert asyncio.get_running_loop().time() - begun_s >= PATIENCE_S
    assert [message["type"] for message in wire.sent] == ["http.response.start"]  # and the stream is seen to be cut
    assert wire.pace.batches == 0


async def test_a_caller_who_still_writes_may_leave_its_answers_untaken_for_as_long_as_that_lasts() -> None:
    wire = Wire(piece(b"{\n" * 10))
    running = asyncio.create_task(wire.run())
    await asyncio.sleep(4 * PATIENCE_S)
    assert not running.done()
    wire.taking.set()
    wire.coming.put_nowait(piece(b"{\n", more_body=False))
    await running
    assert len(wire.body.splitlines()) == 11
    assert wire.sent[-1]["more_body"] is False


async def test_a_caller_who_leaves_ends_the_batch() -> None:
    wire = Wire(piece(b"{\n" * 10), {"type": "http.disconnect"})
    await wire.run()
    assert wire.pace.batches == 0
    assert all(message.get("more_body", True) for message in wire.sent)


async def test_a_stop_ends_a_batch_whose_caller_sends_nothing() -> None:
    wire = Wire(piece(b"{\n"))
    wire.taking.set()
    running = asyncio.create_task(wire.run())
    await wire.answered.wait()
    wire.stopping = True
    await running
    assert b'"line":2' in wire.body
    assert b"batch_interrupted" in wire.body
    assert wire.sent[-1]["more_body"] is False


async def test_a_line_that_cannot_be_decided_for_a_reason_of_ours_is_a_problem_like_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    wire = Wire(piece(b'{"customer": "cus_1", "placements": ["weekly"]}\n{\n', more_body=False))  # there is no bundle
    wire.taking.set()
    await wire.run()
    first, second = wire.body.splitlines()
    assert b'"code":"internal"' in first
    assert b'"line":1' in first
    assert b"malformed_json" in second
    assert "a line of a batch failed" in caplog.text
