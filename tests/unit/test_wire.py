"""What a store answers at once is not all gone on with at once, and none of it is lost."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.store.wire import ANSWERED_AT_ONCE, LinkCounters, StoreDown, Wire

CALLS = 2 * ANSWERED_AT_ONCE + 5


class Sink(asyncio.Transport):
    """Takes everything that is written."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def abort(self) -> None:
        pass

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        pass

    def is_closing(self) -> bool:
        return False


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    wire = Wire(asyncio.get_running_loop(), LinkCounters(), lambda _wire, _reason: None)
    wire.take_over(Sink(), b"")
    yield wire
    wire.end("the test is over")


def asked(wire: Wire) -> list[asyncio.Future[list[object]]]:
    return [wire.call(b"*1\r\n$4\r\nPING\r\n", 1, asyncio.get_running_loop().time() + 60) for _ in range(CALLS)]


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
