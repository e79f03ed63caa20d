"""Every error leaves as RFC 9457 problem+json: one handler each for our problems, FastAPI's, and the unexpected."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Send

from app.errors import PROBLEMS, Problem

logger = logging.getLogger(__name__)

METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")

#: Told the code of each problem that leaves; the metrics count them.
OnProblem = Callable[[str], None]


def install(app: FastAPI, on_problem: OnProblem) -> None:
    """Registers the handlers on an application."""

    def render(problem: Problem) -> Response:
        on_problem(problem.code)
        return problem_response(problem)

    async def on_refusal(_: Request, error: Exception) -> Response:
        return render(cast(Problem, error))

    async def on_misfit(_: Request, error: Exception) -> Response:
        return render(validation_problem(cast(RequestValidationError, error).errors()))

    async def on_http(request: Request, error: Exception) -> Response:
        refused = cast(HTTPException, error)
        response = render(problem_of_status(refused.status_code))
        response.headers.update(refused.headers or {})
        if refused.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            response.headers["allow"] = ", ".join(_allowed(request))
        return response

    async def on_surprise(_: Request, error: Exception) -> Response:
        # Starlette raises it again for the server, which logs the traceback: here only what the caller may know.
        return render(Problem("internal", f"`{type(error).__name__}` was not expected; the server's log has more"))

    app.add_exception_handler(Problem, on_refusal)
    app.add_exception_handler(RequestValidationError, on_misfit)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(Exception, on_surprise)


def problem_response(problem: Problem) -> Response:
    """A problem as a response of FastAPI's."""
    headers = {name.decode(): value.decode() for name, value in problem.headers()}
    return Response(problem.render(), problem.status, headers)


async def send_problem(send: Send, problem: Problem, extra: Sequence[tuple[bytes, bytes]] = ()) -> None:
    """A problem from plain ASGI code, with `extra` headers."""
    body = problem.render()
    headers = [*problem.headers(), (b"content-length", str(len(body)).encode()), *extra]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def validation_problem(errors: Sequence[Any]) -> Problem:
    """Pydantic's complaints as a problem: where and what, never the value, which may identify a person."""
    places = [{"path": _path(error["loc"]), "detail": error["msg"].removeprefix("Value error, ")} for error in errors]
    if any(error["type"] == "json_invalid" for error in errors):
        return Problem("malformed_json", "the body could not be parsed as JSON", places)
    return Problem(
        "invalid_request", "1 field does not fit" if len(places) == 1 else f"{len(places)} fields do not fit", places
    )


def problem_of_status(status: int) -> Problem:
    """A problem for a bare HTTP status of the framework's: the first code of the table that has it."""
    if status == 404:
        return Problem("not_found", "no such path; `/docs` lists all")
    for code, (listed, _) in PROBLEMS.items():
        if listed == status:
            return Problem(code, HTTPStatus(status).phrase.lower())
    return Problem("internal" if status >= 500 else "invalid_request", HTTPStatus(status).phrase.lower())


def _allowed(request: Request) -> list[str]:
    """Every method that the path knows (RFC 9110, 15.5.6): the framework names those of one of its routes. What knows
    GET knows HEAD (`app.main`)."""
    routes, scope = request.app.routes, request.scope
    known = {
        method
        for method in METHODS
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)
    }
    return sorted(known | {"HEAD"} if "GET" in known else known)


def _path(location: Sequence[str | int]) -> str:
    """`("body", "placements", 0)` → `placements[0]`."""
    text = ""
    for part in location[1:] if location and location[0] == "body" else location:
        name = f"[{part}]" if isinstance(part, int) else shown_name(part)
        text += f".{name}" if text and not isinstance(part, int) else name
    return text


def shown_name(name: str) -> str:
    """A name of the caller's own making, as far as it may be repeated: what is no plain identifier may be an address, a
    telephone number or somebody's name in the wrong place; and what begins like one of our keys may be one."""
    return name if _PLAIN.fullmatch(name) else "(a name that is not repeated here)"


_PLAIN = re.compile(r"(?!nbk_)[A-Za-z_][A-Za-z0-9_-]{0,47}|\[key\]")  # pydantic's mark for a key that does not fit
