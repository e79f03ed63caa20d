"""Batches without a server: order, bounds, and ends that come early."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.lines import Line
from app.errors import Problem
from app.flows import batch as batches
from app.flows.batch import LINE_BYTES_MAX, WINDOW, Batch
from app.flows.pace import LINES_ALONE, Pace
from app.spool import Spool

Answer = Callable[[Line], Awaitable[bytes]]


class Left(Exception):
    """What a body raises when its caller has hung up."""


async def body(pieces: Iterable[bytes], then: Callable[[], None] = lambda: None) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
    then()


def refuse(number: int, problem: Problem) -> bytes:
    return b"%d %s\n" % (number, problem.code.encode())


def alone() -> Pace:
    return Pace(lambda: 0, asyncio.get_running_loop().time)


async def taken(spool: Spool) -> bytes:
    parts = []
    while part := await spool.take():
        parts.append(part)
    return b"".join(parts)


async def answers_to(
    pieces: AsyncIterator[bytes], answer: Answer, spool: Spool, stopping: Callable[[], bool] = lambda: False
) -> list[bytes]:
    """Runs a batch whose caller reads while it writes."""
    async with asyncio.timeout(10), spool, asyncio.TaskGroup() as group:
        taking = group.create_task(taken(spool))
        await Batch(answer, refuse, alone(), spool, stopping).run(pieces)
        return (await taking).splitlines()


def cut(text: bytes, places: Sequence[int]) -> list[bytes]:
    """The text in pieces that end at `places`."""
    ends = sorted({min(place, len(text)) for place in places} | {len(text)})
    return [text[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


LINES = st.lists(st.sampled_from([b"good", b"bad", b"", b"  ", b"\xff\xfe", b"x" * (LINE_BYTES_MAX + 1)]), max_size=40)


@settings(max_examples=60, deadline=None)
@given(
    LINES,
    st.sampled_from([b"\n", b"\r\n"]),
    st.booleans(),
    st.lists(st.integers(0, 200_000), max_size=8),
    st.lists(st.integers(0, 5), min_size=1),
    st.booleans(),
)
def test_answers_come_in_the_order_of_their_lines_whatever_the_lines_and_however_long_each_takes(
    lines: list[bytes], newline: bytes, last: bool, places: list[int], turns: list[int], small: bool
) -> None:
    async def answer(line: Line) -> bytes:
        for _ in range(turns[line.number % len(turns)]):
            await asyncio.sleep(0)
        return refuse(line.number, Problem("payload_too_large", "")) if line.text is None else b"%d %s\n" % line

    async def run() -> list[bytes]:
        spool = Spool(5, memory_bytes=16, file_bytes=64) if small else Spool(5)
        return await answers_to(body(cut(text, places)), answer, spool)

    text = newline.join(lines) + (newline if last else b"")
    expected = [
        b"%d %s" % (number, b"payload_too_large" if len(line) > LINE_BYTES_MAX else line)
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    assert asyncio.run(run()) == expected


async def test_a_slow_line_holds_its_successors_back_only_when_the_window_is_full() -> None:
    begun, release = [], asyncio.Event()

    async def answer(line: Line) -> bytes:
        begun.append(line.number)
        if line.number == 1:
            await release.wait()
        elif line.number == WINDOW:
            asyncio.get_running_loop().call_later(0.05, release.set)
        return b"%d\n" % line.number

    answers = await answers_to(body([b"x\n" * 1000]), answer, Spool(5))
    assert answers == [b"%d" % number for number in range(1, 1001)]
    assert sorted(begun[:WINDOW]) == list(range(1, WINDOW + 1))


async def test_lines_are_decided_together_and_never_more_than_the_pace_allows() -> None:
    now = most = 0

    async def answer(line: Line) -> bytes:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        now -= 1
        return b"a\n"

    assert len(await answers_to(body([b"x\n" * 500]), answer, Spool(5))) == 500
    assert most == LINES_ALONE


async def test_a_caller_who_hangs_up_stops_the_batch_and_lines_in_flight_are_decided() -> None:
    begun, decided = 0, 0

    async def answer(line: Line) -> bytes:
        nonlocal begun, decided
        begun += 1
        await asyncio.sleep(0.01)
        decided += 1
        return b"a\n"

    def hang_up() -> None:
        raise Left

    async with Spool(5) as spool:
        with pytest.raises(Left):
            await Batch(answer, refuse, alone(), spool, lambda: False).run(body([b"x\n" * 20], hang_up))
    assert begun == decided == 20


async def test_a_server_that_stops_ends_the_batch_after_the_lines_in_flight_and_says_where() -> None:
    stopped = False

    async def answer(line: Line) -> bytes:
        nonlocal stopped
        await asyncio.sleep(0)
        stopped = stopped or line.number == 100
        return b"%d\n" % line.number

    *answers, last = await answers_to(body([b"x\n" * 5000] * 10), answer, Spool(5), lambda: stopped)
    assert answers == [b"%d" % number for number in range(1, len(answers) + 1)]
    assert 100 <= len(answers) <= 100 + LINES_ALONE
    assert last == b"%d batch_interrupted" % (len(answers) + 1)


async def test_a_stop_is_noticed_while_nothing_comes() -> None:
    heartbeats = 0

    async def silent() -> AsyncIterator[bytes]:
        nonlocal heartbeats
        yield b"x\n"
        while True:
            heartbeats += 1
            await asyncio.sleep(0.001)
            yield b""

    async def answer(line: Line) -> bytes:
        return b"a\n"

    assert await answers_to(silent(), answer, Spool(5), lambda: heartbeats > 5) == [b"a", b"2 batch_interrupted"]


async def test_a_server_that_stops_does_not_wait_for_a_caller_who_goes_on_writing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batches, "LINGER_S", 0.05)
    written = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal written
        while True:
            written += 1
            await asyncio.sleep(0.001)
            yield b"x\n"

    async def answer(line: Line) -> bytes:
        return b"a\n"

    answers = await answers_to(endless(), answer, Spool(5), lambda: written > 5)
    assert answers == [b"a"] * 5 + [b"6 batch_interrupted"]
    assert written > 10  # what came after was read, so that the answers are not lost


async def test_a_caller_who_reads_nothing_gets_what_fits_and_learns_which_lines_were_not_decided() -> None:
    async def answer(line: Line) -> bytes:
        return b"%d %s\n" % (line.number, b"." * 100)

    async with asyncio.timeout(10), Spool(0.05, memory_bytes=1000, file_bytes=10_000) as spool:
        await Batch(answer, refuse, alone(), spool, lambda: False).run(body([b"x\n" * 1000] * 3))
        *answers, last = (await taken(spool)).splitlines()
    assert [line.split()[0] for line in answers] == [b"%d" % number for number in range(1, len(answers) + 1)]
    assert 100 <= len(answers) <= 100 + 2 * LINES_ALONE
    assert last == b"%d batch_interrupted" % (len(answers) + 1)
