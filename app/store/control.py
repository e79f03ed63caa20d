"""Kill switches in the store, their history, what variants earned, and until when events are complete.

What decisions go by is read over the hot connection, so that it comes from the same primary as their facts, and in two
small commands, so that no decision waits behind it. What people ask and say goes over the ordinary client.

A switch is one field of a hash, and names itself in its value; a value that cannot be understood makes the reading
incomplete, and whoever reads keeps what was off before (closed).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import orjson
from hiredis import ReplyError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.core.features.watermarks import NO_WATERMARKS, Watermarks
from app.errors import Problem
from app.store.decisions import milliseconds
from app.store.keys import CTL_SWITCHES, CTL_SWITCHES_LOG, Keys
from app.store.link import Caller, Link
from app.store.resp import pack
from app.store.scripts import Call, Script
from app.store.servers import together
from app.store.watermark_reads import WatermarkReads
from app.store.wire import StoreError
from policy.codes import SwitchKind
from policy.control import Switch, VariantKey

SWITCH = Script.load("switch.lua")
_POLL = pack("HVALS", CTL_SWITCHES) + pack("TIME")
#: 256 switches weigh at most 200 KB, and nobody keeps an overview of more. `all` may always be turned off.
SWITCHES_MAX = 256
HISTORY_MAX = 1_000
SHOWN_MAX = 100
#: Shards whose counts are read at once. With 40 variants that takes 0.1 ms, which a decision behind them waits.
SHARDS_AT_ONCE = 4
ON, OFF = "on", "off"
NO_HISTORY = b"-"  # how `switch.lua` is told that there must be none
#: How long `strict` durability waits for the disk before it answers 503 `durability_unmet`.
DURABLE_WITHIN_MS = 1_000
YEAR_10000_MS = 253_402_300_800_000
#: Who turns on what was off until a time that has passed.
BY_ITSELF, TIME_IS_OVER = "nextbest", "the time it was turned off for is over"


class Polled(NamedTuple):
    """What is switched off. With a `failure` there may be more than these."""

    switches: tuple[Switch, ...]
    now_ms: int  # the store's clock; 0 when it did not answer
    failure: str = ""
    watermarks: Watermarks = NO_WATERMARKS  # what could be read of them


class Change(NamedTuple):
    """What somebody did to a switch."""

    kind: SwitchKind
    name: str
    state: str  # `on` or `off`
    by: str | None
    why: str | None
    until_ms: int | None
    at_ms: int
    key: str = ""  # the id of the key that it was done with; empty: nobody did it


class Switchboard(NamedTuple):
    """All there is to see: what is off, the last changes, newest first, and how many switches cannot be read."""

    switches: tuple[Switch, ...]
    changes: tuple[Change, ...]
    unreadable: int


class ControlStore:
    """Control facts of a deployment. What polls raises nothing; the others raise Problem `store_unavailable`.

    `compared` are the variants whose counts are of interest, sorted or not; `event_types` those whose watermarks are:
    without any, no watermark is read. `strict` waits until a switch is on disk.
    """

    def __init__(
        self,
        link: Link,
        client: Redis,
        keys: Keys,
        compared: Iterable[VariantKey] = (),
        event_types: Sequence[str] = (),
        *,
        strict: bool = False,
    ) -> None:
        self.compared = tuple(compared)
        self._link = link
        self._client = client
        self._keys = keys
        self._strict = strict
        self._places = _places(self.compared)
        self._marks = WatermarkReads(event_types, range(keys.shards)) if event_types else None
        self._poll = _POLL if self._marks is None else _POLL + self._marks.command
        self._raw: list[bytes] | None = None  # as polled last: while nothing changes nothing is read again
        self._polled: dict[Switch, bytes] = {}
        self._switches: tuple[Switch, ...] = ()

    # What nodes do

    async def poll(self, deadline: float, wire: Caller | None = None) -> Polled:
        """Read the switches by `deadline` (loop time, s); over `wire` while the link does not count as connected."""
        try:
            replies = 2 if self._marks is None else 3
            values, time, *marks = await (wire or self._link).call(self._poll, replies, deadline)
        except StoreError as error:
            return Polled((), 0, type(error).__name__)
        for reply in (values, time):
            if isinstance(reply, ReplyError):
                return Polled((), 0, str(reply).split(" ", 1)[0])  # the rest may quote what was sent
        try:
            now_ms = milliseconds(time)
            if values != self._raw:
                self._polled = dict(_readable(values))
                self._raw, self._switches = values, tuple(self._polled)
        except (ValueError, TypeError, IndexError):
            return Polled((), 0, "Garbled")
        watermarks = NO_WATERMARKS if self._marks is None else self._marks.watermarks(marks[0])
        return Polled(self._switches, now_ms, "" if len(self._switches) == len(values) else "Garbled", watermarks)

    async def end(self, switch: Switch, now_ms: int, deadline: float) -> None:
        """Take away a polled switch whose time is over, unless it was turned anew meanwhile. Every node tries, one
        succeeds; failing is harmless, because decisions look at the time themselves."""
        stored = self._polled.get(switch)
        if stored is None:  # a later poll saw that it is gone
            return
        change = Change(switch.kind, switch.name, ON, BY_ITSELF, TIME_IS_OVER, None, now_ms)
        call = _call(switch.kind, switch.name, b"", stored, change)
        packed = pack("EVAL", SWITCH.source, len(call.keys), *call.keys, *call.args)
        try:
            await self._link.call(packed, 1, deadline)
        except StoreError:
            return

    def shard_groups(self) -> list[range]:
        """The shards, in groups of which one is read at a time."""
        shards = self._keys.shards
        return [range(at, min(at + SHARDS_AT_ONCE, shards)) for at in range(0, shards, SHARDS_AT_ONCE)]

    async def earned(self, shards: range, deadline: float) -> list[int] | None:
        """Sums over some shards: for the n-th variant of `compared` its responses at 2n, its sends at 2n + 1. None: not
        readable now. A single count that is no number is passed over: scores fail open."""
        packed = b"".join(pack("HGETALL", self._keys.variants(shard)) for shard in shards)
        try:
            replies = await self._link.call(packed, len(shards), deadline)
        except StoreError:
            return None
        sums = [0] * (2 * len(self.compared))
        for counts in replies:
            if isinstance(counts, ReplyError):
                return None
            for field, count in zip(counts[::2], counts[1::2], strict=True):
                place = self._places.get(field)
                if place is not None and count.isdigit():
                    sums[place] += int(count)
        return sums

    # What people do

    async def switchboard(self) -> Switchboard:
        """What is off now, and the last changes."""
        with _store_errors("nothing was changed"):
            pipeline = self._client.pipeline(transaction=False)
            pipeline.hvals(CTL_SWITCHES)
            pipeline.lrange(CTL_SWITCHES_LOG, 0, SHOWN_MAX - 1)
            pipeline.time()
            values, entries, time = await pipeline.execute()
        readable = dict(_readable(values))
        in_force = [switch for switch in readable if switch.in_force(_ms(time))]
        in_force.sort(key=lambda switch: (switch.kind, switch.name))
        return Switchboard(tuple(in_force), tuple(_changes(entries)), len(values) - len(readable))

    async def turn_off(
        self, kind: SwitchKind, name: str, by: str, why: str, until_ms: int | None, key: str = ""
    ) -> Switch:
        """Turn something off; it is so on every node within a second. Turning off again says anew who, why and until
        when. Raises Problem `invalid_request`, `durability_unmet`."""
        with _store_errors():
            pipeline = self._client.pipeline(transaction=False)
            pipeline.time()
            pipeline.hlen(CTL_SWITCHES)
            pipeline.hexists(CTL_SWITCHES, _field(kind, name))
            time, count, is_there = await pipeline.execute()
            now_ms = _ms(time)
            if until_ms is not None and until_ms <= now_ms:
                raise _refused("until", "expected a time that is still to come")
            if count >= SWITCHES_MAX and not is_there and kind is not SwitchKind.ALL:
                raise Problem("invalid_request", f"{SWITCHES_MAX} switches are off already: turn one on, or `all` off")
            switch = Switch(kind, name, by, why, until_ms, now_ms)
            await self._turn(kind, name, _value(switch), Change(kind, name, OFF, by, why, until_ms, now_ms, key))
        return switch

    async def board(self) -> tuple[tuple[Switch, ...], tuple[Change, ...], bytes]:
        """What is off, the whole history, newest first, and its newest entry as it lies in the store, all of one
        moment; for `brake`."""
        with _store_errors("nothing was changed"):
            hvals, lrange = ("HVALS", CTL_SWITCHES), ("LRANGE", CTL_SWITCHES_LOG, 0, HISTORY_MAX - 1)
            values, entries = await together(self._client, hvals, lrange)
        return (
            tuple(switch for switch, _ in _readable(values)),
            tuple(_changes(entries)),
            entries[0] if entries else b"",
        )

    async def brake(self, message: str, by: str, why: str, newest: bytes, now_ms: int) -> bytes | None:
        """Turn a message off, unless anybody turned anything since `newest` was the newest entry of the history: who
        lifts a brake is not overruled by a process that has not heard of it. The newest entry then; None where it was
        refused. Raises Problem `store_unavailable`, `durability_unmet`."""
        kind = SwitchKind.MESSAGE
        switch, change = Switch(kind, message, by, why, None, now_ms), Change(kind, message, OFF, by, why, None, now_ms)
        call = _call(kind, message, _value(switch), b"", change)
        with _store_errors():
            turned = await self._run(call._replace(args=(*call.args, newest or NO_HISTORY)))
        return orjson.dumps(change._asdict()) if turned else None

    async def turn_on(self, kind: SwitchKind, name: str, by: str | None, why: str | None, key: str = "") -> None:
        """Turn something on again; harmless where it is on. Raises Problem `durability_unmet`."""
        with _store_errors():
            now_ms = _ms(await self._client.time())
            await self._turn(kind, name, b"", Change(kind, name, ON, by, why, None, now_ms, key))

    async def _turn(self, kind: SwitchKind, name: str, value: bytes, change: Change) -> None:
        await self._run(_call(kind, name, value, b"", change))

    async def _run(self, call: Call) -> bool:
        ran = await SWITCH.run(self._client, [call], DURABLE_WITHIN_MS if self._strict else 0)
        if self._strict and not ran.on_disk:
            raise Problem("durability_unmet", "the switch was turned, but the store did not confirm that it is on disk")
        return bool(ran.replies[0])


def _places(compared: Sequence[VariantKey]) -> dict[bytes, int]:
    """Field of a shard's counts → where its sum stands in `ControlStore.earned`."""
    places = {}
    for number, (message, version, variant) in enumerate(compared):
        stem = f"{message}@{version}.{variant}:"
        places[f"{stem}r".encode()], places[f"{stem}n".encode()] = 2 * number, 2 * number + 1
    return places


