"""`GET /v1/customers/{customer}/export`: everything that is held of a customer, as one JSON document, unmasked.

It is written while it is read, so that a long history takes no memory; where the store fails halfway the document is
cut short and is no JSON. What was archived is not in it: `nextbest customers export` adds that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from app.core.attribution import Claim
from app.core.decision.record import Record, UnreadableRecord, reading_a_record
from app.core.decision.view import view
from app.core.events.event import Collected, Letter
from app.core.features.live import all_features
from app.errors import Problem
from app.http import customer_bodies as bodies
from app.http.customer_examples import answer
from app.http.customer_view import consent_view, history_view, iso, outcome_view, suppression_view
from app.http.customers import Key
from app.http.openapi import problems
from app.store.customer_reads import CustomerReader, Known
from app.store.erasure import Tombstones
from app.store.export import ExportReads, Happening, Identity, Mail, decision_of
from policy.bundle import Bundle
from policy.facts import Contact

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from app.store.bundles import BundleArchive
    from app.store.fields import FieldRegistry
    from app.store.keys import Keys

_NO_BUNDLE = "the bundle that it was decided under is no longer in the store"
_DAMAGED = "the record is damaged and cannot be read"
router = APIRouter(tags=["customers"])
T = TypeVar("T")

EXAMPLE = {
    "customer": "cus_8f3a",
    "profile": {"region": "US", "attributes": {"recency": 3}},
    "events": [{"type": "viewed", "occurred_at": "2026-11-24T08:00:00.000Z", "properties": {"product": "p1"}}],
}


class Sources(NamedTuple):
    """What an export reads from."""

    client: Redis
    keys: Keys
    fields: FieldRegistry
    bundles: BundleArchive
    bundle: Bundle


@router.get(
    "/v1/customers/{customer}/export",
    summary="Everything that is held of a customer",
    description="For the person: by name, unmasked, one JSON document that is written while it is read. Profile, "
    "consent with its history, features with their counts, identities (keyed hashes: no more is kept), contacts, "
    "decisions with their outcomes, events in the streams. Of somebody who is not known all of it is empty.",
    responses={**answer("The document", EXAMPLE), **problems("direct_identifier", "invalid_request", "erased",
                                                            "store_unavailable")},
)  # fmt: skip
async def export_customer(request: Request, customer: Key) -> Response:
    bodies.check_key(customer)
    services = request.app.state.services
    sources = Sources(services.client, services.keys, services.fields, services.bundles, services.bundle)
    document = await export(sources, customer)
    headers = {"Cache-Control": "no-store", "Content-Disposition": f'attachment; filename="{customer}.json"'}
    return StreamingResponse(document, media_type="application/json", headers=headers)


async def export(
    sources: Sources, customer: str, more: AsyncIterator[tuple[str, AsyncIterator[Any]]] | None = None
) -> AsyncIterator[bytes]:
    """The document in pieces. `more`: parts that come last. Raises Problem: `erased`, `store_unavailable`."""
    tombstones = Tombstones(sources.client, sources.keys, sources.fields)
    names = await tombstones.all_keys_of(customer)
    name = names[-1]
    reader = CustomerReader(sources.client, sources.keys, sources.fields, all_features(sources.bundle))
    known = await _or_none(reader.read(name))
    history = await _or_none(reader.history(name))
    reads = ExportReads(sources.client, sources.keys, sources.fields, sources.bundles, names)
    identities = await reads.identities()
    mail = await reads.mail(each.hash for each in identities if each.kind == "email_sha256")
    head = {
        "customer": name,
        "also_known_as": list(names[:-1]),
        "profile": None if known is None else _profile(known),
        "history": history_view(name, history or [])["history"],
        "features": _features(known),
        "feature_states": await reads.states(sources.bundle),
        "identities": [_identity(each) for each in identities],
        "contacts": [_contact(each) for each in await reads.contacts()],
        "mail": _mail(mail),
    }
    return _document(head, reads, more)


async def _or_none(read: Awaitable[T]) -> T | None:
    """Some are known only by what they did, or by their contacts."""
    try:
        return await read
    except Problem as problem:
        if problem.code != "unknown_customer":
            raise
        return None


async def _document(
    head: dict[str, Any], reads: ExportReads, more: AsyncIterator[tuple[str, AsyncIterator[Any]]] | None
) -> AsyncIterator[bytes]:
    yield orjson.dumps(head)[:-1]
    async for piece in _part("decisions", _decisions(reads)):
        yield piece
    async for piece in _part("events", _events(reads)):
        yield piece
    async for piece in _part("dead_letters", _letters(reads)):
        yield piece
    if more is not None:
        async for name, items in more:
            async for piece in _part(name, items):
                yield piece
    yield b"}\n"


async def _part(name: str, items: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    yield b"," + orjson.dumps(name) + b":["
    comma = b""
    async for item in items:
        yield comma + orjson.dumps(item, option=orjson.OPT_NON_STR_KEYS)
        comma = b",\n"
    yield b"]"


async def _decisions(reads: ExportReads) -> AsyncIterator[Any]:
    async for record, base in reads.decisions():
        if not isinstance(record, Record):
            yield {"request": base, "note": _NO_BUNDLE if record is None else _DAMAGED}
            continue
        outcomes, aborted = await reads.outcomes(base, len(record.decisions))
        try:
            with reading_a_record():
                views = [view(record, place, aborted) for place in range(len(record.decisions))]
        except UnreadableRecord:
            yield {"request": base, "note": _DAMAGED}
            continue
        for shown in views:
            own = [_happening(each) for each in outcomes if each.decision == shown["decision_id"]]
            yield shown | {"values": _values(record), "outcomes": own}


async def _events(reads: ExportReads) -> AsyncIterator[Any]:
    async for _, _, event in reads.events():
        yield event_view(event)


async def _letters(reads: ExportReads) -> AsyncIterator[Any]:
    async for letter in reads.letters():
        yield _letter(letter)


def _values(record: Record) -> dict[str, Any]:
    """What the decision read, as it was."""
    return dict(record.facts.values)


def event_view(event: Collected) -> dict[str, Any]:
    """An event for the person whom it is about."""
    return {
        "customer": event.customer,
        "type": event.type,
        "version": event.version,
        "occurred_at": iso(event.occurred_at_ms),
        "received_at": iso(event.received_at_ms),
        "source": event.source,
        "properties": dict(event.properties),
        "identities": [{"kind": edge.kind, "hash": edge.hash.hex()} for edge in (*event.edges, *event.previous)],
    }


def _letter(letter: Letter) -> dict[str, Any]:
    return {
        "reason": letter.misfit.code,
        "type": letter.type,
        "received_at": iso(letter.received_at_ms),
        "properties": dict(letter.properties),
    }


def _profile(known: Known) -> dict[str, Any]:
    profile = known.profile
    return {
        "region": profile.region,
        "timezone": profile.timezone,
        "language": profile.language,
        "attributes": dict(sorted(profile.attributes.items())),
        "as_of": {owner: iso(at_ms) for owner, at_ms in sorted(profile.as_of_ms.items())},
        "consent": [consent_view(entry) for entry in profile.consent],
        "suppressions": [suppression_view(stop, source) for stop, source in profile.suppressions],
        "preferences": dict(sorted(profile.preferences.items())),
        "last_outcomes": [outcome_view(each) for each in profile.outcomes],
        "trials": dict(sorted(profile.exposures.items())),
        "updated_at": iso(profile.updated_ms),
    }


def _features(known: Known | None) -> dict[str, Any]:
    """Values at the time of the export, and until when their events are known to be complete."""
    features = None if known is None else known.features
    if known is None or features is None or features.state is None:
        return {}
    values = features.live.values(features.state, known.now_ms) or {}
    return {
        rule.name: {"value": values.get(rule.name), "version": rule.version, "at": iso(known.now_ms)}
        for rule in features.live.rules
    }


def _identity(identity: Identity) -> dict[str, Any]:
    told = {} if identity.told_ms is None else {"first_told_at": iso(identity.told_ms)}
    return {"kind": identity.kind, "hash": identity.hash, **told}


def _contact(contact: Contact) -> dict[str, Any]:
    kind = contact.kind
    return {
        "decision_id": decision_of(contact),
        "placement": kind.placement,
        "channel": kind.channel,
        "message": kind.message,
        "not_before": iso(contact.not_before_ms),
        "not_after": iso(contact.not_after_ms),
        "sent": contact.confirmed,
        "engaged": contact.engaged,
    }


def _mail(mail: Mail) -> dict[str, Any]:
    return {
        "outcomes": [{"type": what, "at": iso(at_ms)} for what, at_ms in mail.outcomes],
        "waiting": [{"type": what, "at": None if at_ms is None else iso(at_ms)} for what, at_ms in mail.waiting],
        "soft_bounces": [iso(at_ms) for at_ms in sorted(mail.soft_bounces)],
        "lifted": {stop: iso(at_ms) for stop, at_ms in sorted(mail.lifted.items())},
        "released": sorted(mail.released),
        "conversions": [_conversion(each) for each in mail.conversions],
    }


def _conversion(claim: Claim) -> dict[str, Any]:
    return {
        "conversion": claim.rule,
        "at": iso(claim.at_ms),
        "value": claim.value,
        "refund": claim.refund,
        "decision_id": claim.decision or None,
        "attribution": claim.way or None,
    }


def _happening(happening: Happening) -> dict[str, Any]:
    shown: dict[str, Any] = {"type": happening.type, "at": iso(happening.at_ms)}
    return shown if happening.value is None else shown | {"value": happening.value}
