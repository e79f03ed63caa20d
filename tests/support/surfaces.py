"""Every surface that takes something from outside, with a word put into every place of it that takes a text."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus

import yaml

from app.core.webhooks.registry import NAMES
from tests.support.server import BUNDLE, CONSENTS
from tests.support.webhooks.door import proven, sample_of
from tests.support.webhooks.ses import certificate

NDJSON = {"content-type": "application/x-ndjson"}


class Ask(NamedTuple):
    """One request."""

    method: str
    path: str
    body: Any = None  # bytes as they are, anything else as JSON
    headers: Mapping[str, str] = {}


def bundle_of_everything(folder: Path) -> Path:
    """The bundle of the guarantees, with events whose properties are free text, and features of them."""
    shutil.copytree(BUNDLE, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    text, number = {"type": "string"}, {"type": "float"}
    events = {
        "product_viewed": {"owner": "web", "properties": {"product_id": text, "category": text, "price": number}},
        "order_completed": {
            "owner": "shop",
            "once_per": "order_id",
            "properties": {"order_id": text, "revenue": number},
        },
    }
    features = {
        "views_7d": {"on": "product_viewed", "count": {}, "window": "7d"},
        "favourite": {"on": "product_viewed", "affinity": {"key": "category", "half_life": "14d"}},
        "spend_90d": {"on": "order_completed", "sum": "revenue", "window": "90d"},
    }
    (folder / "events.yaml").write_text(yaml.safe_dump({"events": events}))
    (folder / "features.yaml").write_text(yaml.safe_dump({"features": features}))
    return folder


def webhook_settings(folder: Path) -> dict[str, str]:
    """The environment in which every provider's samples are proven."""
    settings = {"NEXTBEST_TEST_MODE": "true"}
    for provider in NAMES:
        prefix, trust = f"NEXTBEST_WEBHOOK_{provider.upper()}_", sample_of(provider).trust
        if provider == "ses":
            (folder / "sns.pem").write_bytes(certificate())
            settings |= {f"{prefix}TEST_CERTIFICATE": str(folder / "sns.pem"), f"{prefix}TOPICS": trust.topics[0]}
        else:
            settings |= {
                prefix + name: ",".join(values)
                for name, values in zip(("SECRETS", "BASIC", "TOPICS"), trust, strict=True)
                if values
            }
    settings["NEXTBEST_WEBHOOK_MANDRILL_URL"] = sample_of("mandrill").url
    return settings


def decisions(word: str) -> Iterator[Ask]:
    """What asks for decisions; `word` as key, value, header, and in bodies that are broken."""
    decide: dict[str, Any] = {"customer": "cus_1", "placements": ["open"]}
    for headers in (
        {"idempotency-key": word},
        {"traceparent": f"00-{word}-{word}-01", "tracestate": f"vendor={word}", "baggage": f"who={word}"},
        {"x-forwarded-for": word, "forwarded": f"for={word}", "x-real-ip": word, "x-request-id": word},
        {"user-agent": word, "referer": f"https://example.com/{word}", "cookie": f"who={word}", "x-customer": word},
        {"host": word, "origin": word, "sec-gpc": word},
    ):
        yield Ask("POST", "/v1/decide", decide, headers)
    changes: tuple[dict[str, Any], ...] = (
        {"customer": word},
        *(
            {"customer": {kind: word}}
            for kind in ("user_id", "anonymous_id", "external", "email_sha256", "email", word)
        ),
        {"customer": [word]},
        {"placements": [word]},
        {"placements": word},
        {"budget_ms": word},
        {"explain": word},
        {"unsubscribe": word},
        {word: 1},
        *({"context": {name: word}} for name in ("trigger", "region", "timezone", "language")),
        {"context": {word: 1}},
        {"context": {"remark": {"deep": word}}},
    )
    for more in changes:
        yield Ask("POST", "/v1/decide", decide | more)
    broken = [f'{{"customer": "{word}', word, f'["{word}"]', f'{{"customer": "cus_1", "customer": "{word}"}}']
    for text in broken:
        yield Ask("POST", "/v1/decide", text.encode())
    yield Ask("POST", "/v1/decide", b"\xff" + word.encode())
    lines = [json.dumps(decide | {"context": {"trigger": word}}), json.dumps(decide | {"idempotency_key": word})]
    lines += [json.dumps(decide | {"customer": word}), *broken]
    yield Ask("POST", "/v1/decide/batch", "\n".join(lines).encode(), NDJSON)
    yield Ask("POST", "/v1/decide/batch", word.encode(), {"content-type": "text/csv"})


