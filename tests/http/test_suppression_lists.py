"""`POST /v1/suppressions/bulk`, and lines of bulk routes that name customers by an alias."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.core.identity import fallback_key
from app.store.clients import open_client
from tests.support.customers import HASH_KEY, Services, customers_app, give_ids
from tests.support.valkey import store_server, store_url

__all__ = ["store_server", "store_url"]

DIGEST = "ab" * 32
OWN = fallback_key("email_sha256", DIGEST, HASH_KEY)


@pytest.fixture
async def http(store_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with open_client(store_url) as store:
        await give_ids(store)
        transport = httpx.ASGITransport(customers_app(Services(store)))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client


async def sent(http: httpx.AsyncClient, what: str, *lines: dict[str, Any]) -> dict[str, Any]:
    answer = await http.post(f"/v1/{what}/bulk", content="\n".join(map(json.dumps, lines)))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def stops(http: httpx.AsyncClient, customer: str) -> list[tuple[str, str]]:
    view = (await http.get(f"/v1/customers/{customer}")).json()
    return sorted((each["scope"], each["reason"]) for each in view["suppressions"])


async def test_good_stops_hold_and_bad_lines_are_named_without_what_they_said(http: httpx.AsyncClient) -> None:
    told = await sent(
        http,
        "suppressions",
        {"customer": "a", "source": "desk"},
        {"customer": "a", "source": "desk", "scope": "email", "reason": "complaint", "at": "2026-01-01T00:00:00Z"},
        {"customer": "reader@example.com", "source": "desk"},
        {"customer": {"email": "reader@example.com"}, "source": "desk"},
        {"customer": {"email_sha256": "short"}, "source": "desk"},
        {"customer": "b", "source": "desk", "reason": "boredom"},
        {"customer": "c", "source": "desk", "at": "2999-01-01T00:00:00Z"},
        {"customer": {}, "source": "desk"},
        {"customer": "d", "source": "desk"},
    )
    assert told["accepted"] == 3
    assert [(each["line"], each["code"]) for each in told["rejected"]] == [
        (3, "direct_identifier"),
        (4, "invalid_request"),
        (5, "invalid_request"),
        (6, "invalid_request"),
        (7, "future_time"),
        (8, "invalid_request"),
    ]
    assert "example.com" not in str(told)
    assert await stops(http, "a") == [("*", "manual"), ("email", "complaint")]
    assert await stops(http, "d") == [("*", "manual")]


async def test_a_stop_of_an_address_is_that_of_whom_it_is_linked_to(http: httpx.AsyncClient) -> None:
    await http.put("/v1/customers/known", json={"identities": {"email_sha256": DIGEST}})
    line = {"customer": {"email_sha256": DIGEST.upper()}, "source": "desk"}
    assert (await sent(http, "suppressions", line, line))["accepted"] == 2
    assert await stops(http, "known") == [("*", "manual")]
    assert (await http.get(f"/v1/customers/{OWN}")).status_code == 404


async def test_a_stop_of_nobody_s_address_is_kept_and_cannot_be_passed_by(http: httpx.AsyncClient) -> None:
    await sent(http, "suppressions", {"customer": {"email_sha256": DIGEST}, "source": "desk"})
    assert await stops(http, OWN) == [("*", "manual")]
    claimed = await http.put("/v1/customers/late", json={"identities": {"email_sha256": DIGEST}})
    assert (claimed.status_code, claimed.json()["code"]) == (409, "identity_conflict")


async def test_a_profile_that_is_told_by_an_alias_is_the_same_one_every_time(http: httpx.AsyncClient) -> None:
    by_alias = {"customer": {"email_sha256": DIGEST}, "attributes": {"newbie": 1}}
    assert (await sent(http, "customers", by_alias, by_alias | {"region": "DE"}))["accepted"] == 2
    view = (await http.get(f"/v1/customers/{OWN}")).json()
    assert (view["attributes"]["newbie"]["value"], view["region"]) == (1, "DE")
