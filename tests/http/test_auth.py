"""Who may do what: the route table, the keys in force, and what happens when either is missing something."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from app import keys_file
from app.http.auth import Authenticator, AuthMiddleware
from app.http.scopes import PUBLIC, ROUTES, SELF_CHECKED, required_scope


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.jsonl"


def bearer(key: str) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"example.com"), (b"authorization", f"Bearer {key}".encode())]


def code(problem: Any) -> str | None:
    return None if problem is None else problem.code


@pytest.mark.parametrize(
    ("method", "route", "scope"),
    [
        ("POST", "/v1/decide", "decide"),
        ("POST", "/v1/decide/batch", "decide"),
        ("GET", "/v1/decisions/dec_1", "read"),
        ("HEAD", "/v1/decisions/dec_1", "read"),
        ("POST", "/v1/decisions/dec_1/outcomes", "collect"),
        ("PUT", "/v1/customers/cus_1/consent/marketing/email", "collect"),
        ("DELETE", "/v1/customers/cus_1", "admin"),
        ("GET", "/v1/customers/cus_1", "read"),
        ("GET", "/v1/customers/cus_1/export", "admin"),
        ("GET", "/v1/customers/cus_1/history/export", "read"),
        ("GET", "/v1/erasures/ers_1", "read"),
        ("GET", "/metrics", "read"),
        ("GET", "/health/ready", PUBLIC),
        ("POST", "/health/ready", "admin"),
        ("GET", "/v1/a_route_of_tomorrow", "admin"),
        ("POST", "/v1/decide/", "admin"),
        ("POST", "/v1/decided", "admin"),
        ("GET", "/healthy", "admin"),
    ],
)
def test_a_route_needs_its_scope_and_an_unlisted_one_needs_admin(method: str, route: str, scope: str) -> None:
    assert required_scope(method, route) == scope


def test_every_scope_of_the_table_can_be_given_to_a_key() -> None:
    assert {scope for _, _, scope in ROUTES} - {PUBLIC} <= set(keys_file.SCOPES)


def test_a_route_that_checks_itself_is_in_the_table() -> None:
    assert {route for _, route, _ in ROUTES} >= SELF_CHECKED


def test_a_key_may_do_what_its_scopes_say_and_no_more(path: Path) -> None:
    _, key = keys_file.add(path, ["decide"])
    authenticator = Authenticator(path)
    assert authenticator.scope_problem(bearer(key), "decide") is None
    assert code(authenticator.scope_problem(bearer(key), "read")) == "forbidden"
    assert code(authenticator.scope_problem(bearer(key), "admin")) == "forbidden"


def test_admin_may_do_everything_but_approve(path: Path) -> None:
    _, key = keys_file.add(path, ["admin"])
    authenticator = Authenticator(path)
    for scope in keys_file.SCOPES:
        assert authenticator.scope_problem(bearer(key), scope) is None
    assert code(authenticator.scope_problem(bearer(key), "approve:legal")) == "forbidden"


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Bearer nbk_guess", "Basic bmJrOg==", "nbk_guess"])
def test_what_is_no_known_key_is_unauthenticated(path: Path, value: str) -> None:
    keys_file.add(path, ["decide"])
    headers = [(b"authorization", value.encode())]
    assert code(Authenticator(path).scope_problem(headers, "decide")) == "unauthenticated"
    assert code(Authenticator(path).scope_problem([], "decide")) == "unauthenticated"


def test_the_scheme_is_read_in_any_case(path: Path) -> None:
    _, key = keys_file.add(path, ["decide"])
    headers = [(b"authorization", f"bearer {key}".encode())]
    assert Authenticator(path).scope_problem(headers, "decide") is None


def test_only_verified_values_are_remembered(path: Path) -> None:
    """A stranger who sends a new key with each request must not fill the memory."""
    keys_file.add(path, ["decide"])
    authenticator = Authenticator(path)
    for number in range(50):
        authenticator.scope_problem(bearer(f"nbk_{number}"), "decide")
    assert len(authenticator._verified) == 0


async def test_a_change_of_the_file_is_in_force_without_a_restart(path: Path) -> None:
    stored, key = keys_file.add(path, ["decide"])
    authenticator = Authenticator(path)
    assert authenticator.scope_problem(bearer(key), "decide") is None
    watch = asyncio.create_task(authenticator.watch(every_s=0.002))
    keys_file.revoke(path, stored.id)
    async with asyncio.timeout(2):
        while authenticator.scope_problem(bearer(key), "decide") is None:  # noqa: ASYNC110  (a file gives no event)
            await asyncio.sleep(0.002)
    watch.cancel()
    assert authenticator.findings != []


def test_a_file_that_vanishes_admits_nobody(path: Path) -> None:
    _, key = keys_file.add(path, ["decide"])
    authenticator = Authenticator(path)
    path.unlink()
    authenticator.reload_if_changed()
    assert code(authenticator.scope_problem(bearer(key), "decide")) == "unauthenticated"
    assert not authenticator.is_open


def test_a_file_that_cannot_be_parsed_keeps_the_last_keys_and_says_so(path: Path) -> None:
    _, key = keys_file.add(path, ["decide"])
    authenticator = Authenticator(path)
    assert authenticator.findings == []
    path.write_text("half a li")
    assert not authenticator.reload_if_changed()
    assert authenticator.scope_problem(bearer(key), "decide") is None
    assert "line 1" in authenticator.findings[0]


def test_without_a_keys_file_credentials_are_ignored() -> None:
    assert Authenticator(None).scope_problem(bearer("nbk_anything"), "admin") is None


async def test_the_middleware_stops_a_request_before_the_application_sees_it(path: Path) -> None:
    _, key = keys_file.add(path, ["read"])
    seen: list[str] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    transport = httpx.ASGITransport(AuthMiddleware(application, Authenticator(path)))
    async with httpx.AsyncClient(transport=transport, base_url="http://example.com") as client:
        refused = await client.get("/v1/decisions/dec_1")
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
        assert refused.headers["www-authenticate"] == "Bearer"
        assert refused.headers["content-type"] == "application/problem+json"
        client.headers["authorization"] = f"Bearer {key}"
        assert (await client.put("/v1/customers/cus_1")).json()["code"] == "forbidden"
        assert seen == []
        assert (await client.get("/v1/decisions/dec_1")).status_code == 200
        assert (await client.get("/health/live", headers={"authorization": ""})).status_code == 200
    assert seen == ["/v1/decisions/dec_1", "/health/live"]


def test_a_known_key_is_checked_in_microseconds(path: Path) -> None:
    """The budget is one; the bound is wide, for machines that are busy with something else."""
    for _ in range(20):
        _, key = keys_file.add(path, ["decide"])
    authenticator, headers = Authenticator(path), bearer(key)
    authenticator.scope_problem(headers, "decide")

    def seconds_for_1000() -> float:
        start = time.perf_counter()
        for _ in range(1000):
            authenticator.scope_problem(headers, "decide")
        return time.perf_counter() - start

    assert min(seconds_for_1000() for _ in range(5)) < 0.01
