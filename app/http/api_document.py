"""The OpenAPI document, completed: what every route answers, which key it needs, and where its answer leads.

Routes say what is theirs alone; what the connection, the key and the framework answer for all of them stands here, so
that no status is undocumented. Links (https://spec.openapis.org/oas/v3.1.1#link-object) say which part of an answer the
next call takes: readers follow them, and so does the test that drives the whole API.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from fastapi import FastAPI

from app.errors import PROBLEM_JSON, PROBLEMS
from app.http.openapi import problems
from app.http.scopes import PUBLIC, required_scope

Operation = dict[str, Any]

#: What the connection answers before any route sees the request.
OF_ANY_REQUEST = ("malformed_http", "request_timeout", "headers_too_large")
OF_ANY_KEY = ("unauthenticated", "forbidden", "rate_limited")
OF_ANY_BODY = ("payload_too_large",)


class Link(NamedTuple):
    """From an answer to the call that it makes possible."""

    name: str
    source: str  # METHOD path
    target: str  # METHOD path
    parameters: dict[str, str]  # of the target: OpenAPI run-time expressions over the source


_CUSTOMER = "/v1/customers/{customer}"
_DECIDED = "$response.body#/decisions/0/decision_id"
_WRITTEN = {"customer": "$response.body#/customer"}
_SAME = {"customer": "$request.path.customer"}
LINKS = (
    Link("why", "POST /v1/decide", "GET /v1/decisions/{decision_id}", {"decision_id": _DECIDED}),
    Link("what_happened", "POST /v1/decide", "POST /v1/decisions/{decision_id}/outcomes", {"decision_id": _DECIDED}),
    Link("customer", "POST /v1/decide", f"GET {_CUSTOMER}", _WRITTEN),
    Link(
        "why", "POST /v1/decisions/{decision_id}/outcomes", "GET /v1/decisions/{decision_id}",
        {"decision_id": "$response.body#/decision_id"},
    ),
    Link("read", f"PUT {_CUSTOMER}", f"GET {_CUSTOMER}", _WRITTEN),
    Link("history", f"PUT {_CUSTOMER}", f"GET {_CUSTOMER}/history", _WRITTEN),
    Link("identities", f"PUT {_CUSTOMER}", f"GET {_CUSTOMER}/identities", _WRITTEN),
    Link("export", f"GET {_CUSTOMER}", f"GET {_CUSTOMER}/export", _WRITTEN),
    Link("consent", f"PUT {_CUSTOMER}", f"PUT {_CUSTOMER}/consent/{{purpose}}/{{channel}}", _WRITTEN),
    Link("suppress", f"PUT {_CUSTOMER}", f"PUT {_CUSTOMER}/suppressions/{{scope}}", _WRITTEN),
    Link(
        "lift", f"PUT {_CUSTOMER}/suppressions/{{scope}}", f"DELETE {_CUSTOMER}/suppressions/{{scope}}",
        {**_SAME, "scope": "$request.path.scope"},
    ),
    Link("erase", f"GET {_CUSTOMER}/export", f"DELETE {_CUSTOMER}", _SAME),
    Link("receipt", f"DELETE {_CUSTOMER}", "GET /v1/erasures/{erasure}", {"erasure": "$response.body#/erasure"}),
    Link("gone", f"DELETE {_CUSTOMER}", f"GET {_CUSTOMER}", _SAME),
    Link(
        "read", "PUT /v1/switches/{kind}/{name}", "GET /v1/switches/{kind}/{name}",
        {"kind": "$response.body#/kind", "name": "$response.body#/name"},
    ),
    Link(
        "turn", "GET /v1/switches/{kind}/{name}", "PUT /v1/switches/{kind}/{name}",
        {"kind": "$response.body#/kind", "name": "$response.body#/name"},
    ),
)  # fmt: skip


def complete(app: FastAPI) -> None:
    """Complete the document of an application that has all its routes. Raises KeyError for a link from or to a route
    that is not there."""
    document = app.openapi()
    document.setdefault("components", {})["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "From `nextbest keys add`."}
    }
    operations = dict(_operations(document))
    for called, operation in operations.items():
        _complete(called, operation)
    for link in LINKS:
        _answer(operations[link.source]).setdefault("links", {})[link.name] = {
            "operationId": operations[link.target]["operationId"],
            "parameters": link.parameters,
        }
    for name in ("HTTPValidationError", "ValidationError"):  # the framework's own, which nothing answers
        document["components"].get("schemas", {}).pop(name, None)


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, Operation]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def _complete(called: str, operation: Operation) -> None:
    responses = operation["responses"]
    if "application/json" in responses.get("422", {}).get("content", {}):
        del responses["422"]  # the framework's: a value of the path or the query that does not fit is a problem too
        _add(responses, "invalid_request")
    codes: tuple[str, ...] = OF_ANY_REQUEST
    if "requestBody" in operation:
        codes += OF_ANY_BODY
    scope = required_scope(*called.split(" "))
    if scope != PUBLIC:
        codes += OF_ANY_KEY
        operation["security"] = [{"key": []}]
        operation["description"] = f"{operation.get('description', '')}\n\nScope: `{scope}`.".strip()
    for code in codes:
        _add(responses, code)


def _add(responses: dict[str, Any], code: str) -> None:
    """One more problem among the answers of a route."""
    ((status, new),) = problems(code).items()
    found = responses.setdefault(str(status), new)
    if found is new:
        return
    examples = found["content"].setdefault(PROBLEM_JSON, new["content"][PROBLEM_JSON]).setdefault("examples", {})
    if code not in examples:
        examples.update(new["content"][PROBLEM_JSON]["examples"])
        found["description"] = f"{found['description']}; {PROBLEMS[code][1]}"


def _answer(operation: Operation) -> dict[str, Any]:
    """What it answers when all is well."""
    found: dict[str, Any] = next(each for status, each in operation["responses"].items() if status.startswith("2"))
    return found
