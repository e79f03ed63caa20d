"""Whatever a provider, or somebody in its name, sends: it is read or refused in the declared way, and nothing breaks.

Whole payloads of every provider are changed in one place each, and documents are made up. A trusted delivery that its
provider never sent must not take the batch with it, or be sent again for hours.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.heard import Take, Taken
from app.core.webhooks.hearing import hear
from app.core.webhooks.masking import masked
from app.core.webhooks.provider import Aside, Delivery, Provider, Said, Unfit, Unreadable, Untrusted
from app.core.webhooks.registry import NAMES, provider_of
from app.flows.take_webhooks import Line
from app.http.webhook_echo import echoed
from policy.codes import OutcomeType
from tests.support.webhooks import Sample, secret_of
from tests.support.webhooks.payloads import PAYLOADS

NOW_S = 1_764_000_000.0
#: What `Provider.read` may raise of an item: it is then rejected, alone.
REJECTED = (LookupError, TypeError, ValueError, AttributeError)
CANARY = "canary.of.leaks@example.org"
CANARIES = (
    CANARY,
    f"550 5.1.1 <{CANARY}> unknown",
    f"https://shop.example.com/offer?who={CANARY}&did=dec_01119bf0c5f4001a2b3c4d5e6f00",
    f"https://shop.example.com/{CANARY.replace('@', '%40')}/offer",
)
often = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])

texts = st.text(max_size=20) | st.sampled_from(
    ["", "all", "true", "null", "[]", "{", "550 5.1.1 unknown", "2026-01-05T09:12:00Z", "\ud800", CANARY, "0", "-1"]
)
numbers = st.integers() | st.floats() | st.booleans() | st.sampled_from([1e308, -1, 2**63, 10**30])
json_values = st.recursive(
    st.none() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
providers = pytest.mark.parametrize("name", NAMES)


@cache
def bodies(name: str) -> tuple[bytes, ...]:
    """The payloads of a provider."""
    return tuple(
        each.read_bytes() for each in sorted((PAYLOADS / name).iterdir()) if not each.name.endswith(".said.yaml")
    )


@cache
def real_items(name: str) -> tuple[Any, ...]:
    """Every item of the payloads of a provider."""
    return tuple(item for body in bodies(name) for item in taken_apart(provider(name), body))


def provider(name: str) -> Provider:
    found = provider_of(name)
    assert found is not None
    return found


def taken_apart(of: Provider, body: bytes, headers: dict[str, str] | None = None) -> Sequence[Any]:
    """The items of a body; none where it is refused in the declared way."""
    try:
        return of.items(Delivery(body, headers or {}, NOW_S))
    except Unreadable:
        return ()


def read(of: Provider, item: Any) -> Sequence[Said]:
    """What is said; nothing where the item is rejected in the declared way."""
    try:
        said = of.read(item)
    except REJECTED as refused:
        shown = str(refused) if isinstance(refused, Unfit) else ""  # the flow shows no other's words
        said = ()
    else:
        shown = ""
    assert CANARY not in shown
    for each in said:
        is_sound(each)
    return said


def is_sound(said: Said) -> None:
    """What every file of a provider promises of what it read."""
    assert isinstance(said.type, OutcomeType | Aside)
    raw_type: Any = said.raw_type
    assert isinstance(raw_type, str) or isinstance(said.type, Aside)  # only its shape is kept of what changes nothing
    for each in (said.recipient, said.event_id, said.message_id, said.decision_id, said.user_agent):
        assert each is None or isinstance(each, str)
    for each in (said.url, said.reason, said.smtp_code, said.scope):
        assert each is None or isinstance(each, str)
    assert isinstance(said.machine, bool)
    assert said.at_ms is None or (isinstance(said.at_ms, int) and 0 <= said.at_ms < 2**53)


def assert_nameless(told: Any) -> None:
    """The canary is nowhere in it, in whatever spelling."""
    assert CANARY not in unquote(repr(told)).lower()


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to every value inside a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, each in inner for found in ((*way, key), *places(each, (*way, key)))]


def changed(draw: st.DataObject, document: Any, others: st.SearchStrategy[Any] = json_values) -> Any:
    """The document with one value gone or another in its place."""
    document = copy.deepcopy(document)
    if not (ways := places(document)):
        return draw.draw(others)
    *way, last = draw.draw(st.sampled_from(ways))
    inner = document
    for key in way:
        inner = inner[key]
    if draw.draw(st.booleans()):
        inner[last] = draw.draw(others)
    else:
        del inner[last]
    return document


@providers
@often
@given(draw=st.data())
def test_a_real_event_that_is_changed_somewhere_is_read_or_rejected(name: str, draw: st.DataObject) -> None:
    read(provider(name), changed(draw, draw.draw(st.sampled_from(real_items(name)))))


@providers
@often
@given(draw=st.data())
def test_an_address_anywhere_in_an_event_goes_no_further_than_its_hash(name: str, draw: st.DataObject) -> None:
    item = changed(draw, draw.draw(st.sampled_from(real_items(name))), st.sampled_from(CANARIES))
    for index, said in enumerate(read(provider(name), item)):
        heard = None
        if isinstance(said.type, OutcomeType):
            try:
                heard = hear(name, said, False, lambda _: "other")
            except Unfit:  # nothing says whose mail it was
                continue
            # A link that was clicked is hashed before it is stored, and shown without what names somebody.
            assert_nameless(heard)
        assert_nameless(echoed(name, Line(index, said, heard, Taken(Take.ACCEPTED))))
        assert_nameless(masked(item))


@providers
@often
@given(item=json_values)
def test_an_item_that_is_anything_is_read_or_rejected(name: str, item: Any) -> None:
    read(provider(name), item)


@providers
@often
@given(body=st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_a_body_that_is_anything_is_taken_apart_or_unreadable(name: str, body: bytes) -> None:
    for item in taken_apart(provider(name), body):
        read(provider(name), item)


@providers
@often
@given(draw=st.data())
def test_a_real_body_with_other_bytes_is_taken_apart_or_unreadable(name: str, draw: st.DataObject) -> None:
    body = draw.draw(st.sampled_from(bodies(name)))
    at = draw.draw(st.integers(0, len(body)))
    for item in taken_apart(provider(name), body[:at] + draw.draw(st.binary(max_size=4)) + body[at + 2 :]):
        read(provider(name), item)


@providers
@often
@given(draw=st.data())
def test_a_proof_that_is_anything_is_trusted_or_not(name: str, draw: st.DataObject) -> None:
    support = import_module(f"tests.support.webhooks.{name}")
    sample: Sample = support.SAMPLE
    body = sample.body
    if hasattr(support, "signed_body"):
        body = support.signed_body(body, secret_of(sample), NOW_S)
    headers: dict[str, str] = dict(support.signed(body, secret_of(sample), NOW_S))
    for header in list(headers) or ["authorization"]:
        headers[header] = draw.draw(texts | st.just(headers.get(header, "")))
    body = draw.draw(st.just(body) | st.binary(max_size=20))
    refusal = ""
    try:
        provider(name).verify(Delivery(body, headers, NOW_S, sample.url, sample.certificate), sample.trust)
    except (Untrusted, Unreadable) as refused:  # unreadable: where the proof stands in the body
        refusal = str(refused)
    assert all(secret not in refusal for secret in (*sample.trust.secrets, *sample.trust.basic))
