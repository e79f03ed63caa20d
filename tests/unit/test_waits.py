"""What the machine owes to an answer (`tests.chaos.waits`), by looks that are made up."""

from __future__ import annotations

import asyncio
import os
import time

from tests.chaos.seen import Seen, late_by_itself_ms
from tests.chaos.waits import Look, Waits, watched
from tests.support.history import Span

STEADY, STRUCK = 0, 1


def looked(*waited_ms: float, server: int = STRUCK, pid: int = 7, since_s: float = 100.0) -> Waits:
    """At a server of which it is known, second by second, how long it had waited."""
    waits = Waits()
    for second, waited in enumerate(waited_ms):
        waits.looked(server, pid, Look(since_s + second, waited))
    return waits


def answered(server_ms: float, server: int = STRUCK) -> Seen:
    return Seen(101.5, server, 200, "", (), frozenset(), 100.0, server_ms + 5, server_ms)


def test_an_answer_is_owed_what_its_server_waited_while_it_was_on_its_way() -> None:
    waits = looked(0, 10, 310, 310)
    assert waits.of_server_ms(STRUCK, Span(101.5, 101.9)) == 300
    assert late_by_itself_ms(answered(450), waits) == 50


def test_it_is_owed_nothing_of_other_times_and_of_other_servers() -> None:
    waits = looked(0, 500, 500, 500, 900)
    assert waits.of_server_ms(STRUCK, Span(101.5, 102.5)) == 0
    assert late_by_itself_ms(answered(450), waits) == 350
    assert late_by_itself_ms(answered(450, STEADY), waits) == 350


def test_of_several_processes_the_one_that_waited_longest_may_have_answered() -> None:
    waits = looked(0, 0, 30, 30)
    for second, waited in enumerate((0, 0, 80, 80)):
        waits.looked(STRUCK, 8, Look(100.0 + second, waited))
    assert waits.of_server_ms(STRUCK, Span(101.5, 101.9)) == 80


def test_what_a_process_waited_while_it_started_is_owed_to_nobody() -> None:
    assert looked(700, 700, since_s=102.0).of_server_ms(STRUCK, Span(101.5, 102.5)) == 0


def test_callers_are_owed_what_their_own_loop_was_late() -> None:
    waits = Waits()
    waits.ticked_late(Span(99.0, 99.5), 450)
    waits.ticked_late(Span(101.0, 101.2), 200)
    assert waits.of_callers_ms(Span(101.1, 103.0)) == 200


async def test_a_loop_that_is_blocked_is_seen_to_be_late() -> None:
    begun = time.time()
    async with watched(lambda: [[os.getpid()]]) as waits:
        await asyncio.sleep(0)  # the first tick begins
        time.sleep(0.05)  # noqa: ASYNC251  # what is looked for
        await asyncio.sleep(0.01)
    at = Span(begun, time.time())
    assert waits.of_callers_ms(at) >= 40
    assert waits.of_server_ms(0, at) < (at.end - at.start) * 1000
