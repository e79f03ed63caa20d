"""A key asks as often as its file says: over all routes, connections and workers; others are left alone."""

from __future__ import annotations

from pathlib import Path

import httpx

from app import keys_file
from app.http.auth import Authenticator
from tests.support.keyed import Keyed

DECIDE = {"customer": "cus_1", "placements": ["open"]}


def client_of(keyed: Keyed, name: str) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {keyed.keys[name]}"}
    return httpx.AsyncClient(base_url=keyed.server.url, timeout=60, headers=headers)


async def test_a_key_is_refused_beyond_its_rate_and_told_when_to_come_again(keyed: Keyed) -> None:
    async with client_of(keyed, "few") as client:
        answers = [await client.post("/v1/decide", json=DECIDE) for _ in range(7)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"key";q=5;w=3600'}
    assert [answer.headers["ratelimit"].split(";")[1] for answer in answers] == [
        f"r={n}" for n in (4, 3, 2, 1, 0, 0, 0)
    ]
    refused = answers[-1]
    assert (refused.json()["code"], refused.headers["content-type"]) == ("rate_limited", "application/problem+json")
    assert 1 <= int(refused.headers["retry-after"]) <= 720


async def test_all_routes_count_for_one_limit(keyed: Keyed) -> None:
    async with client_of(keyed, "all routes") as client:
        answers = [
            await client.post("/v1/decide", json=DECIDE),
            await client.post("/v1/decide/batch", content=b"", headers={"content-type": "application/x-ndjson"}),
            await client.get("/v1/customers/nobody"),
            await client.post("/v1/events", json={"type": "heartbeat"}),
            await client.post("/v1/track", json={"event": "Unknown", "userId": "u_1"}),
            await client.get("/v1/bundle"),
            await client.get("/v1/bundle"),
            await client.post("/v1/events", json={"type": "heartbeat"}),
            await client.post("/v1/decide", json=DECIDE),
            await client.get("/health/live"),
        ]
    assert [answer.status_code for answer in answers] == [200, 200, 404, 200, 200, 200, 429, 429, 429, 200]
    assert all("ratelimit" in answer.headers for answer in answers)


async def test_a_key_without_a_rate_is_neither_limited_nor_told_of_limits(keyed: Keyed) -> None:
    async with client_of(keyed, "free") as client:
        answers = [await client.post("/v1/decide", json=DECIDE) for _ in range(40)]
    assert {answer.status_code for answer in answers} == {200}
    assert [answer for answer in answers if "ratelimit" in answer.headers] == []


async def test_a_request_that_is_not_allowed_takes_nothing(keyed: Keyed) -> None:
    async with client_of(keyed, "lacking") as client:
        assert [(await client.get("/metrics")).status_code for _ in range(3)] == [403] * 3
        assert (await client.post("/v1/decide", json=DECIDE)).status_code == 200


async def test_two_workers_count_one_limit(keyed: Keyed) -> None:
    """One worker is stopped while the other is asked, so that each is asked half."""
    seen = []
    for _ in keyed.each_worker():
        async with client_of(keyed, "shared") as one:
            seen.append([(await one.post("/v1/decide", json=DECIDE)).status_code for _ in range(7)])
    assert seen == [[200] * 7, [200] * 3 + [429] * 4]


async def test_refusals_are_counted(keyed: Keyed) -> None:
    async with client_of(keyed, "counted") as client:
        answers = [await client.get("/v1/bundle") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 3 + [429] * 2
    async with client_of(keyed, "reader") as reader:
        lines = (await reader.get("/metrics")).text.splitlines()
    assert [line for line in lines if 'code="rate_limited"' in line and not line.endswith(" 0")] != []


def test_every_route_that_needs_a_key_documents_the_refusal(keyed: Keyed) -> None:
    paths = httpx.get(f"{keyed.server.url}/openapi.json").json()["paths"]
    protected = [
        (path, method, operation["responses"])
        for path, methods in paths.items()
        for method, operation in methods.items()
        if "security" in operation
    ]
    assert len(protected) > 20
    assert [(path, method) for path, method, responses in protected if "429" not in responses] == []


def test_a_file_with_a_wrong_rate_keeps_the_keys_of_before(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    _, key = keys_file.add(path, ["decide"], rate="5/s")
    authenticator = Authenticator(path)
    path.write_text(path.read_text().replace("5/s", "5/fortnight"))
    assert not authenticator.reload_if_changed()
    assert "line 1" in authenticator.findings[0]
    assert authenticator.scope_problem([(b"authorization", f"Bearer {key}".encode())], "decide") is None


def test_what_was_used_stays_used_when_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    _, key = keys_file.add(path, ["decide"], rate="2/h")
    authenticator, headers = Authenticator(path), [(b"authorization", f"Bearer {key}".encode())]
    assert authenticator.scope_problem(headers, "decide") is None
    keys_file.add(path, ["read"])
    assert authenticator.reload_if_changed()
    assert authenticator.scope_problem(headers, "decide") is None
    problem = authenticator.scope_problem(headers, "decide")
    assert problem is not None
    assert problem.code == "rate_limited"
