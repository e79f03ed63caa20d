"""`/v1/customers` over HTTP, on a real store: what callers are told, and what they are never told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import httpx
import pytest
from fastapi.openapi.utils import get_openapi

from app.core.customers import CustomerWrite
from app.flows.import_customers import BATCH, LINE_BYTES_MAX, LISTED_MAX, import_customers
from app.http.customer_bodies import Checker
from app.store.clients import open_client
from tests.support.customers import Services, customers_app, give_ids
from tests.support.valkey import store_server, store_url

__all__ = ["store_server", "store_url"]

CUSTOMER = {
    "attributes": {"recency": 3, "history": 142.4, "newbie": 1},
    "region": "US",
    "timezone": "America/New_York",
    "language": "en",
    "consent": [
        {
            "purpose": "marketing",
            "channel": "email",
            "state": "granted",
            "source": "signup_form",
            "basis": "consent",
            "at": "2026-01-01T00:00:00Z",
        },
        {
            "purpose": "personalisation",
            "channel": "*",
            "state": "granted",
            "source": "signup_form",
            "basis": "consent",
            "at": "2026-01-01T00:00:00+01:00",
        },
    ],
    "identities": {"user_id": "4711", "email_sha256": "ab" * 32},
    "preferences": {"frequency": "weekly", "paused": False},
}
WITHDRAWAL = {"state": "denied", "source": "preference_centre", "basis": "consent"}


@pytest.fixture
async def services(store_url: str) -> AsyncIterator[Services]:
    made = Services(open_client(store_url))
    await give_ids(made.client)
    yield made
    await made.client.aclose()


@pytest.fixture
async def http(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(customers_app(services))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    body: dict[str, Any] = response.json()
    assert body["code"] == code, body
    return body


async def test_a_customer_is_written_and_seen_masked(http: httpx.AsyncClient) -> None:
    written = await http.put("/v1/customers/cus_1", json=CUSTOMER)
    assert written.status_code == 200
    assert written.json()["version"] == 1

    view = (await http.get("/v1/customers/cus_1")).json()

    assert view["attributes"]["recency"]["value"] == "***"
    assert view["attributes"]["recency"]["type"] == "int"
    assert view["attributes"]["recency"]["as_of"] == written.json()["updated_at"]
    assert view["attributes"]["newbie"]["value"] == 1  # declared with sensitivity `none`
    assert (view["region"], view["timezone"], view["language"]) == ("US", "America/New_York", "en")
    assert [(c["purpose"], c["channel"], c["state"], c["at"]) for c in view["consent"]] == [
        ("marketing", "email", "granted", "2026-01-01T00:00:00.000Z"),
        ("personalisation", "*", "granted", "2025-12-31T23:00:00.000Z"),
    ]
    assert view["preferences"] == {"frequency": "weekly", "paused": False}
    assert view["versions"] == {"general": 1, "ledger": 0}
    assert view["contacts"] == 0


async def test_no_masked_value_and_no_alias_appears_anywhere_in_the_view(http: httpx.AsyncClient) -> None:
    await http.put("/v1/customers/cus_1", json=CUSTOMER)
    text = (await http.get("/v1/customers/cus_1")).text
    assert "142.4" not in text
    assert "4711" not in text
    assert "abab" not in text


async def test_attributes_of_an_earlier_bundle_stay_masked(http: httpx.AsyncClient, services: Services) -> None:
    await http.put("/v1/customers/cus_1", json=CUSTOMER)
    await services.fields.ensure(["a:once_declared"])
    field_id = services.fields.id_of("a:once_declared")
    await services.client.hset(services.keys.profile("cus_1"), field_id, b'"secret"')
    view = (await http.get("/v1/customers/cus_1")).json()
    assert view["attributes"]["once_declared"] == {"value": "***", "declared": False}


async def test_null_deletes_and_absence_keeps(http: httpx.AsyncClient) -> None:
    await http.put("/v1/customers/cus_1", json=CUSTOMER)
    await http.put(
        "/v1/customers/cus_1",
        json={"attributes": {"recency": None}, "timezone": None, "preferences": {"frequency": None}},
    )
    view = (await http.get("/v1/customers/cus_1")).json()
    assert sorted(view["attributes"]) == ["history", "newbie"]
    assert (view["region"], view["timezone"]) == ("US", None)
    assert view["preferences"] == {"paused": False}
    assert len(view["consent"]) == 2


async def test_an_unknown_customer_is_404(http: httpx.AsyncClient) -> None:
    problem(await http.get("/v1/customers/nobody"), 404, "unknown_customer")
    problem(await http.delete("/v1/customers/nobody/suppressions/*"), 404, "unknown_customer")


@pytest.mark.parametrize("key", ["jane%40example.com", "%2B4930123456", "555-123-4567", "(555)%20123%204567"])
async def test_a_key_that_looks_like_a_direct_identifier_is_refused_on_every_route(
    http: httpx.AsyncClient, key: str
) -> None:
    responses = [
        await http.put(f"/v1/customers/{key}", json={}),
        await http.get(f"/v1/customers/{key}"),
        await http.put(f"/v1/customers/{key}/consent/marketing/email", json=WITHDRAWAL),
        await http.put(f"/v1/customers/{key}/suppressions/*", json={"source": "desk"}),
        await http.delete(f"/v1/customers/{key}/suppressions/*"),
    ]
    for response in responses:
        body = problem(response, 422, "direct_identifier")
        assert "example.com" not in str(body)
        assert "555" not in str(body)


async def test_undeclared_attributes_are_named(http: httpx.AsyncClient) -> None:
    response = await http.put("/v1/customers/c", json={"attributes": {"recensy": 1, "recency": 2, "histroy": 3}})
    detail = problem(response, 422, "unknown_attribute")["detail"]
    assert "`recensy`" in detail
    assert "`histroy`" in detail
    assert "`recency`" not in detail


async def test_every_wrong_value_is_named_by_its_place_and_none_is_repeated(http: httpx.AsyncClient) -> None:
    body = {
        "attributes": {"recency": "secret-a", "zip_code": "secret-b", "history": -77777},
        "identities": {"email_sha256": "secret-c"},
        "preferences": {"frequency": "secret-d" * 20},
    }
    found = problem(await http.put("/v1/customers/c", json=body), 422, "invalid_request")
    assert [error["path"] for error in found["errors"]] == [
        "attributes.recency",
        "attributes.zip_code",
        "attributes.history",
        "preferences.frequency",
        "identities.email_sha256",
    ]
    assert "secret" not in str(found)
    assert "77777" not in str(found)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"region": "usa"}, "region"),
        ({"region": "XX"}, "region"),
        ({"region": "US-"}, "region"),
        ({"timezone": "Etc/GMT+5"}, "timezone"),
        ({"timezone": "EST"}, "timezone"),
        ({"timezone": "Mars/Base"}, "timezone"),
        ({"language": "english"}, "language"),
        ({"attributes": None}, "attributes"),
        ({"unheard_of": 1}, "unheard_of"),
        ({"preferences": {"Up": 1}}, "preferences.Up.[key]"),
        ({"preferences": {"up": [1]}}, "preferences.up.str"),
        ({"identities": {"email": "x"}}, "identities.email.[key]"),
        ({"consent": [{**WITHDRAWAL, "purpose": "marketing"}]}, "consent[0].channel"),
        ({"consent": [{**WITHDRAWAL, "purpose": "marketing", "channel": "E Mail"}]}, "consent[0].channel"),
        ({"consent": [{**WITHDRAWAL, "purpose": "marketing", "channel": "*", "at": "2026-01-01"}]}, "consent[0].at"),
        (
            {"consent": [{**WITHDRAWAL, "purpose": "marketing", "channel": "*", "at": "2026-01-01T00:00:00"}]},
            "consent[0].at",
        ),
        ({"consent": [{**WITHDRAWAL, "purpose": "marketing", "channel": "*", "at": 1767225600}]}, "consent[0].at"),
        ({"consent": [{**WITHDRAWAL, "purpose": "marketing", "channel": "*", "state": "maybe"}]}, "consent[0].state"),
    ],
)
async def test_a_body_that_does_not_fit_changes_nothing(
    http: httpx.AsyncClient, body: dict[str, Any], path: str
) -> None:
    response = await http.put("/v1/customers/c", json={"attributes": {"recency": 1}} | body)
    assert path in [error["path"] for error in problem(response, 422, "invalid_request")["errors"]]
    problem(await http.get("/v1/customers/c"), 404, "unknown_customer")


@pytest.mark.parametrize("region", ["DE", "US-CA", "GB-SCT"])
@pytest.mark.parametrize("timezone", ["Europe/Berlin", "UTC", "Etc/UTC", "Asia/Kolkata"])
@pytest.mark.parametrize("language", ["de", "pt-BR", "zh-Hant-TW"])
async def test_places_are_taken_as_the_standards_write_them(
    http: httpx.AsyncClient, region: str, timezone: str, language: str
) -> None:
    place = {"region": region, "timezone": timezone, "language": language}
    assert (await http.put("/v1/customers/c", json=place)).status_code == 200


@pytest.mark.parametrize("raw", [b"", b"{", b'{"a": 1,}', b"\xff", b"nope"])
async def test_what_is_not_json_is_400(http: httpx.AsyncClient, raw: bytes) -> None:
    problem(await http.put("/v1/customers/c", content=raw), 400, "malformed_json")
    problem(await http.put("/v1/customers/c/consent/marketing/email", content=raw), 400, "malformed_json")


async def test_a_withdrawal_is_acknowledged_with_the_new_version(http: httpx.AsyncClient) -> None:
    await http.put("/v1/customers/c", json=CUSTOMER)
    answer = (await http.put("/v1/customers/c/consent/marketing/email", json=WITHDRAWAL)).json()
    assert (answer["applied"], answer["version"]) == (True, 2)
    late = {**WITHDRAWAL, "state": "granted", "at": "2026-01-02T00:00:00Z"}
    answer = (await http.put("/v1/customers/c/consent/marketing/email", json=late)).json()
    assert (answer["applied"], answer["version"]) == (False, 2)
    view = (await http.get("/v1/customers/c")).json()
    assert [c["state"] for c in view["consent"] if c["channel"] == "email"] == ["denied"]


async def test_consent_for_a_purpose_that_nobody_declared_is_refused(http: httpx.AsyncClient) -> None:
    refused = await http.put("/v1/customers/c/consent/gossip/email", json=WITHDRAWAL)
    assert "`marketing`" in problem(refused, 422, "unknown_purpose")["detail"]
    item = {**WITHDRAWAL, "purpose": "gossip", "channel": "*"}
    problem(await http.put("/v1/customers/c", json={"consent": [item]}), 422, "unknown_purpose")


async def test_a_consent_of_the_future_is_refused(http: httpx.AsyncClient) -> None:
    body = {**WITHDRAWAL, "at": "2999-01-01T00:00:00Z"}
    problem(await http.put("/v1/customers/c/consent/marketing/*", json=body), 422, "future_time")


async def test_an_identity_of_another_customer_is_409(http: httpx.AsyncClient) -> None:
    await http.put("/v1/customers/a", json={"identities": {"external": "x-1"}})
    refused = problem(
        await http.put("/v1/customers/b", json={"identities": {"external": "x-1"}}), 409, "identity_conflict"
    )
    assert "x-1" not in str(refused)


async def test_suppressions_are_set_and_lifted(http: httpx.AsyncClient) -> None:
    for scope, body in [
        ("all", {"source": "desk"}),
        ("email", {"reason": "hard_bounce", "source": "esp", "at": "2026-01-01T00:00:00Z"}),
        ("email", {"reason": "complaint", "source": "esp"}),
        ("*", {"reason": "erased", "source": "desk"}),
    ]:
        assert (await http.put(f"/v1/customers/c/suppressions/{scope}", json=body)).status_code == 200
    view = (await http.get("/v1/customers/c")).json()
    assert [(s["scope"], s["reason"]) for s in view["suppressions"]] == [
        ("*", "erased"),
        ("*", "manual"),
        ("email", "complaint"),
        ("email", "hard_bounce"),
    ]

    lifted = (await http.delete("/v1/customers/c/suppressions/email?reason=complaint")).json()
    assert (lifted["lifted"], lifted["suppressions"]) == (["complaint"], 3)
    lifted = (await http.delete("/v1/customers/c/suppressions/all")).json()
    assert (lifted["lifted"], lifted["suppressions"]) == (["manual"], 2)
    problem(await http.delete("/v1/customers/c/suppressions/*?reason=erased"), 422, "invalid_request")


async def test_a_suppression_for_no_known_reason_is_refused(http: httpx.AsyncClient) -> None:
    body = {"reason": "dislike", "source": "desk"}
    problem(await http.put("/v1/customers/c/suppressions/*", json=body), 422, "invalid_request")
    problem(await http.put("/v1/customers/c/suppressions/*", json={}), 422, "invalid_request")
    problem(await http.delete("/v1/customers/c/suppressions/*?reason=dislike"), 422, "invalid_request")


def ndjson(*lines: object) -> bytes:
    return b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)


async def test_an_import_takes_the_good_lines_and_names_the_bad(http: httpx.AsyncClient) -> None:
    body = ndjson(
        {"customer": "a", **{k: v for k, v in CUSTOMER.items() if k != "identities"}},
        b"",
        b"{broken",
        {"customer": "jane@example.com"},
        {"customer": "b", "attributes": {"unheard": 1}},
        {"customer": "c", "attributes": {"recency": "x"}},
        {"attributes": {}},
        b'{"customer": "d", "attributes": {"nickname": "' + b"x" * LINE_BYTES_MAX + b'"}}',
        b"   \r",
        {
            "customer": "e",
            "consent": [{**WITHDRAWAL, "purpose": "marketing", "channel": "*", "at": "2999-01-01T00:00:00Z"}],
        },
        {"customer": "f", "region": "DE"},
    )
    answer = (await http.post("/v1/customers/bulk", content=body + b'{"customer": "last"}')).json()
    assert answer["accepted"] == 3
    assert [(each["line"], each["code"]) for each in answer["rejected"]] == [
        (3, "malformed_json"),
        (4, "direct_identifier"),
        (5, "unknown_attribute"),
        (6, "invalid_request"),
        (7, "invalid_request"),
        (8, "payload_too_large"),
        (10, "future_time"),
    ]
    assert answer["rejected_total"] == 7
    assert "example.com" not in str(answer)
    for customer in ("a", "f", "last"):
        assert (await http.get(f"/v1/customers/{customer}")).status_code == 200


async def test_an_import_whose_chunks_break_anywhere_is_the_same_import(http: httpx.AsyncClient) -> None:
    body = ndjson(*({"customer": f"c{i}", "attributes": {"nickname": "Jö"}} for i in range(30)))

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 7):
            yield body[start : start + 7]

    answer = (await http.post("/v1/customers/bulk", content=chunks())).json()
    assert (answer["accepted"], answer["rejected"]) == (30, [])


async def test_later_lines_of_one_customer_win(http: httpx.AsyncClient) -> None:
    lines = [{"customer": "c", "attributes": {"newbie": i % 2}} for i in range(BATCH * 2 + 2)]
    assert (await http.post("/v1/customers/bulk", content=ndjson(*lines))).json()["accepted"] == len(lines)
    assert (await http.get("/v1/customers/c")).json()["attributes"]["newbie"]["value"] == 1


async def test_an_import_counts_all_rejections_and_lists_the_first(http: httpx.AsyncClient) -> None:
    answer = (await http.post("/v1/customers/bulk", content=b"{\n" * (LISTED_MAX + 5))).json()
    assert answer["accepted"] == 0
    assert answer["rejected_total"] == LISTED_MAX + 5
    assert len(answer["rejected"]) == LISTED_MAX
    assert answer["rejected"][0]["line"] == 1


async def test_identities_are_claimed_in_the_order_of_the_lines(http: httpx.AsyncClient) -> None:
    lines = [{"customer": key, "identities": {"user_id": "u1"}} for key in ("a", "a", "b")]
    answer = (await http.post("/v1/customers/bulk", content=ndjson(*lines))).json()
    assert answer["accepted"] == 2
    assert [(each["line"], each["code"]) for each in answer["rejected"]] == [(3, "identity_conflict")]


async def test_an_import_ends_with_the_store_and_says_how_far_it_came(
    services: Services, http: httpx.AsyncClient
) -> None:
    lines = ndjson(*({"customer": f"c{i}"} for i in range(BATCH)))

    async def chunks() -> AsyncIterator[bytes]:
        yield lines
        yield lines
        # An unwritable type stands in the way of the second batch, as a failing store would.
        await services.client.set(services.keys.profile("broken"), "not a hash")
        yield ndjson({"customer": "broken"})

    body = problem(await http.post("/v1/customers/bulk", content=chunks()), 503, "store_unavailable")
    assert f"{BATCH * 2} lines were written before" in body["detail"]


async def test_a_caller_who_leaves_mid_import_has_its_gathered_batch_settled(services: Services) -> None:
    written: list[int] = []

    async def chunks() -> AsyncIterator[bytes]:
        yield ndjson(*({"customer": f"c{i}"} for i in range(BATCH)))
        raise ConnectionResetError

    async def write_many(writes: Sequence[CustomerWrite]) -> Sequence[object]:
        await asyncio.sleep(0)
        written.append(len(writes))
        return writes

    with pytest.raises(ConnectionResetError):
        await import_customers(chunks(), Checker(services.bundle).line, write_many)
    assert written == [BATCH]


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


async def test_every_route_documents_its_bodies_its_problems_and_examples(services: Services) -> None:
    document = get_openapi(title="t", version="1", routes=customers_app(services).routes)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], path
            assert "example" in operation["responses"]["200"]["content"]["application/json"]
            assert "application/problem+json" in operation["responses"]["503"]["content"]
            if method in ("put", "post"):
                (content,) = operation["requestBody"]["content"].values()
                assert content["examples"]
    names = {reference.rpartition("/")[2] for reference in references(document)}
    assert names <= set(document["components"]["schemas"])