def customers(word: str) -> Iterator[Ask]:
    """What writes and reads customers. Free text that is kept on purpose is not among it."""
    consent = {"state": "granted", "source": "crm", "basis": "consent"}
    bodies: list[dict[str, Any]] = [
        {"attributes": {word: 1}},
        {"attributes": {"mood": word}},
        {"attributes": {"plan": word}},
        {"region": word},
        {"timezone": word},
        {"language": word},
        *({"consent": [consent | {"purpose": "marketing", "channel": "email"} | more]}
          for more in ({"purpose": word}, {"channel": word}, {"state": word}, {"at": word}, {"basis": word})),
        {"identities": {"email_sha256": word}},
        {"identities": {word: "x"}},
        {"identities": {"user_id": word, "anonymous_id": f"a {word}", "external": f"e {word}"}},
        {"preferences": {word: True}},
        {"preferences": {"best_hours": word}},
        {word: 1},
    ]  # fmt: skip
    for body in bodies:
        yield Ask("PUT", "/v1/customers/cus_1", body)
    key = quote(word, safe="")
    lines = [json.dumps({"customer": who} | body) for body in bodies for who in ("cus_1", word)] + [word, f'{{"{word}']
    yield Ask("POST", "/v1/customers/bulk", "\n".join(lines).encode(), NDJSON)
    yield Ask("PUT", f"/v1/customers/{key}", {})
    for tail in ("", "/history", "/export", "/identities"):
        yield Ask("GET", f"/v1/customers/{key}{tail}")
        yield Ask("GET", f"/v1/customers/cus_1{tail}?who={key}&{key}=1")
    yield Ask("PUT", f"/v1/customers/cus_1/consent/{key}/email", consent)
    yield Ask("PUT", f"/v1/customers/cus_1/consent/marketing/{key}", consent)
    yield Ask("PUT", "/v1/customers/cus_1/consent/marketing/email", consent | {"state": word})
    yield Ask("PUT", "/v1/customers/cus_1/consent/marketing/email", word.encode())
    yield Ask("PUT", f"/v1/customers/cus_1/suppressions/{key}", {"source": "desk"})
    yield Ask("PUT", "/v1/customers/cus_1/suppressions/sms", {"source": "desk", word: 1})
    yield Ask("DELETE", f"/v1/customers/cus_1/suppressions/{key}")
    yield Ask("DELETE", f"/v1/customers/{key}")
    suppressed = [{"customer": word, "scope": "email"}, {"customer": "cus_1", "scope": word}, {"email": word}]
    digest = sha256(word.strip().lower().encode()).hexdigest()
    yield Ask("PUT", "/v1/customers/cus_1", {"identities": {"email_sha256": digest, "phone_sha256": digest}})
    yield Ask("POST", "/v1/decide", {"customer": {"email_sha256": digest}, "placements": ["open"]})
    yield Ask("POST", "/v1/suppressions/bulk", "\n".join([*map(json.dumps, suppressed), word]).encode(), NDJSON)
    yield Ask("GET", f"/v1/erasures/{key}")


def events(word: str) -> Iterator[Ask]:
    """Each dialect of events."""
    viewed = {"event": "product_viewed", "customer": "cus_1", "properties": {"product_id": "p1"}}
    # Where free text is declared, what looks like an address or a number becomes a hash; a name cannot be told.
    declared = "product_id" if re.search(r"@|^\+|^\d+\.", word) else "undeclared"
    native: list[Any] = [
        viewed | {"properties": {declared: word, "price": 1.5}},
        viewed | {"properties": {word: 1}},
        viewed | {"customer": word},
        viewed | {"customer": {"user_id": word, "anonymous_id": word, "external": word}},
        viewed | {"customer": {"email_sha256": word}},
        viewed | {"customer": {word: word}},
        viewed | {"event": word},
        viewed | {"at": word},
        viewed | {"id": word, "source": word},
        viewed | {"version": word},
        {"event": "identify", "customer": {"user_id": word, "anonymous_id": f"a {word}"}},
        {"event": "alias", "customer": word, "previous": word},
        {"type": "heartbeat", "events": [word]},
        {word: word},
        word,
    ]
    yield Ask("POST", "/v1/events", native)
    yield Ask("POST", "/v1/events", "\n".join([*map(json.dumps, native), word]).encode(), NDJSON)
    yield Ask("POST", "/v1/events", gzip.compress(json.dumps(native).encode()), {"content-encoding": "gzip"})
    yield Ask("POST", "/v1/events", word.encode(), {"content-encoding": word})
    cloud: dict[str, Any] = {
        "specversion": "1.0",
        "id": word,
        "source": word,
        "type": "product_viewed",
        "subject": word,
    }
    cloud |= {"data": {declared: word}, "customer": word, "time": word}
    yield Ask("POST", "/v1/events", cloud, {"content-type": "application/cloudevents+json"})
    yield Ask("POST", "/v1/events", [cloud], {"content-type": "application/cloudevents-batch+json"})
    binary = {f"ce-{name}": value for name, value in cloud.items() if isinstance(value, str)}
    yield Ask("POST", "/v1/events", {declared: word}, binary | {"content-type": "application/json"})
    yield Ask("POST", "/v1/events", word.encode(), {"content-type": f"application/{quote(word, safe='')}"})
    traits = {"email": word, "phone": word, "name": word, "address": {"street": word}}
    about = {"ip": word, "userAgent": word, "page": {"url": f"https://example.com/?who={word}"}, "traits": traits}
    said = {"userId": word, "anonymousId": word, "context": about, "messageId": word, "traits": traits}
    said |= {"event": "Product Viewed", "properties": {declared: word, **traits}, "previousId": word, "name": word}
    for name in ("track", "identify", "alias", "page", "screen", "group"):
        yield Ask("POST", f"/v1/{name}", said)
        yield Ask("POST", f"/v1/{name}", said | {"userId": "cus_1", "timestamp": word})
    yield Ask("POST", "/v1/batch", {"batch": [said | {"type": "track"}, said | {"type": word}, word], "sentAt": word})
    yield Ask("POST", f"/v1/track?writeKey={quote(word, safe='')}", said, {"authorization": ""})
    yield Ask("POST", "/v1/batch", {"batch": [said], "writeKey": word}, {"authorization": ""})


