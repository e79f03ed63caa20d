"""Whose mail, and which decision, outcomes are about: what the store knows, and the rules of `app.core.matching`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from app.core.decision.ids import DecisionId
from app.core.heard import Heard
from app.core.identity import key_of_hash
from app.core.matching import believed, only_contact
from app.core.outcomes import Sending
from app.errors import Problem

if TYPE_CHECKING:  # handed in by the composition root
    from app.store.outcomes import OutcomeStore, Seen
    from app.store.sendings import Pointer, Sendings


class Match(NamedTuple):
    """What an outcome is about, as far as is known."""

    heard: Heard
    linked: str | None = None  # the customer whom its teller names, or to whom its recipient is linked
    decision: DecisionId | None = None
    sending: Sending | None = None  # what the decision sent; of one that is not known: whose mail it was
    kind_id: bytes = b""
    rode_along: bool = False  # its decision is the one that it named
    refused: Problem | None = None  # why the decision that it names is none


class Matcher:
    """Matches outcomes. Raises Problem `store_unavailable`."""

    def __init__(self, store: OutcomeStore, sendings: Sendings, shards: int, match_within_ms: int) -> None:
        """`match_within_ms`: how old the only contact of a customer may be."""
        self._store = store
        self._sendings = sendings
        self._shards = shards
        self._within_ms = match_within_ms

    async def match(self, heard: Sequence[Heard]) -> tuple[Seen, list[Match]]:
        """What each is about, in their order, and what the store knew of them."""
        seen = await self._store.look(
            self._ours(each.decision for each in heard),
            (each.message for each in heard if each.message is not None),
            (each.recipient for each in heard if each.recipient is not None),
        )
        found = set(self._ours(seen.messages.values())) - seen.pointers.keys()
        if found:
            seen.pointers.update((await self._store.look(found, (), ())).pointers)
        became = await self._became(heard, seen)
        matches = [await self._by_decision(each, seen, became) for each in heard]
        return seen, await self._by_contact(matches, seen)

    def _ours(self, decisions: Iterable[DecisionId | None]) -> Iterable[DecisionId]:
        """Those that can be this deployment's."""
        return (each for each in decisions if each is not None and each.shard < self._shards)

    async def _became(self, heard: Sequence[Heard], seen: Seen) -> dict[str, str]:
        """Whom customers became, where a decision's is another than the recipient's: mostly nowhere."""
        asked: set[str] = set()
        for each in heard:
            if (linked := _linked(each, seen)) is None:
                continue
            for _, pointer in self._named(each, seen):
                if pointer is not None and pointer.customer != linked:
                    asked |= {linked, pointer.customer}
        return await self._store.became(asked) if asked else {}

    def _named(self, heard: Heard, seen: Seen) -> Iterable[tuple[DecisionId, Pointer | None]]:
        """The decisions that it names, the surer first."""
        mapped = None if heard.message is None else seen.messages.get(heard.message)
        for decision in self._ours((mapped,) if heard.decision == mapped else (heard.decision, mapped)):
            yield decision, seen.pointers.get(decision)

    async def _by_decision(self, heard: Heard, seen: Seen, became: dict[str, str]) -> Match:
        linked = _linked(heard, seen)
        refused: Problem | None = None
        for decision, pointer in self._named(heard, seen):
            try:
                sending, kind_id = await self._sent(decision, pointer)
            except Problem as problem:
                if problem.code == "store_unavailable":
                    raise
                refused = refused or problem
                continue
            names = {sending.customer, linked or sending.customer}
            if len(names) > 1 and not names <= became.keys():
                became.update(await self._store.became(names))
            whose = became.get(linked, linked) if linked is not None else None
            if believed(became.get(sending.customer, sending.customer), whose):
                return Match(heard, linked, decision, sending, kind_id, decision == heard.decision)
        return Match(heard, linked, refused=refused)

    async def _sent(self, decision: DecisionId, pointer: Pointer | None) -> tuple[Sending, bytes]:
        """What a decision sent; slowly, where its pointer does not say so."""
        if pointer is not None and pointer.kind_id:
            kind = await self._store.kind(pointer.kind_id)
            return Sending(pointer.customer, kind, pointer.variant or None), pointer.kind_id
        sending = await self._sendings.find(decision)
        return sending, await self._store.kind_id(sending.kind)

    async def _by_contact(self, matches: list[Match], seen: Seen) -> list[Match]:
        """Those without a decision, by the only contact of their customer's that it can be."""
        open_ = {place: each for place, each in enumerate(matches) if each.decision is None}
        named = {place: name for place, each in open_.items() if (name := self._customer(each)) is not None}
        if not named:
            return matches
        became = await self._store.became(named.values())
        contacts = await self._store.contacts(became.values())
        for place, name in named.items():
            match, customer = open_[place], became[name]
            outcome = match.heard.outcome
            at_ms = seen.now_ms if outcome.at_ms is None else min(outcome.at_ms, seen.now_ms)
            sent = [each for each, _ in contacts[customer]]
            decision = only_contact(sent, match.heard.channel, at_ms, self._within_ms)
            if decision is None:
                sending = Sending(customer, None, channel=match.heard.channel)
                matches[place] = match._replace(sending=sending)
                continue
            kind_id = next(kind for each, kind in contacts[customer] if each.decision == decision.packed)
            sending = Sending(customer, await self._store.kind(kind_id))
            matches[place] = match._replace(decision=decision, sending=sending, kind_id=kind_id)
        return matches

    def _customer(self, match: Match) -> str | None:
        """Whose it is at the least: of a recipient who is linked to nobody, the one who stands for the address, since
        decisions are asked for by addresses too."""
        if match.linked is not None or match.heard.recipient is None:
            return match.linked
        return key_of_hash(match.heard.recipient)


def _linked(heard: Heard, seen: Seen) -> str | None:
    if heard.customer is not None:
        return heard.customer
    return None if heard.recipient is None else seen.recipients.get(heard.recipient)
