"""The hot connection: whatever bytes come back for the read, the commit, the release and the look-up of an alias, each
ends as one of the declared values. What cannot be understood closes (`Unreadable`, `Unknown`); no consent, suppression
or contact is passed over.

Input: which call (a byte), in what pieces the bytes come (a byte), and the bytes; `NEXT` stands where the store waits
for another command.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from functools import cache
from types import SimpleNamespace
from typing import Any, cast, get_args

from hiredis import Reader, ReplyError
from redis.asyncio import Redis

from app.core.decision import commit
from app.core.decision.commit import Idempotency, Intent, NewContact, Reading, Refused, Twin, Unreadable
from app.core.decision.ids import base_of, id_at, pack_id
from app.core.identity import Alias
from app.store.decisions import DecisionStore, trial_names
from app.store.fields import FieldRegistry, names_of
from app.store.keys import Keys
from app.store.ledger import kind_names
from app.store.link import Link
from app.store.profile import MARKS
from app.store.wire import LinkCounters, StoreError, Wire
from tests.support.contract import contract_bundle
from tests.support.deciding import NOW_MS, contact, kind

BUNDLE = contract_bundle()
#: hiredis makes a list as long as a reply says that it will be, before any of it came. Nothing of ours can bound that
#: (docs/fuzzing.md): who answers as the store is trusted so far, which is what AUTH and TLS are for.
HUGE = re.compile(rb"[*%~>|]\+?0*[0-9]{7}")
PARTS_MAX, PIECES_MAX, TURNS = 6, 200, 6
BASE = base_of(0, NOW_MS, 5)
KEY = Idempotency(b"k" * 32, b"b" * 16)
NEXT = b"\xf5NEXT\xf5"
WORDS = (
    NEXT, b"\r\n", b"*3\r\n", b"*-1\r\n", b"$-1\r\n", b"$0\r\n\r\n", b":1\r\n", b"+OK\r\n", b"-OOM \r\n",
    b"-MOVED 1 a:1\r\n", b"-READONLY\r\n", b"-NOSCRIPT\r\n", b"%1\r\n", b"~1\r\n", b"_\r\n", b"#t\r\n", b",1.5\r\n",
    b"(1\r\n", b">2\r\n", b"$2\r\nok\r\n", b"$5\r\nmoved\r\n", b"$4\r\ntwin\r\n", b"$4\r\nlate\r\n",
    b"$8\r\nreleased\r\n", b"$4\r\nwait\r\n", b"$2\r\n!e\r\n", b"$2\r\n!m\r\n", b"$2\r\n!t\r\n", b"$2\r\n!s\r\n",
    b"-*:manual", b"-email:hard_bounce",
)  # fmt: skip


@cache
def registry() -> FieldRegistry:
    """As after a refresh, which finds nothing new: nothing here reaches a store."""
    names = [*names_of(BUNDLE), *kind_names(BUNDLE), *trial_names(BUNDLE), "s:form", "b:consent", "w:form"]
    ids = {name: b"%d" % number for number, name in enumerate(names)}

    async def hgetall(_: bytes) -> dict[bytes, bytes]:
        return {name.encode(): each for name, each in ids.items()}

    known = FieldRegistry(cast("Redis", SimpleNamespace(hgetall=hgetall)))
    known.learn(ids.items())
    return known


@cache
def loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


class Line:
    """A transport that goes nowhere."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...
    def write(self, data: bytes) -> None: ...
    def abort(self) -> None: ...

    def is_closing(self) -> bool:
        return False


class OneWire:
    """A link of one connection, whose bytes are ours."""

    def __init__(self) -> None:
        self._wire = Wire(loop(), LinkCounters(), lambda _wire, _reason: None)
        self._wire.take_over(cast("asyncio.Transport", Line()), b"")

    def call(self, packed: bytes, replies: int, deadline: float) -> asyncio.Future[list[Any]]:
        return self._wire.call(packed, replies, deadline)

    def drop(self, reason: str) -> None:
        self._wire.end(reason)

    async def receive(self, raw: bytes, size: int) -> None:
        """These bytes, in pieces of `size`, each part once something was asked; and then the end of the connection."""
        for part in raw.split(NEXT)[:PARTS_MAX]:
            await self._until_asked()
            for at in range(0, min(len(part), size * PIECES_MAX), size):
                if self._wire.end_reason is None:
                    self._wire.data_received(part[at : at + size])
                await asyncio.sleep(0)
        await self._until_asked()
        self._wire.connection_lost(None)

    async def _until_asked(self) -> None:
        for _ in range(TURNS):
            if self._wire._pending:
                return
            await asyncio.sleep(0)


def store(link: OneWire) -> DecisionStore:
    made = DecisionStore(cast("Link", link), Keys(64), registry(), BUNDLE, 1_000_000, strict=False)
    made.hash_key = b"a key that only tests know, 32 characters"
    return made


def intent() -> Intent:
    held = contact(kind(BUNDLE.placements["weekly"], "alpha"), NOW_MS)._replace(decision=pack_id(id_at(BASE, 0)))
    new = NewContact(held, id_at(BASE, 0))
    return Intent("cus_1", BASE, 1, 1, NOW_MS + 100, b"record", (new,), KEY, b"answer", None)


