"""`/v1/customers`: what is known of a customer, consent, suppressions.

Fails closed: a consent or a suppression is acknowledged only after the store has applied it, and a body with one
mistake changes nothing.
"""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Query, Request, Response

from app.core.customers import CustomerWrite
from app.core.features.live import all_features
from app.core.identity import KEY
from app.core.keeping import keeping
from app.errors import Problem
from app.flows.import_customers import import_customers
from app.http import customer_bodies as bodies
from app.http.customer_examples import BULK, CONSENT, CUSTOMER, HISTORY, SUPPRESSION, TALLY, VIEW, WRITTEN, answer
from app.http.customer_view import history_view, iso, masked_view
from app.http.feature_view import features_view
from app.http.ndjson import NDJSON, check_content
from app.http.openapi import problems, request_body
from app.store.customer_reads import CustomerReader
from app.store.customers import CustomerStore, Written
from app.telemetry.series import CUSTOMERS_WRITTEN
from policy.codes import SuppressionReason

router = APIRouter(prefix="/v1/customers", tags=["customers"])

Key = Annotated[
    str,
    Path(
        description="1 to 64 letters, digits, `_` or `-`; never an address or a phone number.",
        json_schema_extra={"pattern": f"^{KEY.pattern}$"},  # `check_key` says more precisely what is wrong
    ),
]
Purpose = Annotated[
    str, Path(pattern=bodies.ID, examples=["marketing"], description="A purpose that the bundle declares.")
]
Channel = Annotated[
    str, Path(pattern=bodies.CHANNEL, examples=["email"], description="A channel, or `*` for every channel.")
]
Scope = Annotated[str, Path(pattern=bodies.CHANNEL, description="A channel, or `*` (or `all`) for every channel.")]
Reason = Annotated[SuppressionReason | None, Query(description="Lift this one only; absent: all but `erased`.")]
WhyQuery = Annotated[bodies.Why | None, Query()]

ALWAYS = ("direct_identifier", "invalid_request", "store_unavailable")
WRITES = (*ALWAYS, "malformed_json", "payload_too_large", "future_time", "durability_unmet")


@router.post(
    "/bulk",
    summary="Write many customers",
    description="Newline-delimited JSON, one customer a line, of at most 64 KiB. Good lines are written in order, bad "
    "ones are listed (the first 1,000). Repeating an import is harmless.",
    openapi_extra=request_body(bodies.CustomerLine, {"two customers": BULK}, NDJSON),
    responses={
        **answer("How many lines were written, and which were not", TALLY),
        **problems("unsupported_media_type", "store_unavailable"),
    },
)
async def write_customers(request: Request) -> Response:
    check_content(request.headers)
    services = request.app.state.services
    check = bodies.Checker(services.bundle, services.hash_key).line
    tally = await import_customers(request.stream(), check, customer_store(request).write_many)
    services.metrics.add(services.metrics.slot(CUSTOMERS_WRITTEN), tally.accepted)
    return json_response(tally.body())


@router.put(
    "/{customer}",
    summary="Write what is known of a customer",
    description="Merged member by member: what is absent stays, `null` deletes. All of a body is applied, or nothing. "
    "`dropped` names attributes that the bundle wants not kept; `customer` is another one where two were merged.",
    openapi_extra=request_body(bodies.CustomerBody, {"a customer": CUSTOMER}),
    responses={
        **answer("The write is applied", WRITTEN),
        **problems(*WRITES, "unknown_attribute", "unknown_purpose", "identity_conflict", "erased"),
    },
)
async def write_customer(request: Request, customer: Key) -> Response:
    bodies.check_key(customer)
    body = bodies.parse(bodies.CUSTOMER, await request.body())
    services = request.app.state.services
    write = bodies.Checker(services.bundle, services.hash_key).write(customer, body)
    return json_response(_written(request, await customer_store(request).write(write)))


@router.get(
    "/{customer}",
    summary="What is known of a customer, masked",
    description="Attributes and features of any sensitivity show their type and age, not their value. `features` is "
    "there where the bundle has some: `as_of` says until when the events of each are known to be complete, "
    "`not_filled` that it lacks events that passed, and no decision uses it. Of a customer who was merged into "
    "another, the other is shown.",
    responses={**answer("The customer", VIEW), **problems(*ALWAYS, "unknown_customer", "erased")},
)
async def read_customer(request: Request, customer: Key) -> Response:
    bodies.check_key(customer)
    services = request.app.state.services
    known, bundle = await _reader(request).read(customer), services.bundle
    features = features_view(known.features, known.now_ms, bundle, services.features.lacking)
    return json_response(masked_view(known, bundle) | features)


