"""The lean driver: what was sent, what came back, and whose fault it was that something came late."""

import asyncio
import math
import time
from collections.abc import Callable

import pytest

from loadtests import lean
from loadtests.driver import Target
from loadtests.lean import Answer, Sent
from loadtests.overload.tally import Overload
from tests.support.small_server import OK, REFUSED, fine, in_pieces, server


async def drive(
    target: Target, connections: int, rate: float, seconds: float, edge: Callable[[], None] = lambda: None
) -> tuple[Sent, list[Answer]]:
    heard: list[Answer] = []
    sent = await asyncio.to_thread(
        lean.drive, target, connections, rate, heard.append, warm_up_s=0.05, seconds=seconds, edge=edge
    )
    return sent, heard


async def test_requests_fall_due_evenly_at_the_rate_that_was_asked() -> None:
    edges: list[float] = []
    async with server(fine) as target:
        sent, heard = await drive(target, 32, 800, 0.25, lambda: edges.append(time.monotonic()))
    assert sent.requests == pytest.approx(240, abs=1)
    assert len(heard) == pytest.approx(200, abs=1)
    assert all(answer.data == OK for answer in heard)
    assert len(sent.late_ns) == sent.requests
    assert edges[1] - edges[0] == pytest.approx(0.25, abs=0.05)


async def test_in_a_closed_loop_the_next_request_goes_out_when_one_was_answered() -> None:
    under_way, most = 0, 0

    async def counts(_: int, writer: asyncio.StreamWriter) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.005)
        under_way -= 1
        writer.write(OK)

    async with server(counts) as target:
        sent, heard = await drive(target, 4, math.inf, 0.2)
    assert most == 4
    assert 0 < len(heard) <= sent.requests
    assert all(answer.latency_ns >= 5_000_000 for answer in heard)


async def test_who_finds_no_free_connection_is_counted_from_when_it_was_due() -> None:
    async def slow(_: int, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.02)
        writer.write(OK)

    async with server(slow) as target:  # takes 100 a second, is asked 200
        _, heard = await drive(target, 2, 200, 0.3)
    assert max(answer.latency_ns for answer in heard) > 100_000_000


async def test_an_answer_in_pieces_is_one_answer() -> None:
    async with server(in_pieces) as target:
        _, heard = await drive(target, 1, math.inf, 0.1)
    assert {answer.data for answer in heard} == {OK}


async def test_a_dropped_connection_and_silence_are_lost_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lean, "DRAIN_S", 0.05)

    async def fails(number: int, writer: asyncio.StreamWriter) -> None:
        if number == 20:
            writer.close()
        elif number != 30:
            writer.write(OK)

    async with server(fails) as target:
        sent, heard = await drive(target, 8, 400, 0.2)
    lost = [answer for answer in heard if not answer.data]
    assert len(lost) == 2
    assert sent.unanswered == 1


async def test_an_overload_is_counted_by_what_its_answers_were_worth() -> None:
    send = OK + b'"action":"send"'
    said = [(send, 1), (OK, 1), (send, 200), (REFUSED, 1), (b"", 1)]
    tally = Overload(budget_ns=100_000_000)
    for data, ms in said:
        tally.add(Answer(ms * 1_000_000, 0, data))
    assert (tally.useful, tally.undecided, tally.late, tally.refused, tally.rude) == (1, 1, 1, 1, 1)
    assert tally.other == {"lost": 1}
    assert tally.answers == 5
    assert tally.by_second[0].total() == 5
