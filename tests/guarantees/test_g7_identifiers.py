"""G7: no direct identifier in logs, spans, metrics, decision records, features or problems.

Somebody's e-mail address, telephone number, name and IP address are sent wherever a caller can put a text: as keys, as
values, as headers, in bodies that are broken. Then everything that the product writes is searched for them. Only what a
bundle declares as free text may hold what was put there: the profile's own attribute, and the record's own context.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote

import pytest
import redis

from app.store.keys import CTL_SWITCHES_LOG
from tests.support import look
from tests.support.otlp import Collector, collector
from tests.support.scripted import ProxyBeside, proxy_beside
from tests.support.server import Answer, Client, Server
from tests.support.valkey import Store
from tests.support.written import in_store

EMAIL, PHONE, NAME, ADDRESS = "zoe.quill@example.com", "+49-30-555-0199", "Zoe Quillfeather", "203.0.113.77"
PERSON = (EMAIL, PHONE, NAME, ADDRESS)
#: What is searched for: also parts, other cases and other spellings of the same.
NEEDLES = tuple(
    needle.encode()
    for needle in ("zoe.quill", "zoe%2equill", "555-0199", "5550199", "quillfeather", "203.0.113.77", "203.0.113")
)


@pytest.fixture(scope="module")
def telemetry() -> Iterator[Collector]:
    with collector() as received:
        yield received


@pytest.fixture(scope="module")
def own() -> Iterator[Store]:
    store = Store()
    store.start()
    yield store
    store.remove()


@pytest.fixture(scope="module")
def way(own: Store) -> Iterator[ProxyBeside]:
    with proxy_beside(own.socket_path) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def server(own: Store, way: ProxyBeside, telemetry: Collector) -> Iterator[Server]:
    settings: dict[str, Any] = {"OTEL_EXPORTER_OTLP_ENDPOINT": telemetry.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with Server.on(way.url, trace_ratio="1", **settings) as server:
        yield server


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    yield server.client
    await server.client.close()


def found_in(text: bytes) -> list[bytes]:
    return [needle for needle in NEEDLES if needle in text.lower()]


async def everything_is_sent(client: Client) -> list[Answer]:
    """A person's data in every place that takes a text."""
    answers = []
    for secret in PERSON:
        decide = {"customer": "cus_1", "placements": ["open"]}
        headers: list[dict[str, str]] = [
            {"idempotency-key": secret},
            {"traceparent": f"00-{secret}-{secret}-01"},
            {"tracestate": f"vendor={secret}"},
            {"x-forwarded-for": secret, "forwarded": f"for={secret}", "x-real-ip": secret},
            {"user-agent": secret, "referer": f"https://example.com/{secret}", "cookie": f"who={secret}"},
            {"authorization": f"Bearer {secret}"},
            {"x-customer": secret, "baggage": f"who={secret}"},
        ]
        for more in headers:
            answers.append(await client.ask("POST", "/v1/decide", decide, more))
        bodies: list[Any] = [
            decide | {"customer": secret},
            decide | {"customer": {"user_id": secret}},
            decide | {"customer": {"anonymous_id": secret}},
            decide | {"customer": {"external": secret}},
            decide | {"customer": {"email_sha256": secret}},
            decide | {"customer": {"email": secret}},
            decide | {"customer": {secret: "x"}},
            decide | {"customer": [secret]},
            decide | {"placements": [secret]},
            decide | {"placements": secret},
            decide | {"budget_ms": secret},
            decide | {"explain": secret},
            decide | {secret: 1},
            decide | {"context": {secret: 1}},
            decide | {"context": {"trigger": secret}},
            decide | {"context": {"region": secret}},
            decide | {"context": {"timezone": secret}},
            decide | {"context": {"language": secret}},
            decide | {"context": {"remark": secret * 9}},
            decide | {"context": {"remark": {"deep": secret}}},
            f'{{"customer": "{secret}'.encode(),
            secret.encode(),
            f'{{"customer": "cus_1", "placements": ["open"], "customer": "{secret}"}}'.encode(),
            f'["{secret}"]'.encode(),
            b"\xff" + secret.encode(),
        ]
        for body in bodies:
            answers.append(await client.ask("POST", "/v1/decide", body))
        answers += await written_about(client, secret)
    return answers


