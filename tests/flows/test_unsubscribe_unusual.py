"""Unsubscribing where something is not as usual: customers who are unknown, merged or erased, a store that is away,
keys that change, servers that do not know their address. With everything that a server has, without its process.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.core.decision.ids import pack_id
from app.core.outcomes import OF_PURPOSE
from app.core.unsubscribe import Link, keyring
from app.http import problems, unsubscribe
from app.http.decide import DecideEndpoint
from app.http.outcome_bodies import OUTCOME
from app.http.unsubscribe_links import UnsubscribeLinks
from app.services import Services
from app.settings import Settings
from app.store.clients import open_client
from app.store.erasure import Tombstones
from policy.bundle import Bundle
from tests.flows.conftest import Flow
from tests.support.contract import ATTRIBUTES, EVERYTHING_ALLOWED, contract_bundle

ONE_CLICK = {"List-Unsubscribe": "One-Click"}
BROWSER = {"accept": "text/html", "accept-language": "en"}
DECISION = "dec_0110197a1c2b3c4d5e6f70819200"
NEW = "k" * 32
KNOWN: dict[str, Any] = {"attributes": ATTRIBUTES, "region": "DE", "timezone": "UTC", "consent": EVERYTHING_ALLOWED}
Told = dict[str, Any]


@asynccontextmanager
async def serving(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    """The resource alone, on the services of a flow."""
    app = FastAPI()
    app.include_router(unsubscribe.router)
    problems.install(app, lambda _: None)
    app.state.services = services
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        yield http


@pytest.fixture
async def http(flow: Flow) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(flow.services) as client:
        yield client


def set_up(services: Services, bundle: Bundle | None = None, **changed: Any) -> Services:
    """The same services under other settings."""
    given = Settings(bundle=services.settings.bundle, redis_url=services.settings.redis_url, **changed)
    return dataclasses.replace(services, settings=given, bundle=bundle or services.bundle)


def link_of(services: Services, customer: str, decision: str = DECISION, purpose: str = "marketing") -> str:
    """The path of a link, as a decision would carry it."""
    keys = keyring(None, services.hash_key)
    assert keys is not None
    return f"/v1/unsubscribe/{keys.seal(Link(purpose, 'email', customer, pack_id(decision)))}"


async def decided(services: Services, customer: str, host: str = "localhost:8000", **more: Any) -> tuple[int, Told]:
    """`POST /v1/decide` past the wire: status and body."""
    body = {"customer": customer, "placements": ["weekly"], "budget_ms": 2000, **more}
    endpoint = DecideEndpoint(services)
    reply = await endpoint.answer(orjson.dumps(body), [(b"host", host.encode())], endpoint._now_s())
    return reply.status, orjson.loads(reply.body)


async def first(services: Services, customer: str, **more: Any) -> Told:
    status, answer = await decided(services, customer, **more)
    assert status == 200, answer
    found: Told = answer["decisions"][0]
    return found


async def link_for(services: Services, customer: str) -> str:
    decision = await first(services, customer, unsubscribe=True)
    return str(decision["list_unsubscribe"]["List-Unsubscribe"]).strip("<>").removeprefix("http://localhost:8000")


# Who a link is about


async def test_a_customer_whom_nobody_knows_is_known_to_have_unsubscribed(flow: Flow, http: httpx.AsyncClient) -> None:
    path = link_of(flow.services, "cus_new")
    assert "Unsubscribe?" in (await http.get(path, headers=BROWSER)).text
    assert (await http.post(path, data=ONE_CLICK)).status_code == 200
    await flow.know("cus_new", **KNOWN)  # an import of what was said before
    assert (await first(flow.services, "cus_new"))["reason"] == "consent_denied"


async def test_who_may_be_sent_something_in_some_region_can_say_no(flow: Flow, http: httpx.AsyncClient) -> None:
    await flow.know("cus_anywhere", attributes={"member": True})
    sent = await first(flow.services, "cus_anywhere", context={"region": "US"}, unsubscribe=True)
    assert sent["action"] == "send"
    path = link_of(flow.services, "cus_anywhere", sent["decision_id"])
    assert "Unsubscribe?" in (await http.get(path, headers=BROWSER)).text
    assert (await http.post(path, data={"action": "withdraw"}, headers=BROWSER)).status_code == 200
    assert (await first(flow.services, "cus_anywhere", context={"region": "US"}))["reason"] == "consent_denied"


async def test_a_link_of_who_became_another_customer_unsubscribes_that_one(flow: Flow, http: httpx.AsyncClient) -> None:
    await flow.know("cus_w", **KNOWN)
    await flow.know("cus_l", **KNOWN)
    path = await link_for(flow.services, "cus_l")
    assert await flow.services.merges.merge("cus_l", "cus_w", "desk") == "cus_w"
    assert (await http.post(path, data=ONE_CLICK)).status_code == 200
    assert (await first(flow.services, "cus_w"))["reason"] == "consent_denied"
    assert "You are unsubscribed" in (await http.get(path, headers=BROWSER)).text


async def test_an_old_link_of_who_was_erased_is_answered_and_brings_nobody_back(
    flow: Flow, http: httpx.AsyncClient
) -> None:
    await flow.know("cus_gone", **KNOWN)
    path = await link_for(flow.services, "cus_gone")
    services = flow.services
    assert await Tombstones(services.client, services.keys, services.fields).erase("cus_gone", "ers_1")
    assert "You get no marketing emails" in (await http.get(path, headers=BROWSER)).text
    for form in ({"action": "grant", "purpose": "marketing"}, ONE_CLICK, {"action": "withdraw_all"}, ONE_CLICK):
        assert (await http.post(path, data=form)).status_code == 200
    assert (await first(flow.services, "cus_gone"))["reason"] == "suppressed:erased"


async def test_a_decision_that_is_not_remembered_does_not_stand_in_the_way(flow: Flow, http: httpx.AsyncClient) -> None:
    await flow.know("cus_late", **KNOWN)
    dry = await first(flow.services, "cus_late", dry_run=True, unsubscribe=True)
    for decision in (DECISION, "dec_" + "f" * 28, dry["decision_id"]):
        assert (await http.post(link_of(flow.services, "cus_late", decision), data=ONE_CLICK)).status_code == 200
    assert (await first(flow.services, "cus_late"))["reason"] == "consent_denied"


async def test_a_purpose_that_the_bundle_has_lost_is_withdrawn_all_the_same(
    flow: Flow, http: httpx.AsyncClient
) -> None:
    await flow.know("cus_old", **KNOWN)
    assert (await http.post(link_of(flow.services, "cus_old", purpose="gone_now"), data=ONE_CLICK)).status_code == 200
    async with serving(dataclasses.replace(flow.services, bundle=contract_bundle())) as later:
        assert "Gone now" in (await later.get(link_of(flow.services, "cus_old", purpose="gone_now"))).text


# When the store is away


@pytest.mark.parametrize("way", ["get", "post", "form"])
async def test_while_the_store_is_away_a_link_is_answered_503_and_when_to_try_again(flow: Flow, way: str) -> None:
    async with AsyncExitStack() as stack:
        nobody = open_client("unix:///nowhere/store.sock")
        stack.push_async_callback(nobody.aclose)
        away = await stack.enter_async_context(serving(dataclasses.replace(flow.services, client=nobody)))
        path = link_of(flow.services, "cus_1")
        calls: dict[str, Callable[..., Any]] = {
            "get": lambda **more: away.get(path, **more),
            "post": lambda **more: away.post(path, data=ONE_CLICK, **more),
            "form": lambda **more: away.post(path, data={"action": "grant"}, **more),
        }
        answer = await calls[way]()
        assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
        assert answer.headers["retry-after"] == "1"
        seen = await calls[way](headers=BROWSER)
        assert (seen.status_code, seen.headers["retry-after"]) == (503, "1")
        assert "Please try again in a minute" in seen.text


async def test_before_the_hash_key_is_known_no_link_is_called_damaged(flow: Flow) -> None:
    path = link_of(flow.services, "cus_1")
    async with serving(dataclasses.replace(flow.services, hash_key=b"")) as early:
        assert (await early.post(path, data=ONE_CLICK)).status_code == 503
        assert (await early.post("/v1/unsubscribe/nonsense", data=ONE_CLICK)).status_code == 404


# Keys and addresses


async def test_links_of_before_the_keys_were_changed_work(flow: Flow) -> None:
    await flow.know("cus_kept", **KNOWN)
    old = await link_for(flow.services, "cus_kept")
    changed = set_up(flow.services, unsubscribe_keys=f"k1:{NEW}")
    new = await link_for(changed, "cus_kept")
    assert "/1.k1." in new
    async with serving(changed) as http:
        assert (await http.post(old, data=ONE_CLICK)).status_code == 200
    async with serving(flow.services) as other:  # a node that does not have the key
        assert (await other.post(new, data=ONE_CLICK)).status_code == 404


async def test_links_name_the_public_address_where_there_is_one(flow: Flow) -> None:
    await flow.know("cus_far", **KNOWN)
    public = set_up(flow.services, public_url="https://mail.example.com/nb/", host="0.0.0.0")
    headers = (await first(public, "cus_far", unsubscribe=True))["list_unsubscribe"]
    assert headers["List-Unsubscribe"].startswith("<https://mail.example.com/nb/v1/unsubscribe/1.0.")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "",
        "evil.example\r\nx: y",
        "a b",
        "<x>",
        "user@example.com",
        "example.com/path",
        "[::1",
    ],
)
async def test_nothing_is_decided_whose_link_would_name_a_host_that_could_be_anybody_s(flow: Flow, host: str) -> None:
    await flow.know("cus_host", **KNOWN)
    status, answer = await decided(flow.services, "cus_host", host=host, unsubscribe=True)
    assert (status, answer["code"]) == (501, "not_configured")


async def test_a_server_that_does_not_know_its_address_decides_nothing_that_needs_it(flow: Flow) -> None:
    await flow.know("cus_lost", **KNOWN)
    lost = set_up(flow.services, host="0.0.0.0")
    status, answer = await decided(lost, "cus_lost", unsubscribe=True)
    assert (status, answer["code"]) == (501, "not_configured")
    assert "NEXTBEST_PUBLIC_URL" in answer["detail"]
    assert (await first(lost, "cus_lost"))["action"] == "send"


def offering() -> Bundle:
    """The contract bundle, whose `weekly` says that its answers carry a link."""
    bundle = contract_bundle()
    changed = {
        name: dataclasses.replace(each, unsubscribe=name in ("weekly", "receipt"))
        for name, each in bundle.placements.items()
    }
    return dataclasses.replace(bundle, placements=changed)


async def test_a_placement_that_offers_a_link_does_so_unless_the_caller_says_no(flow: Flow) -> None:
    await flow.know("cus_offer", **KNOWN)
    offered = set_up(flow.services, offering())
    asked = await decided(offered, "cus_offer", placements=["weekly", "push", "receipt"])
    assert ["list_unsubscribe" in each for each in asked[1]["decisions"]] == [True, False, False]
    assert "list_unsubscribe" not in await first(offered, "cus_offer", unsubscribe=False)


async def test_an_offer_that_cannot_be_kept_is_logged_once_and_decisions_go_on(
    flow: Flow, caplog: pytest.LogCaptureFixture
) -> None:
    await flow.know("cus_quiet", **KNOWN)
    lost = set_up(flow.services, offering(), host="0.0.0.0")
    with caplog.at_level(logging.WARNING, logger="nextbest.unsubscribe"):
        assert "list_unsubscribe" not in await first(lost, "cus_quiet")
        UnsubscribeLinks(lost)
    assert [("`weekly`" in each.message, "NEXTBEST_PUBLIC_URL" in each.message) for each in caplog.records] == [
        (True, True)
    ]


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("public_url", "http://mail.example.com", "https://"),
        ("public_url", "mail.example.com", "https://"),
        ("public_url", "https://", "https://"),
        ("public_url", "https://user:secret@example.com", "https://"),
        ("public_url", "https://example.com/?a=b", "https://"),
        ("public_url", "https://example.com/>", "https://"),
        ("unsubscribe_keys", "k1:short", "32 characters"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused_at_the_start(setting: str, value: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Settings.model_validate({setting: value})


def test_an_address_on_this_machine_needs_no_https() -> None:
    assert Settings(public_url="http://127.0.0.1:8000/").public_url == "http://127.0.0.1:8000"
    assert Settings(public_url="http://localhost").public_url == "http://localhost"


# What others could say


def test_no_caller_can_say_that_an_unsubscription_is_of_a_purpose_alone() -> None:
    with pytest.raises(ValidationError):
        OUTCOME.validate_python({"type": "unsubscribed", "scope": OF_PURPOSE})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=50)
@given(JSON)
def test_what_orjson_wrote_it_writes_again(value: Any) -> None:
    """On which it hangs that adding links leaves all else of an answer to the byte."""
    written = orjson.dumps(value)
    assert orjson.dumps(orjson.loads(written)) == written
