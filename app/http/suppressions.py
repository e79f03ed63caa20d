"""`POST /v1/suppressions/bulk`: stops of many people, as another system lists them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter

from app.flows.import_customers import import_customers
from app.http import customer_bodies as bodies
from app.http.customer_examples import TALLY, answer
from app.http.customers import customer_store, every_scope, json_response
from app.http.ndjson import NDJSON, check_content
from app.http.openapi import problems, request_body
from app.store.suppression_lists import SuppressionLists, SuppressionWrite
from policy.bundle import Bundle

router = APIRouter(prefix="/v1/suppressions", tags=["customers"])

LINES = (
    '{"customer": "cus_8f3a", "scope": "email", "reason": "unsubscribed", "source": "old_esp"}\n'
    f'{{"customer": {{"email_sha256": "{"ab" * 32}"}}, "scope": "*", "reason": "complaint", "source": "old_esp", '
    '"at": "2026-03-01T09:00:00Z"}\n'
)


class SuppressionLine(bodies.SuppressionBody):
    """A line of a list of stops."""

    customer: bodies.Reference
    scope: bodies.Channel = "*"


LINE = TypeAdapter(SuppressionLine)


class LineChecker:
    """Lines as writes; make one a request."""

    def __init__(self, bundle: Bundle) -> None:
        self._checker = bodies.Checker(bundle)

    def line(self, raw: bytes) -> SuppressionWrite:
        """Raises Problem: `malformed_json`, `invalid_request`, `direct_identifier`."""
        body = bodies.parse(LINE, raw)
        about = self._checker.about(body.customer)
        at_ms = bodies.unix_ms(body.at)
        return SuppressionWrite(about, every_scope(body.scope), body.reason, body.source, at_ms, body.why or "")


@router.post(
    "/bulk",
    summary="Stop messages to many people",
    description="Newline-delimited JSON, one stop a line. `customer` is a key, or one alias such as `email_sha256`: of "
    "one that is linked to nobody the stop is kept, and holds for whoever turns out to be behind it. Repeating is "
    "harmless: a stop that is there stays as it was first said.",
    openapi_extra=request_body(SuppressionLine, {"two stops": LINES}, NDJSON),
    responses={
        **answer("How many lines were written, and which were not", TALLY),
        **problems("unsupported_media_type", "store_unavailable"),
    },
)
async def write_suppressions(request: Request) -> Response:
    check_content(request.headers)
    services: Any = request.app.state.services
    lists = SuppressionLists(customer_store(request))
    tally = await import_customers(request.stream(), LineChecker(services.bundle).line, lists.write_many)
    return json_response(tally.body())