def outcomes_and_switches(word: str, sent: str) -> Iterator[Ask]:
    """What is told of a decision that was sent, and what is asked of the rest. Reasons in somebody's own words are
    left out: they are kept for those who ask why (test_g7_identifiers.py)."""
    key = quote(word, safe="")
    for name in ("at", "value", "machine", "scope", "event_id", word):
        yield Ask("POST", f"/v1/decisions/{sent}/outcomes", {"type": "opened", name: word})
    yield Ask("POST", f"/v1/decisions/{sent}/outcomes", {"type": word})
    yield Ask("POST", f"/v1/decisions/{sent}/outcomes", f'{{"type": "{word}'.encode())
    yield Ask("POST", f"/v1/decisions/{key}/outcomes", {"type": "opened"})
    yield Ask("GET", f"/v1/decisions/{key}")
    off = {"state": "off", "by": "crm_oncall", "why": "a drill"}
    for more in ({"until": word}, {"state": word}, {word: 1}):
        yield Ask("PUT", "/v1/switches/message/open_b", off | more)
    for kind, name in ((key, "open_b"), ("message", key), ("region", key)):
        yield Ask("PUT", f"/v1/switches/{kind}/{name}", off)
        yield Ask("GET", f"/v1/switches/{kind}/{name}")
    for path in ("/v1/switches", "/v1/bundle", "/v1/deliverability", "/health/live", "/health/ready", "/docs",
                 "/openapi.json", "/v1/webhooks/generic", f"/v1/{key}", f"/{key}", f"/docs/static/{key}",
                 "/metrics"):  # fmt: skip
        yield Ask("GET", f"{path}?{key}={key}")
    yield Ask(f"{re.sub('[^A-Z]', '', word.upper())[:12] or 'X'}", "/v1/decide")
    for token in (key, f"1.{key}", base64.urlsafe_b64encode(word.encode()).decode()):
        yield Ask("GET", f"/v1/unsubscribe/{token}?{key}={key}", None, {"accept-language": word})
        yield Ask("POST", f"/v1/unsubscribe/{token}", f"List-Unsubscribe={quote_plus(word)}".encode())


def unsubscribing(word: str, path: str) -> Iterator[Ask]:
    """A link of ours, with the word around it."""
    key = quote(word, safe="")
    form = {"content-type": "application/x-www-form-urlencoded"}
    yield Ask("GET", f"{path}?{key}={key}&lang={key}", None, {"accept-language": word, "referer": word})
    yield Ask("POST", f"{path}{key}", b"List-Unsubscribe=One-Click", form)
    yield Ask("POST", f"{path}?who={key}", f"List-Unsubscribe=One-Click&email={quote_plus(word)}".encode(), form)
    parts = f'--x\r\ncontent-disposition: form-data; name="{quote_plus(word)}"\r\n\r\n{word}\r\n--x--\r\n'
    yield Ask("POST", path, parts.encode(), {"content-type": "multipart/form-data; boundary=x"})