def seeds() -> Iterator[bytes]:
    known = registry()
    profile = [b"!u", b"1", b"!g", b"7", b"!l", b"3", b"!r", b"DE", b"!z", b"Europe/Berlin", b"!n", b"de"]
    profile += [known.id_of("a:recency"), b"3", b"@" + known.id_of("o:" + BUNDLE.facts[0].owner), b"%d" % NOW_MS]
    head = b"g" + known.id_of("b:consent") + b"," + known.id_of("s:form") + b",%d" % NOW_MS
    consent = known.id_of("p:marketing") + b"." + known.id_of("c:*")
    profile += [consent, head]
    stopped = [*profile, b"-email:hard_bounce", b"123," + known.id_of("s:form"), b"!s", b"1", b"%best_hours"]
    stopped += [b'"18:00-21:00"', b"+converted.", b"%d" % NOW_MS, b"!t", b"%d" % NOW_MS, b"!m", b"p"]
    erased = [b"!e", b"%d,er_1" % NOW_MS, b"-*:erased", b"1," + known.id_of("s:form"), b"!g", b"2"]
    kind_id = known.id_of(next(kind_names(BUNDLE)))
    member = bytes(14) + kind_id + b",3600000,se"
    time = [b"%d" % (NOW_MS // 1000), b"12"]
    kept = bytes.fromhex(BASE) + KEY.body_hash + b"="
    for fields in (profile, stopped, [*profile, b"!m", b">cus_2"]):
        yield b"\x00\x00" + resp(time) + resp(fields) + resp([member, b"%d" % NOW_MS]) + resp(None)
    yield b"\x00\x05" + resp(time) + resp(erased) + resp([]) + resp(kept + b'[{"action":"send"}]')
    yield b"\x00\x05" + resp(time) + resp(profile) + resp([]) + resp(kept[:-1] + b"?x") + NEXT + resp(kept + b"x")
    yield b"\x00\x01" + resp(time) + b"-OOM no\r\n" + resp([]) + resp(None)
    yield b"\x01\x00" + resp([b"ok"])
    yield b"\x01\x00" + resp([b"moved", time, profile, [member, b"%d" % NOW_MS]])
    yield b"\x01\x00" + resp([b"twin", kept + b"x"])
    yield b"\x01\x00" + resp([b"late"])
    yield b"\x01\x00-NOSCRIPT no\r\n" + NEXT + resp([b"ok"])
    yield b"\x02\x00" + resp([b"released", b"cus_2"]) + NEXT + resp([b"wait", 3])
    yield b"\x02\x00" + resp([b"wait", b"15"])
    yield b"\x03\x00" + resp(b"cus_2")


def resp(value: Any) -> bytes:
    """A reply of the store."""
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, list):
        return b"*%d\r\n" % len(value) + b"".join(map(resp, value))
    return b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value)


def run(data: bytes) -> None:
    if len(data) < 2 or HUGE.search(data):
        return
    CALLS[data[0] % len(CALLS)](data[2:], data[1] or len(data))


def answered(raw: bytes, size: int, call: Callable[[DecisionStore, float], Awaitable[Any]]) -> Any:
    async def both() -> Any:
        link = OneWire()
        asking = asyncio.ensure_future(call(store(link), loop().time() + 60))
        await link.receive(raw, size)
        return await asking

    return loop().run_until_complete(both())


def _read(raw: bytes, size: int) -> None:
    answer = answered(raw, size, lambda it, deadline: it.read("cus_1", KEY, deadline))
    assert isinstance(answer, Reading | Twin | Refused | Unreadable)
    if isinstance(answer, Reading):
        _is_whole(raw, answer)


def _is_whole(raw: bytes, read: Reading) -> None:
    """All that stops a message is among the facts."""
    reader = Reader()
    reader.feed(raw.replace(NEXT, b""))
    _time, profile, ledger = (reader.gets() for _ in range(3))
    fields = set(profile[::2])
    assert len(read.facts.consent) == len([f for f in fields if b"." in f and f[0] not in MARKS])
    assert len(read.facts.suppressions) == len([f for f in fields if f[:1] == b"-"])
    assert len(read.facts.contacts) * 2 == len(ledger or ())
    assert all(len(each.decision) == 14 for each in read.facts.contacts)
    assert read.facts.merge_pending or dict(zip(profile[::2], profile[1::2], strict=True)).get(b"!m") != b"p"


def _commit(raw: bytes, size: int) -> None:
    answer = answered(raw, size, lambda it, deadline: it.commit(intent(), deadline))
    assert isinstance(answer, get_args(commit.Outcome))


def _release(raw: bytes, size: int) -> None:
    """The reconciler tries again whatever is raised."""
    try:
        answered(raw, size, lambda it, deadline: it.release(intent(), deadline))
    except (StoreError, ReplyError, ValueError, TypeError, LookupError, AttributeError):
        return


def _customer_of(raw: bytes, size: int) -> None:
    alias = Alias("user_id", "u_1")
    answer = answered(raw, size, lambda it, deadline: it.customer_of(alias, deadline))
    assert answer is None or isinstance(answer, str)


CALLS = (_read, _commit, _release, _customer_of)