@router.get(
    "/{customer}/history",
    summary="What changed about consent, suppressions and region, when, by whom and why",
    description="The newest first. `at` is when it was said, `recorded_at` when it was taken down; `who` is the id of "
    "the key that said so. `superseded`: a later or a stricter consent was known, and holds.",
    responses={**answer("The changes", HISTORY), **problems(*ALWAYS, "unknown_customer", "erased")},
)
async def read_history(request: Request, customer: Key) -> Response:
    bodies.check_key(customer)
    return json_response(history_view(customer, await _reader(request).history(customer)))


@router.put(
    "/{customer}/consent/{purpose}/{channel}",
    summary="Say what a customer allows or forbids",
    description="The later `at` wins, and at the same time the stricter state. Once answered, the consent wins over "
    "every decision that is not committed. A grant lifts no suppression.",
    openapi_extra=request_body(bodies.ConsentBody, {"a withdrawal": CONSENT}),
    responses={
        **answer(
            "`applied` is false where a later, or stricter, consent was known already", {**WRITTEN, "applied": True}
        ),
        **problems(*WRITES, "unknown_purpose"),
    },
)
async def write_consent(request: Request, customer: Key, purpose: Purpose, channel: Channel) -> Response:
    bodies.check_key(customer)
    bodies.Checker(request.app.state.services.bundle).check_purpose(purpose)
    body = bodies.parse(bodies.CONSENT, await request.body())
    change = bodies.consent_change(purpose, channel, body)
    written = await customer_store(request).write(CustomerWrite(customer, consents=(change,), why=body.why))
    return json_response(_written(request, written) | {"applied": written.applied[0]})


@router.put(
    "/{customer}/suppressions/{scope}",
    summary="Stop messages to a customer",
    description="No consent lifts a suppression. One that is there already stays as it was first said.",
    openapi_extra=request_body(bodies.SuppressionBody, {"by hand": SUPPRESSION}),
    responses={**answer("The suppression holds", WRITTEN), **problems(*WRITES)},
)
async def suppress_customer(request: Request, customer: Key, scope: Scope) -> Response:
    bodies.check_key(customer)
    body = bodies.parse(bodies.SUPPRESSION, await request.body())
    store = customer_store(request)
    at_ms = bodies.unix_ms(body.at)
    written = await store.suppress(customer, every_scope(scope), body.reason, body.source, at_ms, body.why or "")
    return json_response(_written(request, written))


@router.delete(
    "/{customer}/suppressions/{scope}",
    summary="Lift suppressions of a customer",
    description="All of the scope but `erased`, which is final, or the one that `reason` names.",
    responses={
        **answer("Which were lifted", {"customer": "cus_8f3a", "version": 5, "lifted": ["manual"], "suppressions": 0}),
        **problems(*ALWAYS, "unknown_customer", "durability_unmet"),
    },
)
async def lift_suppressions(
    request: Request, customer: Key, scope: Scope, reason: Reason = None, why: WhyQuery = None
) -> Response:
    bodies.check_key(customer)
    if reason is SuppressionReason.ERASED:
        raise Problem("invalid_request", "`erased` is final and cannot be lifted")
    reasons = [reason] if reason else [each for each in SuppressionReason if each is not SuppressionReason.ERASED]
    lifted = await customer_store(request).lift(customer, every_scope(scope), reasons, why or "")
    return json_response(
        {
            "customer": lifted.customer,
            "version": lifted.general_version,
            "lifted": [each.value for each in lifted.reasons],
            "suppressions": lifted.left,
        }
    )


def customer_store(request: Request) -> CustomerStore:
    services = request.app.state.services
    return CustomerStore(
        services.client,
        services.keys,
        services.fields,
        services.hash_key,
        keeping(services.bundle),
        strict=services.settings.durability == "strict",
        who=services.authenticator.who(request.scope["headers"]),
        on_linked=services.outcome_taker.linked,
    )


def _reader(request: Request) -> CustomerReader:
    services = request.app.state.services
    return CustomerReader(services.client, services.keys, services.fields, all_features(services.bundle))


def _written(request: Request, written: Written) -> dict[str, Any]:
    metrics = request.app.state.services.metrics
    metrics.add(metrics.slot(CUSTOMERS_WRITTEN))
    answered = {"customer": written.customer, "version": written.general_version, "updated_at": iso(written.at_ms)}
    return answered | ({"dropped": list(written.dropped)} if written.dropped else {})


def every_scope(scope: str) -> str:
    return "*" if scope == "all" else scope


def json_response(body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
