"""`DELETE /v1/customers/{customer}` and `/v1/erasures`: erasing a customer, and the receipt of it.

When DELETE is answered nothing of the customer is used any more; what lies in streams, logs and files follows within
the hour, and the receipt says how far that is.
"""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Request, Response

from app.core.erasure import Job
from app.errors import Problem
from app.http import customer_bodies as bodies
from app.http.customer_examples import answer
from app.http.customer_view import iso
from app.http.customers import Key
from app.http.openapi import problems

router = APIRouter(tags=["customers"])

ID = "ers_5f0c2b7a9d1e4c3f8a6b0d2e"
RECEIPT: dict[str, Any] = {
    "erasure": ID,
    "customer_hash": "9c1f0e5b7a2d4c6f8e0b1a3d5c7f9e2b",
    "requested_at": "2026-11-24T08:00:00.000Z",
    "requested_by": "key_4f0c9a1b2c3d",
    "done_at": None,
    "waits_for": "archive",
    "steps": [
        {"what": "customer", "count": 1, "at": "2026-11-24T08:00:00.004Z"},
        {"what": "identities", "count": 2, "at": "2026-11-24T08:00:00.120Z"},
        {"what": "decisions", "count": 31, "at": "2026-11-24T08:00:00.180Z"},
        {"what": "receipts", "count": 12, "at": "2026-11-24T08:00:01.412Z"},
        {"what": "events", "count": 118, "at": "2026-11-24T08:00:01.440Z"},
    ],
}


@router.delete(
    "/v1/customers/{customer}",
    status_code=202,
    summary="Erase a customer",
    description="Once answered, nobody is contacted, shown or written any more: what is left is a tombstone with "
    "`suppressed:erased`, until a consent that is given after this. The rest (logs, streams, archive, the store's own "
    "file) follows within the hour; `Location` leads to the receipt. A customer who is not known is erased too: events "
    "may tell of one. Repeating it answers the same receipt.",
    responses={
        **answer("It is erased; how far the rest is", RECEIPT, 202),
        **problems("direct_identifier", "invalid_request", "merge_under_way", "store_unavailable", "durability_unmet"),
    },
)
async def erase_customer(request: Request, customer: Key) -> Response:
    bodies.check_key(customer)
    services = request.app.state.services
    job = await services.erasures.erase(customer, services.authenticator.who(request.scope["headers"]))
    location = {"Location": f"/v1/erasures/{job.erasure}"}
    return Response(orjson.dumps(receipt(job)), 202, location, "application/json")


@router.get(
    "/v1/erasures/{erasure}",
    summary="The receipt of an erasure",
    description="It names nobody: `customer_hash` is the keyed hash of the customer's key: `nextbest customers "
    "receipt ID --of KEY` says whether it is somebody's. It is kept for ever.",
    responses={**answer("The receipt", RECEIPT), **problems("not_found", "store_unavailable")},
)
async def read_erasure(request: Request, erasure: Annotated[str, Path(examples=[ID])]) -> Response:
    job = await request.app.state.services.erasures.receipt(erasure)
    if job is None:
        raise Problem("not_found", "there is no erasure of this id")
    return Response(orjson.dumps(receipt(job)), media_type="application/json")


def receipt(job: Job) -> dict[str, Any]:
    """An erasure as its receipt. It names nobody."""
    also = {"merged_hashes": job.hashes[:-1]} if len(job.hashes) > 1 else {}
    waits = {} if job.done_ms is not None else {"waits_for": job.next_step}
    return {
        "erasure": job.erasure,
        "customer_hash": job.hashes[-1],
        **also,
        "requested_at": iso(job.requested_ms),
        "requested_by": job.who,
        "done_at": None if job.done_ms is None else iso(job.done_ms),
        **waits,
        "steps": [
            {"what": each.step, "count": each.number, "at": iso(each.at_ms)}
            | ({"note": each.note} if each.note else {})
            for each in job.steps
        ],
    }
