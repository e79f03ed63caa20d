"""`/v1/customers`: ends of consent, own hours, history, the PII matrix and time zones, as callers meet them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import keys_file
from app.http.auth import Authenticator
from app.store.clients import open_client
from policy.bundle import Handling
from tests.support.customers import BUNDLE, Services, customers_app, give_ids
from tests.support.valkey import store_server, store_url

__all__ = ["store_server", "store_url"]

GRANT = {"state": "granted", "source": "signup_form", "basis": "consent", "at": "2026-01-01T00:00:00Z"}
CONSENT = "/v1/customers/c/consent/marketing/email"


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


async def refused(http: httpx.AsyncClient, body: dict[str, Any], path: str, url: str = "/v1/customers/c") -> str:
    """The detail of the one refusal of a body, which is all that the customer's write left behind."""
    response = await http.put(url, json=body)
    assert response.status_code == 422, response.text
    (error,) = response.json()["errors"]
    assert error["path"] == path
    assert (await http.get("/v1/customers/c")).status_code == 404
    detail: str = error["detail"]
    return detail


async def history(http: httpx.AsyncClient) -> list[dict[str, Any]]:
    answer = await http.get("/v1/customers/c/history")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["history"]
    return found


async def test_a_consent_may_be_given_for_a_while(http: httpx.AsyncClient) -> None:
    end = "2028-01-01T01:00:00+01:00"
    answer = (await http.put(CONSENT, json={**GRANT, "expires_at": end})).json()
    assert (answer["applied"], answer["version"]) == (True, 1)
    item = {**GRANT, "purpose": "personalisation", "channel": "*", "expires_at": "2027-06-01T00:00:00Z"}
    await http.put("/v1/customers/c", json={"consent": [item]})
    line = {"customer": "c", "consent": [{**item, "channel": "push"}]}
    assert (await http.post("/v1/customers/bulk", content=json.dumps(line))).json()["accepted"] == 1
    view = (await http.get("/v1/customers/c")).json()
    assert [(c["channel"], c.get("expires_at")) for c in view["consent"]] == [
        ("email", "2028-01-01T00:00:00.000Z"),
        ("*", "2027-06-01T00:00:00.000Z"),
        ("push", "2027-06-01T00:00:00.000Z"),
    ]


async def test_a_consent_without_an_end_shows_none(http: httpx.AsyncClient) -> None:
    await http.put(CONSENT, json=GRANT)
    assert "expires_at" not in (await http.get("/v1/customers/c")).json()["consent"][0]


async def test_a_consent_that_has_ended_is_given_again_by_a_later_word(http: httpx.AsyncClient) -> None:
    await http.put(CONSENT, json={**GRANT, "expires_at": "2026-02-01T00:00:00Z"})
    again = {**GRANT, "at": "2026-03-01T00:00:00Z"}
    assert (await http.put(CONSENT, json=again)).json()["applied"] is True
    assert "expires_at" not in (await http.get("/v1/customers/c")).json()["consent"][0]


@pytest.mark.parametrize("end", ["2026-01-01T00:00:00Z", "2025-12-31T23:59:59Z"])
async def test_an_end_that_is_not_after_the_beginning_is_refused(http: httpx.AsyncClient, end: str) -> None:
    item = {**GRANT, "purpose": "marketing", "channel": "email", "expires_at": end}
    assert "`expires_at`" in await refused(http, {"consent": [item]}, "consent[0]")


async def test_an_end_that_has_passed_already_is_refused_where_the_consent_is_said_now(http: httpx.AsyncClient) -> None:
    body = {key: value for key, value in GRANT.items() if key != "at"} | {"expires_at": "2020-01-01T00:00:00Z"}
    response = await http.put(CONSENT, json=body)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert "`expires_at`" in response.json()["detail"]
    assert (await http.get("/v1/customers/c")).status_code == 404


@pytest.mark.parametrize("end", ["2028-01-01", "2028-01-01T00:00:00", 1830297600, "soon", "9999-12-31T23:59:59Z"])
async def test_an_end_is_a_time_with_a_zone(http: httpx.AsyncClient, end: object) -> None:
    item = {**GRANT, "purpose": "marketing", "channel": "email", "expires_at": end}
    await refused(http, {"consent": [item]}, "consent[0].expires_at")


@pytest.mark.parametrize("hours", ["18:00-21:00", "22:30-01:00", "00:00-23:59"])
async def test_a_customer_may_have_hours_of_their_own(http: httpx.AsyncClient, hours: str) -> None:
    assert (await http.put("/v1/customers/c", json={"preferences": {"best_hours": hours}})).status_code == 200
    assert (await http.get("/v1/customers/c")).json()["preferences"] == {"best_hours": hours}
    await http.put("/v1/customers/c", json={"preferences": {"best_hours": None}})
    assert (await http.get("/v1/customers/c")).json()["preferences"] == {}


