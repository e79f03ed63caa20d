"""One bad event costs itself: not its batch, and with senders that wait behind a failing one, not a week of reports."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import orjson
import pytest

from app.core.heard import Heard, Take, Taken
from app.core.webhooks.provider import Delivery, Ticket
from app.core.webhooks.puzzles import Puzzle
from app.core.webhooks.registry import provider_of
from app.flows.room import Room
from app.flows.take_webhooks import Tally, WebhookTaker
from app.store.outcomes import Told
from tests.support.webhooks import Sample
from tests.support.webhooks.payloads import payload

NOW_S = 1_764_000_000.0


class Loop:
    """Takes everything, and remembers it; keeps puzzles, and needs no certificates."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.puzzles: list[Puzzle] = []

    async def take(self, heard: Sequence[Heard], told: Told) -> list[Taken]:
        assert told.source == "webhook"
        self.heard += heard
        return [Taken(Take.ACCEPTED) for _ in heard]

    async def first_use(self, provider: str, ticket: Ticket) -> bool:
        raise AssertionError((provider, ticket.said))

    async def keep(self, provider: str, puzzles: Sequence[Puzzle]) -> None:
        assert provider
        self.puzzles += puzzles

    async def of(self, url: str) -> bytes:
        raise AssertionError(url)

    async def visit(self, url: str) -> None:
        raise AssertionError(url)


async def taken(name: str, document: Any, loop: Loop) -> Tally:
    """What becomes of a body that the provider signed."""
    support = import_module(f"tests.support.webhooks.{name}")
    sample: Sample = support.SAMPLE
    taker = WebhookTaker(
        {name: sample.trust},
        loop,
        loop,
        loop,
        Room(lambda _: True, lambda: 0),
        lambda _: "other",
        lambda _: Told("webhook", "webhook"),
        lambda *_: None,
        lambda *_: None,
    )
    body = document if isinstance(document, bytes) else orjson.dumps(document)
    headers = support.signed(body, sample.trust.secrets[0], NOW_S)
    headers.pop("klaviyo-webhook-id", None)
    provider = provider_of(name)
    assert provider is not None
    return await taker.take(provider, Delivery(body, headers, NOW_S))


@pytest.mark.parametrize(("name", "listed"), [("mailtrap", "events"), ("klaviyo", "data"), ("braze", "events")])
async def test_bad_events_are_told_by_their_place_and_the_others_count(name: str, listed: str) -> None:
    document, loop = orjson.loads(payload(name, "batch.json")), Loop()
    events = document[listed]
    good = len((await taken(name, document, loop)).lines)
    heard = len(loop.heard)
    for place, bad in ((1, None), (3, {}), (len(events) + 2, [7])):
        events.insert(place, bad)
    loop = Loop()
    tally = await taken(name, document, loop)
    assert [each.place for each in tally.rejected] == [1, 3, len(events) - 1]
    assert {each.code for each in tally.rejected} == {"malformed_item"}
    assert (len(tally.lines), len(loop.heard)) == (good, heard)


async def test_a_line_that_is_no_json_is_told_by_its_place() -> None:
    lines, loop = payload("mailtrap", "lines.txt").splitlines(), Loop()
    tally = await taken("mailtrap", b"\n".join([lines[0], b"{half a li", *lines[1:]]), loop)
    assert [each.place for each in tally.rejected] == [1]
    assert len(loop.heard) == 3


@pytest.mark.parametrize("name", ["mailersend", "customerio", "iterable"])
@pytest.mark.parametrize("document", [{}, {"type": "activity.sent", "object_type": "email", "eventName": "emailSend"}])
async def test_a_bad_event_that_comes_alone_is_an_answer_and_no_failure(name: str, document: Any) -> None:
    loop = Loop()
    tally = await taken(name, document, loop)
    assert (tally.accepted, len(tally.rejected), loop.heard) == (0, 1, [])


async def test_a_new_kind_of_event_is_accepted_and_kept() -> None:
    loop = Loop()
    tally = await taken("customerio", payload("customerio", "email_unheard_of.json"), loop)
    assert (tally.accepted, tally.rejected, loop.heard) == (1, [], [])
    assert [(each.code, each.raw_type) for each in loop.puzzles] == [("unknown", "email_teleported")]
    assert "example" not in repr(loop.puzzles)


async def test_a_first_open_that_is_told_twice_has_one_fingerprint() -> None:
    loop = Loop()
    for name in ("flat_opened.json", "flat_opened_unique.json"):
        await taken("mailersend", payload("mailersend", name), loop)
    first, twin = (each.outcome.fingerprint() for each in loop.heard)
    assert first == twin != b""


async def test_machines_of_iterable_and_braze_arrive_as_machines() -> None:
    loop = Loop()
    await taken("iterable", payload("iterable", "email_open.json"), loop)
    await taken("braze", payload("braze", "batch.json"), loop)
    opened = [each.outcome.machine for each in loop.heard if each.outcome.type == "opened"]
    assert opened == [True, False, True, True]


async def test_a_braze_send_and_its_later_events_share_a_mail() -> None:
    loop = Loop()
    await taken("braze", payload("braze", "batch.json"), loop)
    sent, *later = loop.heard
    assert sent.decision is not None
    assert {each.message for each in later} == {sent.message} != {None}
