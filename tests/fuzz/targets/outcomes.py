"""What the store answers when outcomes are taken down: every garbled reply is a Problem that says so, never an
acknowledgement.

Input: which call (a byte), and the bytes that come back; `NEXT` stands where the store waits for another command.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, cast

from app.core.decision.ids import DecisionId
from app.core.heard import Heard
from app.core.outcomes import Outcome, Sending, consequences
from app.errors import Problem
from app.store.keys import Keys
from app.store.ledger import kind_names
from app.store.link import Link
from app.store.outcomes import OutcomeStore, Told, Write
from policy.codes import OutcomeType
from tests.fuzz.targets.store import BUNDLE, HUGE, NEXT, OneWire, loop, registry, resp
from tests.fuzz.targets.store import WORDS as STORE_WORDS
from tests.support.deciding import NOW_MS, kind

DECISION = DecisionId(0, NOW_MS, 5, 0)
KIND = kind(BUNDLE.placements["weekly"], "alpha")
KIND_ID = registry().id_of(next(name for name in kind_names(BUNDLE) if name.startswith("k:weekly/")))
RECIPIENT = "ab" * 32
WORDS = (
    *STORE_WORDS,
    b"$5\r\nknown\r\n",
    b"$6\r\nmerged\r\n",
    b"$7\r\nmerging\r\n",
    b"$6\r\nfuture\r\n",
    b"contact_sent",
)


def _write() -> Write:
    outcome = Outcome(OutcomeType.CLICKED, NOW_MS, event_id="e1")
    heard = Heard(outcome, DECISION, None, RECIPIENT, None, "email", "generic", "other")
    follows = consequences(outcome, Sending("cus_1", KIND), ())
    return Write(heard, "cus_1", DECISION, KIND_ID, follows, lambda customer: customer.encode())


APPLY = 3
CALLS: tuple[Callable[[OutcomeStore], Awaitable[Any]], ...] = (
    lambda it: it.look([DECISION], [b"m" * 16], [RECIPIENT]),
    lambda it: it.became(["cus_1"]),
    lambda it: it.contacts(["cus_1"]),
    lambda it: it.apply([_write()], Told("form", "form"), NOW_MS),
    lambda it: it.remember([(b"m" * 16, DECISION)]),
)


def acknowledged(raw: bytes) -> Any:
    """What becomes of one outcome when these bytes come back. Raises Problem."""
    return loop().run_until_complete(_asked(CALLS[APPLY], raw))


def seeds() -> Iterator[bytes]:
    time = [b"%d" % (NOW_MS // 1000), b"12"]
    yield (
        b"\x00" + resp(time) + resp(b"1796083200000-0 cus_1 1 mens@1.plain") + resp(str(DECISION).encode()) + resp(b"c")
    )
    yield b"\x00" + resp(time) + resp(b"aborted") + resp(None) + resp(None)
    yield b"\x01" + resp(b">cus_2")
    yield b"\x01" + resp(b"p")
    yield b"\x02" + resp([bytes(14) + KIND_ID + b",0,s"]) + resp([b"c" + bytes(14), KIND_ID])
    yield b"\x03" + resp([b"ok", NOW_MS, b"m", b"contact_sent", b"contact_engaged"])
    yield b"\x03" + resp([b"merged", b"cus_2", [b"a", b"b"]]) + NEXT + resp([b"known", NOW_MS, b""])
    yield b"\x03" + resp([b"future"])
    yield b"\x03-NOSCRIPT no\r\n" + NEXT + b"+OK\r\n" + NEXT + resp([b"ok", NOW_MS, b""])
    yield b"\x04+OK\r\n"


def run(data: bytes) -> None:
    if not data or HUGE.search(data):
        return
    try:
        answered(data)
    except Problem as problem:
        problem.render()


def answered(data: bytes) -> Any:
    """What is made of the replies. Raises Problem."""
    return loop().run_until_complete(_asked(CALLS[data[0] % len(CALLS)], data[1:]))


async def _asked(call: Callable[[OutcomeStore], Awaitable[Any]], raw: bytes) -> Any:
    link = OneWire()
    store = OutcomeStore(cast("Link", link), Keys(64), registry(), BUNDLE, 1_000_000)
    store.hash_key = b"a key that only tests know, 32 characters"

    asking = asyncio.ensure_future(call(store))
    await link.receive(raw, len(raw) or 1)
    answer = await asking
    if isinstance(answer, list):  # of `apply`: nothing but the script's own words is an acknowledgement
        assert all(each.status in (b"ok", b"known", b"future", b"erased") for each in answer), answer
    return answer
