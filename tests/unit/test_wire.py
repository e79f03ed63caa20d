"""When calls are handed to the store, and when its answers are gone on with; none is lost."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.store.wire import ANSWERED_AT_ONCE, EARLY, LinkCounters, StoreDown, Wire

CALLS = 2 * ANSWERED_AT_ONCE + 5


class Sink(asyncio.Transport):
    """Takes everything that is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def abort(self) -> None:
        pass

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        pass

    def is_closing(self) -> bool:
        return False


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
async def wire(sink: Sink) -> AsyncIterator[Wire]:
    wire = Wire(asyncio.get_running_loop(), LinkCounters(), lambda _wire, _reason: None)
    wire.take_over(sink, b"")
    yield wire
    wire.end("the test is over")


PING = b"*1\r\n$4\r\nPING\r\n"


def asked(wire: Wire, calls: int = CALLS) -> list[asyncio.Future[list[object]]]:
    return [wire.call(PING, 1, asyncio.get_running_loop().time() + 60) for _ in range(calls)]


def replies(begin: int, end: int) -> bytes:
    return b"".join(b":%d\r\n" % number for number in range(begin, end))


def given(calls: list[asyncio.Future[list[object]]]) -> list[object]:
    return [call.result()[0] for call in calls if call.done()]


async def test_hundreds_of_answers_are_given_out_over_several_turns_in_their_order(wire: Wire) -> None:
    calls = asked(wire)
    await asyncio.sleep(0)  # they are sent at the end of a turn
    wire.data_received(replies(0, CALLS))
    assert given(calls) == list(range(ANSWERED_AT_ONCE))
    await asyncio.sleep(0)
    assert given(calls) == list(range(2 * ANSWERED_AT_ONCE))
    await asyncio.sleep(0)
    assert given(calls) == list(range(CALLS))
    assert wire.bytes_pending == 0


async def test_what_comes_meanwhile_waits_behind_them(wire: Wire) -> None:
    calls = asked(wire)
    await asyncio.sleep(0)
    wire.data_received(replies(0, CALLS - 3))
    wire.data_received(replies(CALLS - 3, CALLS))
    assert given(calls) == list(range(ANSWERED_AT_ONCE))
    for _ in range(2):
        await asyncio.sleep(0)
    assert given(calls) == list(range(CALLS))


async def test_answers_that_came_before_the_connection_ended_are_given_out(wire: Wire) -> None:
    calls = asked(wire)
    await asyncio.sleep(0)
    wire.data_received(replies(0, CALLS - 1))
    wire.connection_lost(None)
    assert given(calls[:-1]) == list(range(CALLS - 1))
    assert isinstance(calls[-1].exception(), StoreDown)


async def test_a_store_without_work_is_given_the_first_calls_of_a_turn_at_once_and_the_others_together(
    wire: Wire, sink: Sink
) -> None:
    asked(wire, EARLY - 1)
    assert sink.written == []
    asked(wire, 1)
    assert sink.written == [PING * EARLY]
    asked(wire, 3 * EARLY)
    assert sink.written == [PING * EARLY], "it has work now: one write is cheaper than four"
    await asyncio.sleep(0)
    assert sink.written == [PING * EARLY, PING * 3 * EARLY]
