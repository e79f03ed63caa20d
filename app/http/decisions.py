"""`GET /v1/decisions/{decision_id}`: the whole record of a decision, with the reason for every candidate."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated, Any

import orjson
from fastapi import APIRouter, Path, Request, Response

from app.core.decision.ids import DecisionId, parse_id
from app.core.decision.record import Record, UnreadableRecord, bundle_digest_of, decode, reading_a_record
from app.core.decision.view import view
from app.core.outcome_view import outcome_view
from app.errors import Problem
from app.http.answers import DecisionRecord
from app.http.openapi import answered, problems
from app.store.decision_log import reading_the_store
from app.store.erasure import Tombstones
from app.store.outcome_reads import outcomes_of
from policy.codes import Action

if TYPE_CHECKING:
    from app.services import Services

log = logging.getLogger("nextbest.decisions")
router = APIRouter(tags=["decisions"])
_EXPIRED = "the decision log no longer holds it, or never did: dry runs and answers marked `retryable` are not logged"
_DAMAGED = (
    "the log holds a record of that moment that cannot be read, and asking again changes nothing: look for it in the "
    "archive, or in a backup of the store"
)


@router.get(
    "/v1/decisions/{decision_id}",
    summary="Why was this decided, and why not otherwise?",
    responses={
        **answered(DecisionRecord, "The record", None),
        **problems("not_found", "decision_expired", "record_unreadable", "bundle_unreadable", "store_unavailable"),
    },
    response_model=None,
)
async def read_decision(
    request: Request, decision_id: Annotated[str, Path(examples=["dec_0110197a1c2b3c4d5e6f70819200"])]
) -> Response:
    """The record: facts (masked by sensitivity), consents, scores, every candidate's reason, versions, seed."""
    services = request.app.state.services
    parsed = parse_id(decision_id)
    if parsed is None or parsed.shard >= services.keys.shards:
        raise Problem("not_found", "a decision id is `dec_` and 28 hexadecimal digits")
    try:
        with reading_a_record():
            return await _answer(services, parsed)
    except UnreadableRecord as error:
        log.error("the record of %s cannot be read (%s)", parsed, error)
        raise Problem("record_unreadable", _DAMAGED) from error


async def _answer(services: Services, parsed: DecisionId) -> Response:
    with reading_the_store():
        logged = await services.decision_log.find(parsed)
        bundle = None if logged is None else await services.bundles.get(bundle_digest_of(logged.raw))
    if logged is None:
        raise Problem("decision_expired", _EXPIRED)
    if bundle is None:
        raise Problem("decision_expired", "the bundle that it was decided under is no longer in the store")
    record = decode(logged.raw, bundle)
    await _refuse_erased(services, record)
    if parsed.place >= len(record.decisions):
        raise Problem("not_found", "the request had fewer placements")
    with reading_the_store():
        aborted = logged.aborted or await _taken_back(services, parsed, record)
        told = await outcomes_of(services.client, services.keys, parsed, record.asked.customer)
    sent = record.decisions[parsed.place].action is Action.SEND
    return json_response({**view(record, parsed.place, aborted), "outcomes": outcome_view(told) if sent else None})


async def _refuse_erased(services: Services, record: Record) -> None:
    """Raises Problem `decision_expired` for what was decided for a customer before it was erased."""
    tombstones = Tombstones(services.client, services.keys, services.fields)
    erased = (await tombstones.erased_among([record.asked.customer])).get(record.asked.customer)
    if erased is not None and record.facts.now_ms <= erased.at_ms:
        raise Problem("decision_expired", "its customer was erased")


async def _taken_back(services: Services, asked: DecisionId, record: Record) -> bool:
    """Whether the whole request was: a decision that sends nothing is told by one of the same request that does."""
    for place, decision in enumerate(record.decisions):
        if decision.action is Action.SEND:
            return await services.decision_log.is_aborted(asked._replace(place=place))
    return False


def json_response(body: Any) -> Response:
    """Rendered by orjson; our own answers are not validated again."""
    raw = orjson.dumps(body, option=orjson.OPT_UTC_Z | orjson.OPT_OMIT_MICROSECONDS)
    return Response(raw, media_type="application/json")
