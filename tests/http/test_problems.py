"""Every error leaves as problem+json, is counted, and repeats nothing a caller sent."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from app.errors import PROBLEM_JSON, Problem
from app.http import problems


class Body(BaseModel):
    customer: str
    placements: list[int]


@pytest.fixture
def counted() -> list[str]:
    return []


@pytest.fixture
def app(counted: list[str]) -> FastAPI:
    app = FastAPI()
    problems.install(app, counted.append)

    @app.post("/fits")
    async def fits(body: Body) -> None: ...

    @app.get("/refused")
    async def refused() -> None:
        raise Problem("overloaded", "try again", retry_after_s=2)

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("a secret of ours")

    return app


async def ask(app: FastAPI, method: str, path: str, **body: str) -> httpx.Response:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {"content-type": "application/json"}
    async with httpx.AsyncClient(transport=transport, base_url="http://example.com", headers=headers) as client:
        return await client.request(method, path, **body)


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "code"),
    [
        ("GET", "/refused", "", 503, "overloaded"),
        ("GET", "/nowhere", "", 404, "not_found"),
        ("DELETE", "/fits", "", 405, "method_not_allowed"),
        ("POST", "/fits", "{", 400, "malformed_json"),
        ("POST", "/fits", "{}", 422, "invalid_request"),
        ("GET", "/broken", "", 500, "internal"),
    ],
)
async def test_an_error_is_a_counted_problem(
    app: FastAPI, counted: list[str], method: str, path: str, content: str, status: int, code: str
) -> None:
    answer = await ask(app, method, path, content=content)
    assert (answer.status_code, answer.json()["code"], answer.json()["status"]) == (status, code, status)
    assert answer.headers["content-type"] == PROBLEM_JSON
    assert counted == [code]


async def test_a_refusal_that_passes_says_when_to_come_back(app: FastAPI) -> None:
    assert (await ask(app, "GET", "/refused")).headers["retry-after"] == "2"


async def test_a_405_says_what_is_allowed(app: FastAPI) -> None:
    assert (await ask(app, "DELETE", "/fits")).headers["allow"] == "POST"


async def test_a_misfit_names_its_place_and_does_not_repeat_the_value(app: FastAPI) -> None:
    answer = await ask(app, "POST", "/fits", content='{"customer": "c", "placements": [1, "jane@example.com"]}')
    assert answer.json()["errors"][0]["path"] == "placements[1]"
    assert "jane" not in answer.text


async def test_an_error_of_ours_keeps_its_message_to_the_log(app: FastAPI) -> None:
    assert "secret" not in (await ask(app, "GET", "/broken")).text
