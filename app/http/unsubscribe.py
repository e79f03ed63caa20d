"""`/v1/unsubscribe/{token}`: one click (RFC 8058), and a page for people.

GET and HEAD change nothing, whoever follows the link: scanners of mails do. POST changes what its form says, and is
answered when that is in force for the next decision (G3). No redirect, no cookie, no key: the token is the proof.

Fails closed: an answer of 200 to one click means that it is withdrawn, whatever is known of the customer.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from app.core.heard import Heard
from app.core.keeping import keeping
from app.core.preferences import contacts_of, purposes_of
from app.core.unsubscribe import Link, keyring
from app.core.unsubscribe_keys import DERIVED
from app.errors import Problem
from app.flows.unsubscribe import RECIPIENT, Source, Unsubscriptions
from app.http import unsubscribe_page as page
from app.http.openapi import problems
from app.http.unsubscribe_form import Posted, posted
from app.http.unsubscribe_words import Words, of_bundle, words_for
from app.store.customer_reads import CustomerReader
from app.store.customers import CustomerStore
from app.store.outcomes import Told
from app.telemetry import series

if TYPE_CHECKING:
    from app.services import Services

router = APIRouter(tags=["unsubscribe"])

#: A form of two short fields; what is longer is none of ours.
BODY_BYTES_MAX = 65_536
DONE = b"unsubscribed\n"
EXAMPLE = "1.0.pXq0gqQ1bH1zVYw3oIh2s2hO5cJfE3kq6xkYwq0q5mQ1lJ8m0Jw2QxZrVn4T8g"
Token = Annotated[str, Path(description="From the headers that a decision carries.", examples=[EXAMPLE])]
#: One click is answered in plain words, a form with the page.
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The page; nothing was changed", "content": {"text/html": {"schema": {"type": "string"}}}},
    **problems("invalid_link", "store_unavailable"),
}
POSTED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "It is in force",
        "content": {
            "text/plain": {"schema": {"type": "string"}, "example": DONE.decode()},
            "text/html": {"schema": {"type": "string"}},
        },
    },
    **problems("invalid_link", "invalid_request", "payload_too_large", "store_unavailable", "durability_unmet"),
}
FORMS = {
    "requestBody": {
        "content": {
            form: {
                "schema": {
                    "type": "object",
                    "properties": {
                        "List-Unsubscribe": {"type": "string", "enum": ["One-Click"]},
                        "action": {"type": "string", "enum": ["withdraw", "withdraw_all", "grant"]},
                        "purpose": {"type": "string", "description": "Absent: the link's own."},
                    },
                }
            }
            for form in ("multipart/form-data", "application/x-www-form-urlencoded")
        }
    }
}


@router.get(
    "/v1/unsubscribe/{token}",
    summary="The page behind an unsubscribe link",
    description="What can be withdrawn and granted, purpose by purpose, and how it stands. Changes nothing.",
    responses=ANSWERS,
    response_model=None,
)
@router.get("/v1/unsubscribe/{token}/", include_in_schema=False, response_model=None)
async def show_preferences(request: Request, token: Token) -> Response:
    try:
        link = _opened(request, token)
        found = await _unsubscriptions(request).preferences(link)
    except Problem as problem:
        return _told(request, problem)
    return page.response(page.preferences_page(_words(request), found))


@router.post(
    "/v1/unsubscribe/{token}",
    summary="Unsubscribe, by one click or by the page",
    description="`List-Unsubscribe=One-Click` (RFC 8058) withdraws the consent for the link's purpose on its channel. "
    "`action` is what the page posts. Anything else shows the page and changes nothing. Repeats are harmless.",
    responses=POSTED,
    openapi_extra=FORMS,
    response_model=None,
)
@router.post("/v1/unsubscribe/{token}/", include_in_schema=False, response_model=None)
async def unsubscribe(request: Request, token: Token) -> Response:
    try:
        link = _opened(request, token)
        wanted = posted(request.headers.get("content-type", ""), await _body(request))
        answer = await _done(request, link, wanted)
    except Problem as problem:
        return _told(request, problem)
    request.app.state.services.metrics.count(series.UNSUBSCRIBE_REQUESTS, wanted.action or "none")
    return answer


async def _done(request: Request, link: Link, wanted: Posted) -> Response:
    said = _unsubscriptions(request)
    if wanted.action == "one_click":
        await said.withdraw(link, (link.purpose,), "one_click")
        return Response(DONE, media_type="text/plain", headers=page.PRIVATE)
    offered = purposes_of(request.app.state.services.bundle, link.purpose, link.channel)
    purpose = wanted.purpose or link.purpose
    if purpose not in offered:
        raise Problem("invalid_request", "`purpose` is none of those that the page offers")
    changed = purpose
    if wanted.action == "withdraw":
        await said.withdraw(link, (purpose,), "unsubscribe_page")
    elif wanted.action == "withdraw_all":
        await said.withdraw(link, contacts_of(offered), "unsubscribe_page")
    elif wanted.action == "grant":
        await said.grant(link, (purpose,), "unsubscribe_page")
    else:
        changed = ""
    found = await said.preferences(link)
    return page.response(page.preferences_page(_words(request), found, wanted.action, changed))


def _opened(request: Request, token: str) -> Link:
    """What the link says. Raises Problem: `invalid_link`, or `store_unavailable` while the key that it names may still
    come from the store."""
    services = request.app.state.services
    configured = services.settings.unsubscribe_keys
    keys = keyring(None if configured is None else configured.get_secret_value(), services.hash_key)
    link = None if keys is None else keys.open(token)
    if link is None:
        if not services.hash_key and token.startswith(f"1.{DERIVED}."):
            raise Problem("store_unavailable", "the hash key is not read from the store yet", retry_after_s=1)
        raise Problem("invalid_link", "follow the link of the mail as it stands there, to its last character")
    return link


async def _body(request: Request) -> bytes:
    raw = await request.body()
    if len(raw) > BODY_BYTES_MAX:
        raise Problem("payload_too_large", f"a form has at most {BODY_BYTES_MAX} bytes")
    return raw


def _told(request: Request, problem: Problem) -> Response:
    """A problem as whoever asks can read it: a page for browsers, problem+json for all others."""
    if "text/html" not in request.headers.get("accept", ""):
        raise problem
    request.app.state.services.metrics.count(series.PROBLEMS, problem.code)
    return page.response(page.problem_page(_words(request), problem), problem)


def _words(request: Request) -> Words:
    bundle = request.app.state.services.bundle
    words = words_for(request.headers.get("accept-language", ""))
    return of_bundle(words, bundle.brand, bundle.purpose_labels)


def _unsubscriptions(request: Request) -> Unsubscriptions:
    services = request.app.state.services
    return Unsubscriptions(
        services.bundle,
        CustomerReader(services.client, services.keys, services.fields),
        CustomerStore(
            services.client,
            services.keys,
            services.fields,
            services.hash_key,
            keeping(services.bundle),
            strict=services.settings.durability == "strict",
            who=RECIPIENT,
        ),
        partial(_tell, services),
    )


async def _tell(services: Services, heard: Heard, source: Source) -> None:
    """Tell the loop. What it rejects (a decision that is not remembered) takes nothing from the withdrawal."""
    if heard.decision is None or heard.decision.shard >= services.keys.shards:
        return
    await services.outcome_taker.take([heard], Told(source, RECIPIENT))
