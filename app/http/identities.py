"""`/v1/customers/{customer}/identities`: who is who, and why: every identity, edge by edge, and every merge.

An identity is shown as its kind and the beginning of its keyed hash, which nobody can compare with a list of addresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from app.core.identity_graph import Belongs, Owner, Pending, Shared
from app.core.keeping import keeping
from app.errors import Problem
from app.flows.explain_identities import Explained, Line, explain
from app.http import customer_bodies as bodies
from app.http.customer_examples import answer
from app.http.customer_view import iso
from app.http.customers import Key
from app.http.openapi import problems
from app.store.claims import ClaimStore
from app.store.customer_reads import CustomerReader
from app.store.history import Change, Merged

router = APIRouter(prefix="/v1/customers", tags=["customers"])

EXAMPLE = {
    "customer": "u_1",
    "complete_until": "2026-11-24T09:30:00.120Z",
    "identities": [
        {
            "kind": "anonymous_id",
            "hash": "9f3a1c02",
            "state": "pending",
            "customer": "u_1",
            "due": "2026-11-27T09:12:00.000Z",
            "linked_to": None,
            "told": [{"customer": "u_1", "first_at": "2026-11-24T09:12:00.000Z"}],
        }
    ],
    "merges": [
        {
            "customer": "cus_5b1e0c64c1c2f0a9e8a3b7d6f1e20c44",
            "at": "2026-11-20T08:00:00.000Z",
            "who": "identity",
            "why": "anonymous_id 5b1e0c64 first told with u_1 2026-11-17T08:00:00.000Z",
        }
    ],
}


@router.get(
    "/{customer}/identities",
    summary="Who is who: a customer's identities and merges, and why",
    description="`state`: `belongs`, `pending` (until `due` an earlier customer may turn up), `shared` (several were "
    "told with it), or `linked` (by a write of the customer alone). `told`: with which customers, when first.",
    responses={
        **answer("The identities", EXAMPLE),
        **problems("direct_identifier", "invalid_request", "store_unavailable"),
    },
)
async def read_identities(request: Request, customer: Key) -> Response:
    bodies.check_key(customer)
    services = request.app.state.services
    store = ClaimStore(services.client, services.keys, services.hash_key, keeping(services.bundle))
    explained = await explain(store, customer, services.bundle.events.link_lateness_ms)
    try:
        changes = await CustomerReader(services.client, services.keys, services.fields).history(explained.customer)
    except Problem as problem:
        if problem.code != "unknown_customer":
            raise
        changes = []  # known by events alone
    return Response(orjson.dumps(identities_view(explained, changes)), media_type="application/json")


def identities_view(explained: Explained, changes: Sequence[Change]) -> dict[str, Any]:
    """The answer, as JSON."""
    return {
        "customer": explained.customer,
        "complete_until": iso(explained.complete_until_ms) if explained.complete_until_ms else None,
        "identities": [_line(line) for line in explained.lines],
        "merges": [
            {"customer": each.what.customer, "at": iso(each.recorded_ms), "who": each.who, "why": each.why}
            for each in changes
            if isinstance(each.what, Merged)
        ],
    }


def _line(line: Line) -> dict[str, Any]:
    return {
        "kind": line.identity.kind,
        "hash": line.identity.hash.hex()[:8],
        **_state(line.owner, line.link),
        "linked_to": line.link,
        "told": [{"customer": customer, "first_at": iso(at_ms)} for customer, at_ms in line.told],
    }


def _state(owner: Owner, link: str | None) -> dict[str, Any]:
    if isinstance(owner, Pending):
        return {"state": "pending", "customer": owner.customer, "due": iso(owner.due_ms)}
    if isinstance(owner, Belongs):
        return {"state": "belongs", "customer": owner.customer, "since": iso(owner.since_ms)}
    if isinstance(owner, Shared):
        return {"state": "shared", "customer": owner.first, "since": iso(owner.since_ms)}
    return {"state": "linked", "customer": link}
