"""The load generator counts what callers would meet, and believes no server that fails, lies or stalls."""

import asyncio
import time

import pytest

from loadtests.driver import closed_loop, content_length, open_loop
from tests.support.small_server import OK, REFUSED, fine, in_pieces, server


async def test_a_closed_loop_reports_the_rate_of_good_answers_only() -> None:
    async def every_second_refused(number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(REFUSED if number % 2 else OK)

    async with server(every_second_refused) as target:
        tally = await closed_loop(target, 4, warm_up_s=0.0, seconds=0.2)
    assert tally.failures["503"] == pytest.approx(tally.good, abs=4)
    assert tally.rate == pytest.approx(tally.good / tally.seconds)


async def test_a_server_that_refuses_at_once_does_not_look_fast_by_it() -> None:
    async def refuses_some(number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(REFUSED if number % 3 else OK)

    async with server(refuses_some) as target:
        tally = await closed_loop(target, 2, warm_up_s=0.0, seconds=0.1)
    assert tally.answers == tally.good + tally.failures["503"]
    assert len(tally.latencies_ns) == tally.good


async def test_an_answer_in_pieces_is_one_answer() -> None:
    async with server(in_pieces) as target:
        tally = await closed_loop(target, 1, warm_up_s=0.0, seconds=0.1)
    assert not tally.failures
    assert set(tally.samples) == {b'{"fine": true'}


async def test_a_dropped_connection_is_a_failure_and_not_silence() -> None:
    async def dropped(_: int, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with server(dropped) as target:
        tally = await closed_loop(target, 3, warm_up_s=0.0, seconds=0.1)
    assert tally.failures == {"lost": 3}
    assert tally.rate == 0


async def test_the_processor_clocks_are_read_at_both_ends_of_the_measured_time() -> None:
    edges: list[float] = []
    measured = 0.0, 0.0
    async with server(fine) as target:
        for _ in range(20):  # on a busy machine one of them may be read late: not each time, if they are read where due
            edges.clear()
            began = time.monotonic()
            await closed_loop(target, 1, warm_up_s=0.05, seconds=0.1, edge=lambda: edges.append(time.monotonic()))
            again = time.monotonic()
            await open_loop(target, 200, warm_up_s=0.05, seconds=0.1, edge=lambda: edges.append(time.monotonic()))
            assert len(edges) == 4
            assert edges[0] >= began + 0.05, "never before it is warm"
            assert edges[2] >= again + 0.05
            measured = edges[1] - edges[0], edges[3] - edges[2]
            if measured == pytest.approx((0.1, 0.1), abs=0.05):
                return
    raise AssertionError(f"the last time they were so far apart: {measured}")


async def test_an_open_loop_sends_at_the_rate_it_was_given() -> None:
    async with server(fine) as target:
        tally = await open_loop(target, 1_000, warm_up_s=0.02, seconds=0.2)
    assert len(tally.latencies_ns) == pytest.approx(200, abs=1)
    assert not tally.failures


async def test_one_stall_is_charged_to_every_request_that_was_due_meanwhile() -> None:
    """A server that sleeps for 150 ms once delays all that fell due in it: coordinated omission would see one."""

    async def stalls_once(number: int, writer: asyncio.StreamWriter) -> None:
        if number == 60:
            time.sleep(0.15)  # noqa: ASYNC251  # a server whose loop is blocked is what is meant
        writer.write(OK)

    async with server(stalls_once) as target:
        tally = await open_loop(target, 500, warm_up_s=0.0, seconds=0.4)
    slow = sum(latency > 40_000_000 for latency in tally.latencies_ns)
    assert slow >= 0.1 * 500 * 0.8


async def test_what_is_never_answered_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtests.driver.DRAIN_S", 0.05)

    async def falls_silent(number: int, writer: asyncio.StreamWriter) -> None:
        if number < 10:
            writer.write(OK)

    async with server(falls_silent) as target:
        tally = await open_loop(target, 200, warm_up_s=0.0, seconds=0.2)
    assert len(tally.latencies_ns) == pytest.approx(40, abs=1)
    assert tally.failures["unanswered"] == len(tally.latencies_ns) - 10


async def test_a_connection_that_nobody_used_for_long_is_opened_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers close idle ones; what is sent in that moment is lost, and was the sender's mistake."""
    monkeypatch.setattr("loadtests.driver.IDLE_S_MAX", 0.03)
    used: set[asyncio.StreamWriter] = set()

    async def closes_soon(_: int, writer: asyncio.StreamWriter) -> None:
        used.add(writer)
        writer.write(OK)
        asyncio.get_running_loop().call_later(0.06, writer.close)

    async with server(closes_soon) as target:
        tally = await open_loop(target, 10, warm_up_s=0.0, seconds=0.5, connections=2)
    assert (tally.good, len(tally.failures)) == (5, 0)
    assert len(used) > 2


def test_an_answer_without_a_length_is_not_guessed_at() -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    with pytest.raises(ValueError, match="without content-length"):
        content_length(head, head.find(b"\r\n\r\n"))
