"""Wires whoever takes outcomes: the same in server and worker processes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from app.core.events.entry import encode
from app.core.keeping import keeping
from app.core.outcome_events import outcome_event, wanted
from app.flows.match_outcomes import Matcher
from app.flows.take_outcomes import EventOf, OutcomeTaker, no_event, no_way
from app.settings import Durability
from app.store.aliases import Aliases
from app.store.decision_log import DecisionLog
from app.store.outcomes import OutcomeStore
from app.store.sendings import Sendings
from app.store.waiting import WaitingStore

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from app.core.outcomes import Outcome
    from app.settings import Settings
    from app.store.bundles import BundleArchive
    from app.store.fields import FieldRegistry
    from app.store.keys import Keys
    from app.store.link import Link
    from policy.bundle import Bundle
    from policy.facts import ContactKind


def outcome_store(settings: Settings, bundle: Bundle, link: Link, keys: Keys, fields: FieldRegistry) -> OutcomeStore:
    """Its `hash_key` is to be set when the store was reached."""
    strict = settings.durability is Durability.STRICT
    return OutcomeStore(link, keys, fields, bundle, settings.outcome_stream_bytes, strict=strict)


def outcome_taker(
    store: OutcomeStore,
    bundle: Bundle,
    client: Redis,
    keys: Keys,
    fields: FieldRegistry,
    bundles: BundleArchive,
    *,
    make_way: Callable[[], Awaitable[None]] = no_way,
) -> OutcomeTaker:
    """Who takes outcomes over a store's connection."""
    sendings = Sendings(client, keys, fields, bundles, DecisionLog(client, keys))
    return OutcomeTaker(
        bundle,
        store,
        Matcher(store, sendings, keys.shards, bundle.outcomes.match_within_ms),
        WaitingStore(client),
        lambda: Aliases(client, keys, store.hash_key, keeping(bundle)),
        event_of=event_of(bundle),
        make_way=make_way,
    )


def event_of(bundle: Bundle) -> EventOf:
    """What outcomes are as events, for features and conversions; nothing where nobody asks about any."""
    asked = wanted(bundle)
    if not asked:
        return no_event

    def made(outcome: Outcome, kind: ContactKind, customer: str, at_ms: int, now_ms: int, decision: bytes) -> bytes:
        if outcome.type not in asked:
            return b""
        event = outcome_event(outcome, kind, customer, at_ms, now_ms, decision)
        return b"" if event is None else encode(event)

    return made