async def written_about(client: Client, secret: str) -> list[Answer]:
    key, consent = quote(secret, safe=""), {"state": "granted", "source": "crm", "basis": "consent"}
    customers: list[Any] = [
        {"attributes": {secret: 1}},
        {"attributes": {"mood": secret}},
        {"attributes": {"plan": secret}},
        {"attributes": {"note": secret * 9}},
        {"region": secret},
        {"timezone": secret},
        {"language": secret},
        {"consent": [consent | {"purpose": secret, "channel": "email"}]},
        {"consent": [consent | {"purpose": "marketing", "channel": secret}]},
        {"consent": [consent | {"purpose": "marketing", "channel": "email", "state": secret}]},
        {"consent": [consent | {"purpose": "marketing", "channel": "email", "at": secret}]},
        {"identities": {"email_sha256": secret}},
        {"identities": {secret: "x"}},
        {"identities": {"user_id": secret, "anonymous_id": f"a {secret}", "external": f"e {secret}"}},
        {"preferences": {secret: True}},
        {secret: 1},
        secret.encode(),
    ]
    asks: list[tuple[str, str, Any]] = [("PUT", "/v1/customers/cus_1", body) for body in customers]
    lines = b"\n".join(json.dumps({"customer": key} | c).encode() for c in customers if isinstance(c, dict))
    asks += [
        ("PUT", f"/v1/customers/{key}", {}),
        ("GET", f"/v1/customers/{key}", None),
        ("GET", f"/v1/decisions/{key}", None),
        ("GET", f"/v1/{key}?who={key}", None),
        ("PUT", f"/v1/customers/cus_1/consent/{key}/email", consent),
        ("PUT", f"/v1/customers/cus_1/consent/marketing/{key}", consent),
        ("PUT", f"/v1/customers/cus_1/suppressions/{key}", {"source": "desk"}),
        ("DELETE", f"/v1/customers/cus_1/suppressions/email?reason={key}", None),
        ("POST", "/v1/customers/bulk", lines + b"\n" + secret.encode() + b'\n{"customer":"' + secret.encode()),
        ("POST", "/v1/decide/batch", lines + b"\n" + secret.encode()),
        ("GET", "/health/ready?" + key, None),
    ]
    return [await client.ask(*ask, {"content-type": "application/x-ndjson"}) for ask in asks]


async def test_what_identifies_a_person_stays_nowhere(
    server: Server, client: Client, own: Store, way: ProxyBeside, telemetry: Collector
) -> None:
    await client.welcome("cus_1", "cus_2")
    answers = await everything_is_sent(client)
    assert {answer.status for answer in answers} >= {200, 400, 404, 422}
    assert {answer.status for answer in answers} <= {200, 400, 404, 405, 415, 422}
    # What goes wrong inside may quote what it was given.
    way.do(lambda faulty: faulty.garble(b"-ERR " + " ".join(PERSON).encode() + b"\r\n"))
    answers.append(await client.decide("cus_2", "open", key="of-a-garbled-read"))
    way.do(lambda faulty: faulty.garble(b"-WRONGTYPE " + EMAIL.encode() + b"\r\n"))
    answers.append(await client.ask("PUT", "/v1/customers/cus_2", {"attributes": {"plan": "paid"}}))
    way.heal()
    await not_http(server)
    leaks = [(answer.status, answer.body, found) for answer in answers if (found := found_in(answer.body))]
    assert leaks == []
    assert [answer.headers for answer in answers if found_in(str(answer.headers).encode())] == []
    assert found_in(server.log.encode()) == []
    assert found_in(server.get("/metrics")[1]) == []
    assert found_in(server.get("/openapi.json")[1]) == []
    await asyncio.to_thread(telemetry.wait_for_spans, 100)
    assert [found_in(body) for body in telemetry.bodies if found_in(body)] == []
    with redis.Redis(unix_socket_path=str(own.socket_path)) as inside:
        leaks_in_store = [(key, found) for key, held in in_store(inside).items() if (found := found_in(held))]
    assert leaks_in_store == []