@pytest.mark.parametrize(
    "hours", ["evenings", "18-21", "18:00-18:00", "24:00-08:00", "8:00-9:00", "18:00 - 21:00", "18:60-19:00", 18, True]
)
async def test_own_hours_that_are_none_are_refused_with_an_example(http: httpx.AsyncClient, hours: object) -> None:
    body = {"preferences": {"best_hours": hours}}
    assert "18:00-21:00" in await refused(http, body, "preferences.best_hours")


async def test_history_says_what_when_who_and_why(http: httpx.AsyncClient) -> None:
    customer = {"region": "US", "consent": [{**GRANT, "purpose": "marketing", "channel": "email"}]}
    await http.put("/v1/customers/c", json=customer)
    await http.put(CONSENT, json={**GRANT, "at": "2025-01-01T00:00:00Z"})
    await http.put("/v1/customers/c/suppressions/email", json={"source": "desk", "why": "ticket 7"})
    await http.delete("/v1/customers/c/suppressions/email?why=ticket%208")
    lifted, suppressed, late, region, granted = await history(http)
    assert (lifted["what"], lifted["scope"], lifted["reason"]) == ("suppression_lifted", "email", "manual")
    assert (lifted["who"], lifted["why"]) == ("loopback", "ticket 8")
    assert (suppressed["what"], suppressed["source"], suppressed["why"]) == ("suppression", "desk", "ticket 7")
    assert (late["what"], late["superseded"], late["why"]) == ("consent", True, "signup_form")
    assert (region["what"], region["region"], region["why"]) == ("region", "US", None)
    assert (granted["state"], granted["at"], "superseded" in granted) == ("granted", "2026-01-01T00:00:00.000Z", False)
    assert granted["recorded_at"] > "2026-01-01"


async def test_an_import_is_history_too(http: httpx.AsyncClient) -> None:
    line = {"customer": "c", "consent": [{**GRANT, "purpose": "marketing", "channel": "*"}], "why": "crm move"}
    await http.post("/v1/customers/bulk", content=json.dumps(line))
    (granted,) = await history(http)
    assert (granted["purpose"], granted["channel"], granted["why"]) == ("marketing", "*", "crm move")


async def test_history_names_the_key_that_said_so(services: Services, tmp_path: Path) -> None:
    stored, key = keys_file.add(tmp_path / "keys", ("collect", "read"))
    services.authenticator = Authenticator(tmp_path / "keys")
    transport = httpx.ASGITransport(customers_app(services))
    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as http:
        await http.put(CONSENT, json=GRANT)
        await http.put("/v1/customers/c/suppressions/*", json={"source": "desk"})
        assert [change["who"] for change in await history(http)] == [stored.id, stored.id]


async def test_the_history_of_nobody_is_404(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v1/customers/nobody/history")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_customer")
    assert (await http.get("/v1/customers/jane%40example.com/history")).status_code == 422


@pytest.mark.parametrize(
    "why", ["x" * 201, "", "asked by jane@example.com", "called from +49 30 1234567", "555-123-4567", "two\nlines", 7]
)
async def test_a_reason_is_short_and_names_nobody(http: httpx.AsyncClient, why: object) -> None:
    detail = await refused(http, {"why": why}, "why")
    assert "example.com" not in detail
    await refused(http, {**GRANT, "why": why}, "why", CONSENT)
    await refused(http, {"source": "desk", "why": why}, "why", "/v1/customers/c/suppressions/*")


@pytest.mark.parametrize("why", ["ticket 4711, of 2026-11-24 08:15", "order 20261124-991 (refund)", "Frühjahrsmesse"])
async def test_a_reason_may_be_a_ticket_a_date_or_an_occasion(http: httpx.AsyncClient, why: str) -> None:
    assert (await http.put(CONSENT, json={**GRANT, "why": why})).status_code == 200
    assert (await history(http))[0]["why"] == why


MATRIX = dataclasses.replace(
    BUNDLE,
    handling={
        "nickname": Handling(hash=True),
        "history": Handling(drop=True),
        "zip_code": Handling(hash=True),
        "newbie": Handling(never_shown=True),
        "recency": Handling(delete_s=60),
        "phone": Handling(drop=True),
    },
)


async def test_what_the_bundle_wants_dropped_is_accepted_named_and_not_kept(
    http: httpx.AsyncClient, services: Services
) -> None:
    services.bundle = MATRIX
    body = {"attributes": {"history": "any thing", "zip_code": "Urban", "member": True}}
    answer = await http.put("/v1/customers/c", json=body)
    assert (answer.status_code, answer.json()["dropped"]) == (200, ["history", "zip_code"])
    assert list((await http.get("/v1/customers/c")).json()["attributes"]) == ["member"]
    lines = b"\n".join(json.dumps({"customer": name, **body}).encode() for name in "ab")
    tally = (await http.post("/v1/customers/bulk", content=lines)).json()
    assert (tally["accepted"], tally["dropped"]) == (2, ["history", "zip_code"])
    assert "dropped" not in (await http.put("/v1/customers/c", json={"attributes": {"member": False}})).json()