_ADDRESS = re.compile(rb"[\w.+-]+(@|%40)example\.(com|org)")
_IP = re.compile(rb"\b(?:\d{1,3}\.){3}\d{1,3}\b")
_TEXT = re.compile(rb'(":\s*")([^"\\]{3,})(")')


def webhooks(word: str) -> Iterator[Ask]:
    """Every provider's own delivery about other recipients, with every text of it spoilt, and unproven."""
    now_s, as_text = time.time(), json.dumps(word)[1:-1].encode()
    for provider in NAMES:
        sample = sample_of(provider)
        secret, path = (sample.trust.secrets or sample.trust.basic)[0], f"/v1/webhooks/{provider}"
        put = _IP if _IP.fullmatch(word.encode()) else _ADDRESS
        yield Ask("POST", path, *proven(provider, put.sub(as_text, sample.body), secret, now_s))
        spoilt = _TEXT.sub(lambda found: found[1] + found[2] + b" " + as_text + found[3], sample.body)
        try:
            body, headers = proven(provider, spoilt, secret, now_s)
        except (ValueError, KeyError, TypeError):  # what is signed cannot be found in it any more
            body, headers = spoilt, {}
        yield Ask("POST", path, body, headers)
        unproven = {"authorization": f"Basic {word}", "user-agent": word, "x-nextbest-key": word}
        yield Ask("POST", f"{path}?echo=true&who={quote(word, safe='')}", sample.body + as_text, unproven)
    yield Ask("POST", f"/v1/webhooks/{quote(word, safe='')}", b"{}")


def free_text(word: str) -> Iterator[Ask]:
    """Where the bundle declares free text."""
    decide = {"customer": "cus_1", "placements": ["open"], "budget_ms": 2000}
    viewed = {"event": "product_viewed", "customer": "cus_1"}
    yield Ask("PUT", "/v1/customers/cus_1", {"attributes": {"note": word}})
    yield Ask("POST", "/v1/decide", decide | {"context": {"remark": word}, "explain": True})
    yield Ask("POST", "/v1/events", viewed | {"properties": {"product_id": word, "category": word}})
    yield Ask("POST", "/v1/events", viewed | {"properties": {"product_id": word, "price": word}})  # put aside


def with_key(key: str) -> Iterator[Ask]:
    """A key of the API wherever one may travel, and where callers have put one by mistake."""
    decide, viewed = {"customer": "cus_1", "placements": ["open"]}, {"event": "Product Viewed", "userId": "cus_1"}
    basic = base64.b64encode(f"{key}:".encode()).decode()
    yield Ask("POST", "/v1/batch", {"batch": [viewed | {"type": "track"}], "writeKey": key}, {"authorization": ""})
    yield Ask("POST", f"/v1/track?writeKey={key}", viewed, {"authorization": ""})
    yield Ask("POST", f"/v1/track?writeKey={key}x", viewed | {"writeKey": key}, {"authorization": ""})
    yield Ask("POST", "/v1/events", viewed, {"authorization": f"Basic {basic}"})
    yield Ask("POST", "/v1/webhooks/generic?echo=true", b"[]", {"authorization": "", "x-nextbest-key": key})
    yield Ask(
        "POST", "/v1/decide", decide, {"authorization": f"Bearer {key}x", "cookie": f"key={key}", "user-agent": key}
    )
    yield Ask("POST", "/v1/decide", decide, {"idempotency-key": key, "traceparent": key, "x-api-key": key})
    for more in ({"api_key": key}, {key: 1}, {"placements": [key]}, {"budget_ms": key}, {"context": {"trigger": key}}):
        yield Ask("POST", "/v1/decide", decide | more)
    yield Ask("POST", "/v1/decide", f'{{"key": "{key}'.encode())
    yield Ask("POST", "/v1/decide/batch", f'{{"key": "{key}"}}\n{key}'.encode(), NDJSON)
    yield Ask("PUT", "/v1/customers/cus_1", {"attributes": {"plan": key}, "key": key})
    for path in (f"/v1/{key}", f"/v1/bundle?key={key}", f"/v1/switches/message/{key}", f"/v1/unsubscribe/{key}"):
        yield Ask("GET", path, None, {"authorization": ""})


def welcome(*names: str) -> Iterator[Ask]:
    """Customers with every consent."""
    for name in names:
        body = {"attributes": {"plan": "paid"}, "region": "DE", "timezone": "Europe/Berlin", "consent": CONSENTS}
        yield Ask("PUT", f"/v1/customers/{name}", body)


def everything(word: str, sent: str) -> Iterator[Ask]:
    """All of it."""
    yield from decisions(word)
    yield from customers(word)
    yield from events(word)
    yield from outcomes_and_switches(word, sent)
    yield from webhooks(word)