async def not_http(server: Server) -> None:
    for raw in (f"GET /{EMAIL} HTTP/9\r\n\r\n", f"{NAME}\r\n\r\n", f"POST /v1/decide HTTP/1.1\r\n{EMAIL}\r\n\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(raw.encode())
        assert found_in(await reader.read(4096)) == []
        writer.close()
        await writer.wait_closed()


async def test_declared_text_stays_where_it_was_declared(
    server: Server, client: Client, own: Store, telemetry: Collector
) -> None:
    """A profile keeps the text that the bundle lets it keep; a record keeps the context it was asked with, and shows a
    personal fact masked. Neither goes any further."""
    before = len(telemetry.spans)
    await client.welcome("cus_3", note=NAME)
    answer = await client.decide("cus_3", "open", "moody", context={"remark": EMAIL}, explain=True)
    record = await client.record(answer.first["decision_id"])
    shown = await client.ask("GET", "/v1/customers/cus_3")
    assert found_in(answer.body) == found_in(shown.body) == []
    assert NAME.encode() not in record.body
    assert found_in(server.log.encode()) == found_in(server.get("/metrics")[1]) == []
    await asyncio.to_thread(telemetry.wait_for_spans, before + 1)
    assert [found_in(body) for body in telemetry.bodies if found_in(body)] == []
    with redis.Redis(unix_socket_path=str(own.socket_path)) as inside:
        holding = {key.encode() for key, held in in_store(inside).items() if found_in(held)}
    keys = look.KEYS.of("cus_3")
    assert holding <= {keys.profile, keys.decisions}
    assert keys.profile in holding


async def said_of_policy(client: Client, secret: str, sent: str) -> list[Answer]:
    """What people say of switches, consents and outcomes: reasons in their own words, and everything beside them."""
    key, why = quote(secret, safe=""), {"why": secret}
    off, consent = {"state": "off", "by": "crm_oncall", "why": "a drill"}, {"source": "crm", "basis": "consent"}
    denied, granted = consent | {"state": "denied"}, consent | {"state": "granted"}
    switch, about = "/v1/switches/message/open_b", "/v1/customers/cus_4"
    outcome = f"/v1/decisions/{sent}/outcomes"
    asks: list[tuple[str, str, Any]] = [
        *(
            ("PUT", switch, off | more)
            for more in ({"by": secret}, {"until": secret}, {"state": secret}, {secret: 1}, why)
        ),
        ("POST", "/v1/decide", {"customer": "cus_4", "placements": ["open", "twice"]}),  # by what is off, and why
        ("PUT", switch, {"state": "on", "by": secret, **why}),
        ("PUT", switch, {"state": "on"}),
        ("PUT", f"/v1/switches/{key}/open_b", off),
        ("PUT", f"/v1/switches/message/{key}", off),
        ("PUT", f"/v1/switches/region/{key}", off),
        ("GET", f"/v1/switches/message/{key}", None),
        ("PUT", f"{about}/consent/marketing/push", denied | why),
        ("PUT", f"{about}/consent/marketing/push", granted | {"expires_at": secret}),
        ("PUT", about, {"attributes": {"plan": "free"}, **why}),
        ("PUT", about, {"region": "AT", "consent": [granted | {"purpose": "marketing", "channel": "push"}], **why}),
        ("PUT", about, {"preferences": {"best_hours": secret}}),
        ("PUT", f"{about}/suppressions/push", {"source": "desk", **why}),
        ("DELETE", f"{about}/suppressions/push?why={key}", None),
        ("GET", f"/v1/customers/{key}/history", None),
        *(
            ("POST", outcome, {"type": "opened", name: secret})
            for name in ("at", "value", "machine", "scope", "event_id")
        ),
        ("POST", outcome, {"type": secret}),
        ("POST", outcome, {"type": "deferred", secret: 1}),
        ("POST", outcome, {"type": "converted", "event_id": secret, "value": 1.5}),
        ("POST", outcome, {"type": "unsubscribed", "reason": f"asked {secret}", "scope": "push"}),
        ("POST", outcome, f'{{"type": "{secret}'.encode()),
        ("POST", f"/v1/decisions/{key}/outcomes", {"type": "opened"}),
    ]
    return [await client.ask(*ask) for ask in asks]


async def test_what_is_said_of_switches_consents_and_outcomes_goes_no_further_than_their_history(
    server: Server, client: Client, own: Store, telemetry: Collector
) -> None:
    """A reason in somebody's own words is kept for who asks why, and nowhere else; one that names an e-mail address or
    a telephone number is not taken. Ids of events are kept as hashes."""
    before = len(telemetry.spans)
    await client.welcome("cus_4")
    sent = (await client.decide("cus_4", "once")).first["decision_id"]
    answers = {secret: await said_of_policy(client, secret, sent) for secret in PERSON}
    assert {answer.status for each in answers.values() for answer in each} == {200, 400, 404, 422}
    refusals = [answer.body for each in answers.values() for answer in each if answer.status != 200]
    decided = [answer.body for each in answers.values() for answer in each if b'"decisions"' in answer.body]
    assert [found_in(body) for body in (*refusals, *decided) if found_in(body)] == []
    assert found_in(server.log.encode()) == found_in(server.get("/metrics")[1]) == []
    await asyncio.to_thread(telemetry.wait_for_spans, before + 1)
    assert [found_in(body) for body in telemetry.bodies if found_in(body)] == []
    with redis.Redis(unix_socket_path=str(own.socket_path)) as inside:
        told = {key.encode(): held for key, held in in_store(inside).items() if found_in(held)}
    history, declared = look.KEYS.history("cus_4"), look.KEYS.of("cus_3")  # of the test before
    assert set(told) - {declared.profile, declared.decisions} == {history, CTL_SWITCHES_LOG}
    kept = told[history] + told[CTL_SWITCHES_LOG]
    assert [each for each in (EMAIL, PHONE) if each.encode() in kept] == []
    assert NAME.encode() in told[history]


async def test_a_customer_key_leaves_no_trace_in_logs_spans_and_metrics(
    server: Server, client: Client, telemetry: Collector
) -> None:
    await client.welcome("cus_very_special")
    before = len(telemetry.spans)
    for _ in range(3):
        await client.decide("cus_very_special", "open", key="key_very_special")
    await asyncio.to_thread(telemetry.wait_for_spans, before + 3)
    told = [server.log.encode(), server.get("/metrics")[1], *telemetry.bodies]
    assert not any(b"very_special" in each for each in told)