async def test_what_nobody_declared_is_refused_still(http: httpx.AsyncClient, services: Services) -> None:
    services.bundle = dataclasses.replace(BUNDLE, handling={"ip_address": Handling(drop=True)})
    answer = await http.put("/v1/customers/c", json={"attributes": {"ip_address": "192.0.2.1"}})
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_attribute")


async def test_what_the_bundle_wants_hashed_is_stored_as_a_keyed_hash_alone(
    http: httpx.AsyncClient, services: Services
) -> None:
    services.bundle = MATRIX
    await http.put("/v1/customers/c", json={"attributes": {"nickname": "Pet name"}})
    await http.put("/v1/customers/d", json={"attributes": {"nickname": "Pet name"}})
    services.hash_key = b"another deployment"
    await http.put("/v1/customers/e", json={"attributes": {"nickname": "Pet name"}})
    field = services.fields.id_of("a:nickname")
    stored = [await services.client.hget(services.keys.profile(name), field) for name in "cde"]
    assert stored[0] == stored[1] != stored[2]
    assert len(stored[0]) == 34  # 128 bits in hexadecimal, in quotes
    assert b"Pet" not in b"".join(await services.client.hvals(services.keys.profile("c")))
    too_long = await http.put("/v1/customers/c", json={"attributes": {"nickname": "x" * 41}})
    assert too_long.status_code == 422
    services.hash_key = b""
    early = await http.put("/v1/customers/c", json={"attributes": {"nickname": "Pet name"}})
    assert (early.status_code, early.json()["code"]) == (503, "store_unavailable")


async def test_what_may_never_leave_is_masked_though_it_is_not_personal(
    http: httpx.AsyncClient, services: Services
) -> None:
    await http.put("/v1/customers/c", json={"attributes": {"newbie": 1}})
    assert (await http.get("/v1/customers/c")).json()["attributes"]["newbie"]["value"] == 1
    services.bundle = MATRIX
    assert (await http.get("/v1/customers/c")).json()["attributes"]["newbie"]["value"] == "***"


async def test_what_is_over_its_time_is_not_shown(http: httpx.AsyncClient, services: Services) -> None:
    services.bundle = MATRIX
    await http.put("/v1/customers/c", json={"attributes": {"recency": 3, "member": True}})
    assert sorted((await http.get("/v1/customers/c")).json()["attributes"]) == ["member", "recency"]
    own = b"@" + services.fields.id_of("a:recency")
    set_at = int(await services.client.hget(services.keys.profile("c"), own))
    await services.client.hset(services.keys.profile("c"), own, set_at - 60_000)
    assert sorted((await http.get("/v1/customers/c")).json()["attributes"]) == ["member"]


async def test_a_kind_of_identity_that_the_bundle_does_not_collect_is_refused(
    http: httpx.AsyncClient, services: Services
) -> None:
    services.bundle = MATRIX
    body = {"identities": {"phone_sha256": "ab" * 32, "user_id": "4711"}}
    assert "`phone`" in await refused(http, body, "identities.phone_sha256")
    assert (await http.put("/v1/customers/c", json={"identities": {"user_id": "4711"}})).status_code == 200


async def test_of_a_merged_customer_the_other_is_shown_and_written(http: httpx.AsyncClient, services: Services) -> None:
    await http.put("/v1/customers/winner", json={"region": "DE"})
    await services.client.hset(services.keys.profile("c"), "!m", ">winner")
    assert (await http.get("/v1/customers/c")).json()["customer"] == "winner"
    assert (await http.put(CONSENT, json=GRANT)).json()["customer"] == "winner"
    assert (await http.delete("/v1/customers/c/suppressions/*")).json()["customer"] == "winner"
    await services.client.hset(services.keys.profile("winner"), "!m", "p")
    assert (await http.get("/v1/customers/c")).json()["merge_pending"] is True


NO_ZONES = [
    "+02:00", "UTC+1", "GMT+1", "GMT", "GMT0", "Etc/GMT-2", "Etc/UCT", "EST", "EST5EDT", "CET", "Zulu", "Z",
    "Greenwich", "Universal", "Factory", "Europe/berlin", "Europe/Nowhere", "Europe/", "Europe", "posix/Europe/Berlin",
    "right/Europe/Berlin", "../Europe/Berlin", "/Europe/Berlin", "Berlin", "", " Europe/Berlin", "localtime",
]  # fmt: skip


@pytest.mark.parametrize("zone", NO_ZONES)
async def test_a_fixed_offset_or_an_unknown_zone_is_refused(http: httpx.AsyncClient, zone: str) -> None:
    assert "`Europe/Berlin`" in await refused(http, {"timezone": zone}, "timezone")
    line = {"customer": "c", "timezone": zone}
    (rejected,) = (await http.post("/v1/customers/bulk", content=json.dumps(line))).json()["rejected"]
    assert (rejected["code"], rejected["errors"][0]["path"]) == ("invalid_request", "timezone")
