"""`POST /v1/webhooks/{provider}`: what happened to mails, told by whoever sent them.

Needs no key of ours: a delivery proves itself (`app.core.webhooks`). Fails closed: it is answered when everything that
follows is applied, and until then the provider is told to come again, in the way that it understands.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import orjson
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, Field

from app.admission import Rank
from app.core.webhooks.provider import Delivery, Provider, Unreadable, Untrusted
from app.core.webhooks.registry import NAMES, provider_of
from app.errors import Problem
from app.flows.take_webhooks import Tally
from app.http.event_body import Body, Gone, Held
from app.http.openapi import answered, problems
from app.http.webhook_echo import echoed
from app.sns_certificates import AmazonUnavailable
from app.telemetry import series

if TYPE_CHECKING:
    from app.services import Services

router = APIRouter(tags=["webhooks"])

KEY_HEADER = b"x-nextbest-key"
#: Rejected items that an answer lists.
LISTED_MAX = 1_000
RETRY_AFTER_S = 2
ANSWER = {
    "accepted": 99,
    "duplicates": 0,
    "rejected": [{"index": 17, "code": "malformed_item", "detail": "it is not what sendgrid documents"}],
}


class KnownProvider(BaseModel):
    """A provider whose webhooks can be taken."""

    provider: str


class RejectedItem(BaseModel):
    """An item that was not taken; the others were."""

    index: int = Field(description="Its place in the delivery, from 0.")
    code: str
    detail: str


class WebhookAnswer(BaseModel):
    """What became of a delivery."""

    accepted: int = Field(description="Applied, or known to change nothing, or not known and kept.")
    duplicates: int = Field(description="Known from an earlier delivery.")
    rejected: list[RejectedItem] = Field(description="The first 1,000.")
    outcomes: list[dict[str, Any]] | None = Field(None, description="With `echo=true`: what each was understood as.")


Name = Annotated[str, Path(examples=["sendgrid"], description="One of " + ", ".join(f"`{name}`" for name in NAMES))]


@router.get(
    "/v1/webhooks/{provider}",
    summary="Whether a webhook can be sent here",
    responses={**answered(KnownProvider, "It can, once it is configured", None), **problems("not_found")},
    response_model=None,
)
async def look(provider: Name) -> Response:
    """Consoles of providers look with GET or HEAD before they take an address (Mandrill does)."""
    return _json({"provider": _known(provider).name})


@router.post(
    "/v1/webhooks/{provider}",
    summary="What happened to mails, from your provider",
    description="Each delivery proves itself by what is configured for its provider (docs/webhooks.md). The answer is "
    "200 when everything that follows is applied; one item that cannot be read does not lose the others. The content "
    "type does not matter. With `echo=true` the answer says what every item was understood as, without addresses; that "
    "needs a key with the scope `read` in `X-Nextbest-Key`, since providers own `Authorization`.",
    responses={
        **answered(WebhookAnswer, "What became of it", ANSWER),
        **problems(
            "unreadable_webhook",
            "unproven_webhook",
            "unauthenticated",
            "forbidden",
            "not_found",
            "payload_too_large",
            "rate_limited",
            "store_unavailable",
            "durability_unmet",
        ),
    },
    response_model=None,
)
async def take_webhook(request: Request, provider: Name, echo: Annotated[bool, Query()] = False) -> Response:
    services: Services = request.app.state.services
    body = Body(request)
    known = None
    try:
        try:
            known = _known(provider)
            return _json(await _taken(services, request, body, known, echo))
        except (Problem, Untrusted, Unreadable, AmazonUnavailable) as refused:
            await body.drop()
            return _refusal(services, known, refused)
    except Gone:
        return Response(status_code=400)  # nobody is left to read it


async def _taken(services: Services, request: Request, body: Body, provider: Provider, echo: bool) -> dict[str, Any]:
    if not services.webhooks.is_configured(provider.name):
        raise Untrusted(f"set NEXTBEST_WEBHOOK_{provider.name.upper()}_…: docs/webhooks.md says what")
    if echo:
        _may_read(services, request)
    services.webhooks.room.check(Rank.WEBHOOKS)
    if not services.hash_key:
        raise Problem("store_unavailable", "the store was not reached yet", retry_after_s=1)
    with Held(services.webhooks.room) as held:
        raw = await _read(body, held, services.settings.webhook_body_limit_bytes)
        delivery = Delivery(raw, _headers(request), time.time(), _url(services, request, provider.name))
        tally = await services.webhooks.take(provider, delivery)
    return _answer(provider.name, tally, echo)


def _known(name: str) -> Provider:
    provider = provider_of(name)
    if provider is None:
        raise Problem("not_found", "there is no such provider; there are " + ", ".join(NAMES))
    return provider


def _may_read(services: Services, request: Request) -> None:
    """Raises Problem where the caller may not see what an item was understood as."""
    if services.authenticator.is_open:
        return
    for name, value in request.scope["headers"]:
        if name == KEY_HEADER:
            if (problem := services.authenticator.key_problem(value.strip(), "read")) is not None:
                raise problem
            return
    raise Problem("unauthenticated", "`echo` needs a key with the scope `read` in `X-Nextbest-Key`")


async def _read(body: Body, held: Held, limit_bytes: int) -> bytes:
    """The bytes as they came: proofs are over these, and no provider compresses. Raises Problem, Gone."""
    pieces: list[bytes] = []
    size = 0
    async for piece in body.pieces():
        size += len(piece)
        if size > limit_bytes:
            raise Problem("payload_too_large", f"at most {limit_bytes} bytes")
        held.add(len(piece))
        pieces.append(piece)
    return b"".join(pieces)


def _headers(request: Request) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in request.scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _url(services: Services, request: Request, provider: str) -> str:
    """The address as the provider knows it: behind a proxy only the configuration can tell."""
    return services.webhook_urls.get(provider) or str(request.url)


def _answer(provider: str, tally: Tally, echo: bool) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "accepted": tally.accepted,
        "duplicates": tally.duplicates,
        "rejected": [
            {"index": each.place, "code": each.code, "detail": each.detail} for each in tally.rejected[:LISTED_MAX]
        ],
    }
    if echo:
        answer["outcomes"] = [echoed(provider, line) for line in tally.lines]
    return answer


def _refusal(services: Services, provider: Provider | None, refused: Exception) -> Response:
    """The problem, counted, with the status that makes this provider do the right thing next, and with a `message`."""
    problem = _problem(refused)
    services.metrics.count(series.PROBLEMS, problem.code)
    if provider is not None:
        services.metrics.count(series.WEBHOOKS_REFUSED, provider.name, problem.code)
    if problem.code == "rate_limited":
        services.metrics.count(series.SHED)
    return refusal(provider, problem)


def refusal(provider: Provider | None, problem: Problem) -> Response:
    """A problem as this provider understands it."""
    status = problem.status if provider is None else _status(provider, problem)
    headers = {name.decode(): value.decode() for name, value in problem.headers()}
    if provider is not None and problem.code == "unproven_webhook" and provider.statuses.challenge:
        headers["www-authenticate"] = 'Basic realm="nextbest"'
    body = {**problem.body(), "status": status, "message": problem.detail}
    return Response(orjson.dumps(body), status, headers)


def _problem(refused: Exception) -> Problem:
    if isinstance(refused, Problem):
        return refused
    if isinstance(refused, Untrusted):
        return Problem("unproven_webhook", str(refused))
    if isinstance(refused, Unreadable):
        return Problem("unreadable_webhook", str(refused))
    return Problem("store_unavailable", str(refused), retry_after_s=RETRY_AFTER_S)


def _status(provider: Provider, problem: Problem) -> int:
    statuses = provider.statuses
    return {
        "unproven_webhook": statuses.untrusted,
        "unreadable_webhook": statuses.unreadable,
        "rate_limited": statuses.busy,
        "store_unavailable": statuses.store_down,
        "durability_unmet": statuses.store_down,
    }.get(problem.code, problem.status)


def _json(body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
