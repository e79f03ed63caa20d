"""Rewards in the store: which decisions' windows have closed, what is known of them, and writing down what they earned.

    {s}:due → {s}:d:<decision> → {s}:o:<decision>, of the customer whom it counts for → {s}:outcomes

Everything of a decision lies in the slot of its shard, but what was told after its customer became another one: that
lies in the other one's slot. So what it earned is noted there first, where it is found again by whoever comes next.
"""

from __future__ import annotations

from collections.abc import Sequence

import ormsgpack

from app.core.decision.ids import reserved_at_ms
from app.core.due_rewards import Closing, Due, Known
from app.core.rewards import kept_as, reward_kept
from app.store.decision_log import ABORTED
from app.store.decisions import STREAM_ENTRY_BYTES
from app.store.fields import FieldRegistry
from app.store.keys import Keys
from app.store.link import Link
from app.store.profile import MERGE, kind_of_name
from app.store.resp import pack
from app.store.round_trips import asked, ms_of
from app.store.scripts import Script

CLOSE_REWARD = Script.load("close_reward.lua", "trim_stream.lua")
NOTE_REWARD = Script.load("note_reward.lua")
#: Scripts sent at once: the store runs them one after the other, some 20 µs each, and decisions wait that long.
TOGETHER = 8
ID_BYTES = 14
#: What an entry of the outcome stream takes, with what the stream adds.
ENTRY_BYTES = 160 + STREAM_ENTRY_BYTES
#: Who became another customer who became another one … pointers are one deep but for an instant.
STEPS_MAX = 4


class RewardStore:
    """Raises StoreError and ReplyError."""

    def __init__(self, link: Link, keys: Keys, fields: FieldRegistry, stream_bytes_per_shard: int) -> None:
        self._link = link
        self._keys = keys
        self._fields = fields
        self._entries_max = max(1, stream_bytes_per_shard // ENTRY_BYTES)

    async def due(self, shards: Sequence[int], at_most: int) -> list[Due]:
        """Decisions of these shards whose windows have closed by the store's clock, `at_most` of each."""
        (time,) = await asked(self._link, [pack("TIME")])
        limits = (ms_of(time), "WITHSCORES", "LIMIT", 0, at_most)
        ranges = [pack("ZRANGEBYSCORE", self._keys.due(shard), "-inf", *limits) for shard in shards]
        found = []
        for shard, flat in zip(shards, await asked(self._link, ranges), strict=True):
            for member, score in zip(flat[::2], flat[1::2], strict=True):
                found.append(Due(shard, member[:ID_BYTES], member[ID_BYTES:], int(float(score))))
        return found

    async def placement_of(self, due: Due) -> str | None:
        """Of the contact that a decision made; None: nobody knows any more. Raises redis errors."""
        name = self._fields.name_of(due.kind_id)
        if name is None:
            await self._fields.refresh()
            name = self._fields.name_of(due.kind_id)
        return None if name is None else kind_of_name(name).placement

    async def known(self, dues: Sequence[Due]) -> list[Known | None]:
        """What is known of each. None: what it sent was taken back, its customer was erased, or what leads to it is
        gone."""
        commands = []
        for due in dues:
            decision = due.decision.encode()
            commands.append(pack("GET", self._keys.decision(due.shard, decision)))
            commands.append(pack("HGETALL", self._keys.outcomes(due.shard, decision)))
        replies = iter(await asked(self._link, commands))
        found = [_known(due, next(replies), next(replies)) for due in dues]
        held = [each for each in found if each is not None]
        marks = await asked(self._link, [pack("HGET", self._keys.profile(each.customer), MERGE) for each in held])
        became = {each.due: mark[1:].decode() for each, mark in zip(held, marks, strict=True) if _leads_on(mark)}
        return [
            each if each is None or each.due not in became else await self._of(each, became[each.due]) for each in found
        ]

    async def _of(self, known: Known, became: str) -> Known:
        """With what lies with the customer that this one became."""
        for _ in range(STEPS_MAX):
            outcomes = self._keys.outcomes(self._keys.shard_of(became), known.due.decision.encode())
            ask = [pack("HGET", self._keys.profile(became), MERGE), pack("HGETALL", outcomes)]
            mark, flat = await asked(self._link, ask)
            if flat:  # it began with what had been told before
                known = known._replace(fields=_paired(flat), elsewhere=True)
            known = known._replace(became=became)
            if not _leads_on(mark):
                break
            became = mark[1:].decode()
        return known

    async def close_all(self, closings: Sequence[Closing]) -> list[str]:
        """Write down what each earned, once: `closed`, or why it was not (`close_reward.lua`)."""
        calls = [self._call(each, await self._noted(each)) for each in closings]
        said: list[str] = []
        for at in range(0, len(calls), TOGETHER):
            said += [str(reply[0], "ascii") for reply in await asked(self._link, calls[at : at + TOGETHER])]
        return said

    async def forget(self, due: Due) -> None:
        """It is not due any more, and earned nothing that is worth an entry."""
        await asked(self._link, [pack("ZREM", self._keys.due(due.shard), due.packed + due.kind_id)])

    async def _noted(self, closing: Closing) -> str:
        """What is written of it, which is what was noted first."""
        known, kept = closing.known, kept_as(closing.earned)
        if not known.elsewhere or known.became is None:
            return kept
        outcomes = self._keys.outcomes(self._keys.shard_of(known.became), known.due.decision.encode())
        (noted,) = await asked(self._link, [pack("EVAL", NOTE_REWARD.source, 1, outcomes, kept)])
        return kept if noted is None else str(noted, "ascii")

    def _call(self, closing: Closing, kept: str) -> bytes:
        known, due = closing.known, closing.known.due
        keys = (
            self._keys.due(due.shard),
            self._keys.outcome_stream(due.shard),
            self._keys.outcomes(due.shard, due.decision.encode()),
            self._keys.profile(known.customer),  # of the same shard: the decision's id carries it
            self._keys.worker(due.shard),
        )
        seen = "*" if known.elsewhere else len(known.fields)
        args = (due.packed + due.kind_id, reserved_at_ms(due.packed), seen, kept, self._entries_max)
        return pack("EVALSHA", CLOSE_REWARD.sha, len(keys), *keys, *args, *_entry(closing, kept))


def _entry(closing: Closing, kept: str) -> list[str | bytes]:
    """The entry of the outcome stream."""
    known, earned = closing.known, closing.earned
    entry: list[str | bytes] = ["t", "rewarded", "d", known.due.decision, "c", known.became or known.customer]
    entry += ["a", str(known.due.closed_ms)]
    reward = reward_kept(kept)
    if reward is not None:
        entry += ["v", repr(reward)]
    details = {"placement": closing.placement, "reward_of": closing.rule_of, **earned._asdict()}
    del details["reward"]
    details["unexposed"] = None if earned.unexposed is None else earned.unexposed.value
    return [*entry, "x", ormsgpack.packb(details)]


def _known(due: Due, pointer: bytes | None, flat: list[bytes]) -> Known | None:
    """`pointer`: `<stream id> <customer>`, and more behind it."""
    if pointer is None or pointer == ABORTED:
        return None
    return Known(due, pointer.split(b" ")[1].decode(), _paired(flat))


def _paired(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _leads_on(mark: bytes | None) -> bool:
    """Whether a profile's mark of merging says whom the customer became."""
    return mark is not None and mark.startswith(b">")
