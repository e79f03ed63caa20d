"""Decisions that earn something, and who works out what, on a real store: one customer, one shard."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import ormsgpack

from app.core.decision.ids import DecisionId
from app.core.standing import Told, text_of
from app.flows.close_rewards import Conversions, RewardCloser
from app.store.bundles import BundleArchive
from app.store.clients import open_client
from app.store.decisions import DecisionStore
from app.store.fields import FieldRegistry, names_of
from app.store.ledger import kind_names
from app.store.resp import pack
from app.store.rewards import CLOSE_REWARD, RewardStore
from app.store.round_trips import asked
from policy.bundle import Bundle
from tests.support.link import linked
from tests.support.outcomes import KEYS, Desk, compiled

DAY_MS = 86_400_000
WINDOW_MS = 7 * DAY_MS
FILES = {
    "bundle": "{name: rewards, owner: growth, currency: USD}",
    "consent": "purposes: [marketing]\nregions: {default: {contact: opt_in, personalisation: opt_in}}",
    "placements": """placements:
  - {id: once, channel: email, purpose: marketing, default: only,
     reward: {of: revenue, window: 7d, unsubscribe: 1.0, complaint: 5.0}}
  - {id: open, channel: push, purpose: marketing, default: any, budget_ms: 40, reward: {of: click, window: 1d}}
  - {id: receipt, channel: email, class: transactional, default: thanks}""",
    "messages": """messages:
  - {id: only, version: 4, placements: [once], category: red, campaign: spring, variants: [{id: a}]}
  - {id: any, placements: [open], category: blue}
  - {id: thanks, placements: [receipt]}""",
    "events": "events: [{id: order_completed, properties: [{id: revenue, type: float}]}]",
    "outcomes": "conversions: [{id: purchase, on: order_completed, value: revenue, window: 7d}]",
}


@cache
def bundle() -> Bundle:
    return compiled(FILES)


class RewardDesk(Desk):
    """Decides and commits under a bundle with rewards, and reads what decisions earned."""

    async def told(self, decision: DecisionId, *words: str, shard: int = 0) -> None:
        """`delivered`, `converted=12.5`: some seconds after another, as `outcome.lua` keeps it."""
        for number, word in enumerate(words, 1):
            what, _, value = word.partition("=")
            told = Told(what, decision.at_ms + 5_000 * number, float(value) if value else None)
            fingerprint = what[:7].ljust(7).encode() + b"%d" % number
            await self.client.hset(KEYS.outcomes(shard, str(decision).encode()), fingerprint, text_of(told))

    async def kept(self, decision: DecisionId) -> dict[bytes, bytes]:
        """What is known of a decision."""
        found: dict[bytes, bytes] = await self.client.hgetall(KEYS.outcomes(0, str(decision).encode()))
        return found

    async def rewards(self) -> list[dict[str, Any]]:
        """The rewards of the stream, oldest first, with what they are made of."""
        found = []
        for _, fields in await self.client.xrange(KEYS.outcome_stream(0)):
            if fields[b"t"] == b"rewarded":
                value = fields.get(b"v")
                plain = {"decision": fields[b"d"].decode(), "customer": fields[b"c"].decode()}
                reward = None if value is None else float(value)
                found.append(plain | {"reward": reward, "at": int(fields[b"a"])} | ormsgpack.unpackb(fields[b"x"]))
        return found

    async def due(self) -> int:
        return int(await self.client.zcard(KEYS.due(0)))


@asynccontextmanager
async def reward_desk(url: str, log_bytes: int = 10**6) -> AsyncIterator[RewardDesk]:
    async with open_client(url) as client, linked(url) as link:
        fields = FieldRegistry(client)
        await fields.ensure([*names_of(bundle()), *kind_names(bundle()), "s:outcome", "w:esp"])
        await BundleArchive(client, bundle()).keep(bundle())
        store = DecisionStore(link, KEYS, fields, bundle(), log_bytes, strict=False)
        yield RewardDesk(client, store, fields, bundle())


class Counted(Counter[str]):
    """What became of decisions, and what went wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.troubles: list[str] = []


@asynccontextmanager
async def closer_on(
    url: str, stream_bytes: int = 10**6, conversions: Conversions | None = None
) -> AsyncIterator[tuple[RewardCloser, Counted]]:
    """Somebody who closes, and what was counted."""
    counted = Counted()
    async with open_client(url) as client, linked(url) as link:
        await asked(link, [pack("SCRIPT", "LOAD", CLOSE_REWARD.source)])
        store = RewardStore(link, KEYS, FieldRegistry(client), stream_bytes)
        rules = {each.id: each.reward for each in bundle().placements.values() if each.reward is not None}

        def count(result: str, n: int) -> None:
            counted[result] += n

        yield RewardCloser(store, rules, count, counted.troubles.append, conversions), counted
