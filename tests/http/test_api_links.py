"""The links of the OpenAPI document lead where they say: each is followed once, from an answer of the demo."""

from __future__ import annotations

import json
import re
from typing import Any, cast

import httpx
import pytest

from app.http.api_document import LINKS, Link

EXPRESSION = re.compile(r"\$(response\.body#|request\.path\.)(.+)")
#: What the path of a first call holds, where nothing led to it. The switch stops nothing: others use this server.
NAMES = {"purpose": "marketing", "channel": "email", "scope": "email", "kind": "message", "name": "of_another_release"}
CONSENT = {"channel": "email", "state": "granted", "source": "signup_form", "basis": "consent"}
READER = {
    "region": "US",
    "attributes": {"recency": 3, "history": 142.4, "mens": 1},
    "consent": [{"purpose": purpose, **CONSENT} for purpose in ("marketing", "personalisation")],
}
#: Of links that lead to another answer than 200: an erased customer is gone for ever.
ANSWERS = {"erase": 202, "gone": 410}


def operation(document: dict[str, Any], called: str) -> dict[str, Any]:
    method, path = called.split(" ")
    return cast("dict[str, Any]", document["paths"][path][method.lower()])


def example(document: dict[str, Any], called: str) -> Any:
    """The first example of the operation's body; None where it has none."""
    content = operation(document, called).get("requestBody", {}).get("content", {})
    return next((next(iter(body["examples"].values()))["value"] for body in content.values()), None)


def call(demo: httpx.Client, called: str, names: dict[str, str], body: Any) -> httpx.Response:
    method, path = called.split(" ")
    return demo.request(method, path.format(**names), content=None if body is None else json.dumps(body))


def meaning(expression: str, names: dict[str, str], answer: httpx.Response) -> str:
    """An OpenAPI run-time expression, over a call that was made."""
    found = EXPRESSION.fullmatch(expression)
    assert found is not None, expression
    if found[1].startswith("request"):
        return names[found[2]]
    value: Any = answer.json()
    for part in found[2].strip("/").split("/"):
        value = value[int(part) if isinstance(value, list) else part]
    return str(value)


@pytest.mark.parametrize("link", LINKS, ids=lambda link: f"{link.source} {link.name}")
def test_a_link_leads_to_a_call_that_is_answered(link: Link, demo: httpx.Client) -> None:
    document = demo.get("/openapi.json").json()
    customer = f"cus_link_{LINKS.index(link)}"
    names = {**NAMES, "customer": customer}
    assert demo.put(f"/v1/customers/{customer}", json=READER).status_code == 200
    asked = {"customer": customer, "placements": ["weekly_offer"], "budget_ms": 2000}
    if "{decision_id}" in link.source:
        decided = demo.post("/v1/decide", json=asked).json()["decisions"][0]
        assert decided["action"] == "send", "there is something to tell an outcome of"
        names["decision_id"] = decided["decision_id"]
    bodies = {"POST /v1/decide": asked, "PUT /v1/customers/{customer}": READER}
    came_from = bodies.get(link.source) or example(document, link.source)
    answer = call(demo, link.source, names, came_from)
    assert answer.is_success, answer.text
    described = operation(document, link.source)["responses"][str(answer.status_code)]["links"][link.name]
    assert described["operationId"] == operation(document, link.target)["operationId"]
    follows = {name: meaning(each, names, answer) for name, each in described["parameters"].items()}
    followed = call(demo, link.target, NAMES | follows, example(document, link.target))
    assert followed.status_code == ANSWERS.get(link.name, 200), followed.text
