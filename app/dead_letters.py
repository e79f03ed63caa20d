"""`nextbest deadletters`: events that could not be taken: which, why, and again after the bundle was mended."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from app.copy_log import NoLog, store_address
from app.core.events.event import Collected, Letter
from app.core.events.quality import judge_again
from app.errors import Problem
from app.settings import Settings
from app.store.clients import open_client
from app.store.dead_letters import DeadLetters, LetterId, parse_letter_id
from app.store.deployment import shared_hash_key
from app.store.embedded import EmbeddedStoreError
from app.store.keys import Keys
from app.store.whole_log import shards_of
from policy.compile import load
from policy.reports import BundleError

Result = TypeVar("Result")


class CannotTell(Exception):
    """It cannot be done; the message says why and what to do."""


class Wanted(NamedTuple):
    """Which letters: by their ids, or all; of one reason, of one event."""

    ids: tuple[str, ...] = ()
    reason: str | None = None
    event: str | None = None

    def fits(self, letter: Letter) -> bool:
        return self.reason in (None, letter.misfit.code.value) and self.event in (None, letter.type)


class Redriven(NamedTuple):
    """How many were taken, and why others still are not."""

    taken: int
    left: Counter[str]


def listed(settings: Settings, address: str | None, wanted: Wanted) -> list[dict[str, Any]]:
    """The letters, as documents, the newest first. Raises CannotTell."""

    async def work(letters: DeadLetters, _: bytes) -> list[dict[str, Any]]:
        found = [(each, letter) async for each, letter in _wanted(letters, wanted)]
        found.sort(key=lambda pair: pair[1].received_at_ms, reverse=True)
        return [document(each, letter) for each, letter in found]

    return _run(settings, address, work)


def redriven(settings: Settings, address: str | None, wanted: Wanted) -> Redriven:
    """Judge letters again under the bundle of the settings, and collect those that fit now. Raises CannotTell."""
    try:
        rules = load(settings.bundle).events
    except BundleError as error:
        raise CannotTell(str(error)) from error

    async def work(letters: DeadLetters, hash_key: bytes) -> Redriven:
        taken, left = 0, Counter[str]()
        async for each, letter in _wanted(letters, wanted):
            judged = judge_again(letter, rules, hash_key)
            if isinstance(judged, Collected):
                taken += await letters.redrive(each, judged)
            else:
                left[judged.code.value] += 1
        return Redriven(taken, left)

    return _run(settings, address, work)


def document(each: LetterId, letter: Letter) -> dict[str, Any]:
    """A letter for people and programs."""
    return {
        "id": str(each),
        "received_at": _iso(letter.received_at_ms),
        "reason": letter.misfit.code.value,
        "detail": letter.misfit.detail,
        "event": letter.type or None,
        "version": letter.version or None,
        "customer": letter.customer or None,
        "occurred_at": None if letter.occurred_at_ms is None else _iso(letter.occurred_at_ms),
        "properties": dict(letter.properties),
        "identities": [edge.kind for edge in letter.edges],
        "source": letter.source or None,
        "redrivable": letter.redrivable,
    }


async def _wanted(letters: DeadLetters, wanted: Wanted) -> AsyncIterator[tuple[LetterId, Letter]]:
    if not wanted.ids:
        async for each, letter in letters.all():
            if wanted.fits(letter):
                yield each, letter
        return
    for text in wanted.ids:
        parsed = parse_letter_id(text)
        found = None if parsed is None else await letters.find(parsed)
        if parsed is None or found is None:
            raise CannotTell(f"there is no letter `{text}`: `nextbest deadletters list` shows all")
        yield parsed, found


def _run(settings: Settings, address: str | None, work: Callable[[DeadLetters, bytes], Awaitable[Result]]) -> Result:
    async def run(url: str) -> Result:
        async with _opened(settings, url) as (letters, hash_key):
            return await work(letters, hash_key)

    try:
        with store_address(settings, address) as url:
            return asyncio.run(run(url))
    except (NoLog, EmbeddedStoreError, ValueError) as error:
        raise CannotTell(str(error)) from error
    except Problem as problem:
        raise CannotTell(problem.detail) from problem


@asynccontextmanager
async def _opened(settings: Settings, url: str) -> AsyncIterator[tuple[DeadLetters, bytes]]:
    async with open_client(url, client_name="nextbest-deadletters") as client:
        shards = await shards_of(client)
        if shards is None:
            raise CannotTell("this store was never used by a server: nothing was collected here")
        configured = settings.hash_key.get_secret_value() if settings.hash_key else None
        yield DeadLetters(client, Keys(shards)), await shared_hash_key(client, configured)


def as_lines(documents: Sequence[dict[str, Any]]) -> list[str]:
    """One line a letter."""
    return [
        f"{each['id']}  {each['received_at']}  {each['reason']:<20}  {each['event'] or '-':<24}  {each['detail']}"
        for each in documents
    ]


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
