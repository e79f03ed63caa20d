"""OpenAPI parts that routes share: bodies that a route parses itself, and the problems it may answer."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from app.errors import PROBLEM_JSON, PROBLEMS, Problem

PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "Stable; branch on this."},
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object"}, "description": "Places in the body, where many."},
    },
}

GPC_PARAMETER: dict[str, Any] = {
    "name": "Sec-GPC",
    "in": "header",
    "required": False,
    "description": "`1` where the customer's browser sent Global Privacy Control; pass it on. What the bundle's row of "
    "their region lists under `gpc_denies` is then denied, also against a grant. Anything else is no signal.",
    "schema": {"type": "string", "examples": ["1"]},
}


def problems(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer these problems, with an example each."""
    responses: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        status, title = PROBLEMS[code]
        response = responses.setdefault(status, {"description": "", "content": {PROBLEM_JSON: {"examples": {}}}})
        response["description"] = f"{response['description']}; {title}".removeprefix("; ")
        content = response["content"][PROBLEM_JSON]
        content["schema"] = PROBLEM_SCHEMA
        content["examples"][code] = {"value": Problem(code, title).body()}
    return responses


def answered(
    model: type[BaseModel], description: str, example: dict[str, Any] | None
) -> dict[int | str, dict[str, Any]]:
    """The `responses` entry of an answer that is described by a model and not validated by it."""
    schema = model.model_json_schema()
    content: dict[str, Any] = {"schema": _inlined(schema, schema.pop("$defs", {}))}
    if example is not None:
        content["example"] = example
    return {200: {"description": description, "content": {"application/json": content}}}


def request_body(
    model: type[BaseModel], examples: dict[str, Any], media_type: str = "application/json"
) -> dict[str, Any]:
    """The `openapi_extra` of a route that parses its body itself. Of lines there may be none."""
    schema = model.model_json_schema()
    content = {"schema": _inlined(schema, schema.pop("$defs", {})), "examples": _named(examples)}
    return {"requestBody": {"required": media_type == "application/json", "content": {media_type: content}}}


def _named(examples: dict[str, Any]) -> dict[str, Any]:
    return {name: {"value": value} for name, value in examples.items()}


def _inlined(node: Any, definitions: dict[str, Any]) -> Any:
    """A schema without `$ref`: inside an OpenAPI document they would point to the document's root."""
    if isinstance(node, list):
        return [_inlined(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = definitions[node["$ref"].rpartition("/")[2]]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    return {key: _inlined(value, definitions) for key, value in node.items()}
