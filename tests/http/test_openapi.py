"""The published description of the API: valid, complete, and its examples are true."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from app.core.decision.ids import parse_id
from tests.support.contract import EVERYTHING_ALLOWED, Caller

METHODS = {"get", "put", "post", "delete", "patch", "head", "options"}


@pytest.fixture(scope="module")
def document(caller: Caller) -> dict[str, Any]:
    answer = caller.http.get("/openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method in METHODS & set(item):
            yield method, path, item[method]


def within(node: Any, key: str) -> Iterator[Any]:
    """Everything that stands under `key`, anywhere."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == key:
                yield value
            yield from within(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from within(value, key)


def test_the_document_is_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    assert document["info"]["title"] == "nextbest"
    assert document["info"]["version"]


def test_the_routes_of_a_decision_are_described(document: dict[str, Any]) -> None:
    described = {(method, path) for method, path, _ in operations(document)}
    assert {("post", "/v1/decide"), ("get", "/v1/decisions/{decision_id}"), ("get", "/v1/bundle")} <= described
    assert {("put", "/v1/customers/{customer}"), ("get", "/health/ready"), ("get", "/metrics")} <= described


def test_every_operation_has_a_name_a_summary_and_answers(document: dict[str, Any]) -> None:
    names = []
    for method, path, operation in operations(document):
        names.append(operation["operationId"])
        assert operation["summary"], (method, path)
        for status, response in operation["responses"].items():
            assert status.isdigit() or status == "default", (method, path)
            assert response["description"], (method, path, status)
    assert len(names) == len(set(names))


def test_what_can_be_read_can_be_looked_at_without_its_body(caller: Caller, document: dict[str, Any]) -> None:
    """RFC 9110, 9.1. Load balancers probe so."""
    read = [path for method, path, _ in operations(document) if method == "get"]
    assert "/health/ready" in read
    for path in ["/docs", *(re.sub(r"\{[^}]*\}", "x", each) for each in read)]:
        looked, found = caller.http.head(path), caller.http.get(path)
        assert (looked.status_code, looked.content) == (found.status_code, b""), path
        assert looked.headers["content-type"] == found.headers["content-type"], path
    refused = caller.http.post("/health/live")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


def test_every_parameter_of_a_path_is_declared(document: dict[str, Any]) -> None:
    for _, path, operation in operations(document):
        declared = {each["name"] for each in operation.get("parameters", []) if each["in"] == "path"}
        assert declared == {part[1:-1] for part in path.split("/") if part.startswith("{")}, path


def test_the_example_of_a_decision_id_is_one(document: dict[str, Any]) -> None:
    (parameter,) = document["paths"]["/v1/decisions/{decision_id}"]["get"]["parameters"]
    assert [parse_id(example) is not None for example in parameter["schema"]["examples"]] == [True]


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for reference in within(document, "$ref"):
        assert reference.startswith("#/")
        node = document
        for part in reference[2:].split("/"):
            node = node[part]


def test_every_schema_is_a_json_schema(document: dict[str, Any]) -> None:
    schemas = [*within(document, "schema"), *document["components"]["schemas"].values()]
    assert len(schemas) > 20
    for schema in schemas:
        Draft202012Validator.check_schema(schema)


def test_every_example_fits_its_own_schema(document: dict[str, Any]) -> None:
    checked = 0
    for content in within(document, "content"):
        for body in content.values():
            for example in body.get("examples", {}).values():
                if isinstance(example["value"], dict) and "schema" in body:
                    schema = body["schema"] | {"components": document["components"]}
                    assert not list(Draft202012Validator(schema).iter_errors(example["value"])), example
                    checked += 1
    assert checked > 20


def test_the_problems_of_a_decision_are_described_with_their_codes(document: dict[str, Any]) -> None:
    responses = document["paths"]["/v1/decide"]["post"]["responses"]
    codes = {
        code
        for response in responses.values()
        for code in response.get("content", {}).get("application/problem+json", {}).get("examples", {})
    }
    assert {"malformed_json", "invalid_request", "unknown_placement", "unknown_context", "direct_identifier"} <= codes
    assert {"invalid_budget", "idempotency_key_reused", "overloaded", "payload_too_large"} <= codes


def test_the_examples_of_requests_are_accepted(document: dict[str, Any], caller: Caller, demo: httpx.Client) -> None:
    """By a server of the bundle that they are written for: the packaged demo."""
    accepted = []
    demo.put("/v1/customers/cus_told", json={"region": "US", "consent": EVERYTHING_ALLOWED})
    asked = {"customer": "cus_told", "placements": ["weekly_offer"], "budget_ms": 2000}
    told = demo.post("/v1/decide", json=asked).json()["decisions"][0]["decision_id"]
    for method, path, operation in operations(document):
        for media_type, body in operation.get("requestBody", {}).get("content", {}).items():
            for example in body.get("examples", {}).values():
                value = example["value"]
                content = value if isinstance(value, str) else json.dumps(value)
                parts = {"customer": "cus_example", "purpose": "marketing", "channel": "email", "scope": "email"}
                filled = path.format(**parts, kind="message", name="of_another_release", decision_id=told)
                answer = demo.request(method, filled, content=content, headers={"content-type": media_type})
                assert answer.status_code == 200, (method, path, answer.text)
                assert not answer.json().get("rejected"), answer.text
                accepted.append((method, path))
    assert ("post", "/v1/decide") in accepted
    assert ("put", "/v1/customers/{customer}") in accepted


def test_the_documentation_page_answers(caller: Caller) -> None:
    answer = caller.http.get("/docs")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "/openapi.json" in answer.text