def _field(kind: SwitchKind, name: str) -> bytes:
    return f"{kind}/{name}".encode()


def _value(switch: Switch) -> bytes:
    return orjson.dumps(switch._asdict())


def _call(kind: SwitchKind, name: str, value: bytes, expected: bytes, change: Change) -> Call:
    args = (_field(kind, name), value, expected, orjson.dumps(change._asdict()), b"%d" % HISTORY_MAX)
    return Call((CTL_SWITCHES, CTL_SWITCHES_LOG), args)


def _readable(values: Sequence[bytes]) -> Iterator[tuple[Switch, bytes]]:
    """The switches among the stored values; what is none is passed over, and its reader counts."""
    for raw in values:
        try:
            switch = Switch(**orjson.loads(raw))
            switch = switch._replace(kind=SwitchKind(switch.kind))
        except (ValueError, TypeError):
            continue
        if _is_whole(switch):
            yield switch, raw


def _is_whole(said: Switch | Change) -> bool:
    """Whether all its members are of their types, and its times of this calendar."""
    key = said.key if isinstance(said, Change) else ""
    texts = [said.name, key, *(each for each in (said.by, said.why) if each is not None)]
    times = [said.at_ms, *(() if said.until_ms is None else (said.until_ms,))]
    return all(type(each) is str for each in texts) and all(
        type(each) is int and 0 <= each < YEAR_10000_MS for each in times
    )


def _changes(entries: Sequence[bytes]) -> Iterator[Change]:
    for raw in entries:
        try:
            change = Change(**orjson.loads(raw))
            change = change._replace(kind=SwitchKind(change.kind))
        except (ValueError, TypeError):
            continue
        if _is_whole(change):
            yield change


def _ms(time: tuple[int, int]) -> int:
    """redis-py's TIME as Unix ms."""
    return time[0] * 1000 + time[1] // 1000


def _refused(path: str, detail: str) -> Problem:
    return Problem("invalid_request", "1 field does not fit", [{"path": path, "detail": detail}])


@contextmanager
def _store_errors(fate: str = "the switch may or may not have been turned, and can be turned again") -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        detail = f"the store failed (`{type(error).__name__}`); {fate}"
        raise Problem("store_unavailable", detail, retry_after_s=1) from error
