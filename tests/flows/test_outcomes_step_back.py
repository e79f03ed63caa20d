"""What a decision waits behind while outcomes are taken: small pieces, in the process and at the store, however many
outcomes come at once. Counted, not timed: the clock of a busy machine says nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.core.heard import Heard, Take
from app.core.outcomes import Outcome
from app.errors import Problem
from app.flows.take_outcomes import LOOKED_UP, PIECE, OutcomeTaker
from app.flows.take_webhooks import STRETCH
from app.outcome_taking import outcome_taker
from app.store.bundles import BundleArchive
from app.store.outcomes import OUTCOME, PIPELINES_AT_ONCE, SCRIPTS_AT_ONCE, OutcomeStore, Told
from policy.codes import OutcomeType
from tests.support.outcomes import HASH_KEY, KEYS, Desk, desk_on
from tests.support.webhooks.door import Door

TOLD = Told("webhook:postmark", "webhook")


class Counted:
    """A link that counts the scripts of outcomes that the store was sent and has not answered."""

    def __init__(self, link: Any) -> None:
        self._link = link
        self.waiting = self.most = self.most_in_one = self.scripts = self.lookups = 0

    def call(self, packed: bytes, replies: int, deadline: float) -> asyncio.Future[list[Any]]:
        scripts = packed.count(OUTCOME.sha)
        self.scripts += scripts
        self.lookups += not scripts
        self.waiting += scripts
        self.most, self.most_in_one = max(self.most, self.waiting), max(self.most_in_one, scripts)
        answered: asyncio.Future[list[Any]] = self._link.call(packed, replies, deadline)
        answered.add_done_callback(lambda _: self._answered(scripts))
        return answered

    def _answered(self, scripts: int) -> None:
        self.waiting -= scripts


class Waiting:
    """`make_way`, and how many scripts were sent since the last time."""

    def __init__(self, link: Counted) -> None:
        self._link, self._sent, self.most = link, 0, 0

    async def __call__(self) -> None:
        self.most, self._sent = max(self.most, self._link.scripts - self._sent), self._link.scripts
        await asyncio.sleep(0)


@pytest.fixture
async def desk(store_url: str) -> AsyncIterator[Desk]:
    async with desk_on(store_url) as made:
        await made.client.script_load(OUTCOME.source)  # else the first ones are sent twice
        yield made


def taker_on(desk: Desk, link: Counted) -> tuple[OutcomeTaker, Waiting]:
    store = OutcomeStore(link, KEYS, desk.fields, desk.bundle, 10**6)  # type: ignore[arg-type]  # as far as it is used
    store.hash_key = HASH_KEY
    way = Waiting(link)
    bundles = BundleArchive(desk.client, desk.bundle)
    return outcome_taker(store, desk.bundle, desk.client, KEYS, desk.fields, bundles, make_way=way), way


def opened(decision: Any, number: int) -> Heard:
    return Heard(Outcome(OutcomeType.OPENED, None, event_id=f"postmark:e{number}"), decision, provider="postmark")


async def test_the_store_is_never_sent_more_scripts_than_a_decision_may_wait_behind(desk: Desk) -> None:
    decision, link = await desk.send(), Counted(desk.link)
    taker, _ = taker_on(desk, link)
    batches = [[opened(decision, 100 * batch + number) for number in range(30)] for batch in range(8)]
    taken = await asyncio.gather(*(taker.take(each, TOLD) for each in batches))
    assert sum(one.status is Take.ACCEPTED for each in taken for one in each) == link.scripts == 240
    assert link.most_in_one == SCRIPTS_AT_ONCE
    assert link.most == SCRIPTS_AT_ONCE * PIPELINES_AT_ONCE


async def test_a_batch_makes_way_after_every_piece_and_looks_up_in_larger_ones(desk: Desk) -> None:
    decision, link = await desk.send(), Counted(desk.link)
    taker, way = taker_on(desk, link)
    await taker.take([opened(decision, number) for number in range(4 * LOOKED_UP)], TOLD)
    assert way.most == PIECE
    assert link.lookups == 4


async def test_repeats_within_what_is_looked_up_together_are_counted_once(desk: Desk) -> None:
    decision, link = await desk.send(), Counted(desk.link)
    taker, _ = taker_on(desk, link)
    taken = await taker.take([opened(decision, number % 3) for number in range(LOOKED_UP)], TOLD)
    assert [each.status for each in taken] == [Take.ACCEPTED] * 3 + [Take.DUPLICATE] * (LOOKED_UP - 3)


async def test_a_mail_is_known_to_what_came_before_it_in_what_is_looked_up_together(desk: Desk) -> None:
    """The click names only the mail; which decision that was is said by the next item."""
    decision = await desk.send()
    taker, _ = taker_on(desk, Counted(desk.link))
    mail = b"m" * 16
    click = Heard(Outcome(OutcomeType.CLICKED, None, event_id="postmark:c"), None, mail, provider="postmark")
    delivered = Heard(Outcome(OutcomeType.DELIVERED, None, event_id="postmark:d"), decision, mail, provider="postmark")
    await taker.take([click, delivered], TOLD)
    told = await desk.client.hvals(KEYS.outcomes(0, str(decision).encode()))
    assert {b"clicked", b"delivered"} <= {each.split(b",")[0] for each in told}


async def test_a_delivery_of_several_stretches_keeps_each_items_place_and_counts_all(door: Door) -> None:
    good = {"type": "delivered", "data": {"recipient": "jane@example.com"}}
    items = [good if number % 10 else {"type": "clicked"} for number in range(2 * STRETCH + 5)]
    answer = (await door.send("generic", json.dumps(items).encode())).json()
    bad = [number for number in range(len(items)) if number % 10 == 0]
    assert [each["index"] for each in answer["rejected"]] == bad
    assert answer["accepted"] == len(items) - len(bad) == len(door.taker.heard)
    assert door.counts == {("generic", "accepted"): answer["accepted"], ("generic", "rejected"): len(bad)}


async def test_what_was_taken_before_the_store_went_away_is_counted(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = door.taker.take

    async def once(heard: Any, told: Told) -> Any:
        if door.taker.heard:
            raise Problem("store_unavailable", "the store failed")
        return await take(heard, told)

    monkeypatch.setattr(door.taker, "take", once)
    items = [{"type": "delivered", "data": {"recipient": "jane@example.com"}}] * (STRETCH + 1)
    assert (await door.send("generic", json.dumps(items).encode())).status_code == 503
    assert door.counts == {("generic", "accepted"): STRETCH}


@pytest.fixture
def door() -> Door:
    return Door()
