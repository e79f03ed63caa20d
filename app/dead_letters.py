"""`nextbest deadletters`: events that could not be taken: which, why, and again after the bundle was mended."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from redis.asyncio import Redis

from app.command_context import Trouble, hash_key_of, in_words, with_store
from app.core.events.event import Collected, Letter
from app.core.events.quality import judge_again
from app.settings import Settings
from app.store.dead_letters import DeadLetters, LetterId, parse_letter_id
from app.store.keys import Keys
from policy.compile import load

Result = TypeVar("Result")


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
    """The letters, as documents, the newest first. Raises Trouble."""

    async def work(letters: DeadLetters, _: bytes) -> list[dict[str, Any]]:
        found = [(each, letter) async for each, letter in _wanted(letters, wanted)]
        found.sort(key=lambda pair: pair[1].received_at_ms, reverse=True)
        return [document(each, letter) for each, letter in found]

    return _run(settings, address, work)


def redriven(settings: Settings, address: str | None, wanted: Wanted) -> Redriven:
    """Judge letters again under the bundle of the settings, and collect those that fit now. Raises Trouble."""
    with in_words():
        rules = load(settings.bundle).events

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
            raise Trouble(f"there is no letter `{text}`: `nextbest deadletters list` shows all")
        yield parsed, found


def _run(settings: Settings, address: str | None, work: Callable[[DeadLetters, bytes], Awaitable[Result]]) -> Result:
    async def run(client: Redis, keys: Keys) -> Result:
        return await work(DeadLetters(client, keys), await hash_key_of(settings, client))

    return with_store(settings, address, run, client_name="nextbest-deadletters", unused="nothing was collected here")


def as_lines(documents: Sequence[dict[str, Any]]) -> list[str]:
    """One line a letter."""
    return [
        f"{each['id']}  {each['received_at']}  {each['reason']:<20}  {each['event'] or '-':<24}  {each['detail']}"
        for each in documents
    ]


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
