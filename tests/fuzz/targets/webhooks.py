"""What providers send, and what others send in their name: the proof, the body, every item, and what is shown of it.

Input: which provider (a byte), what of the delivery is changed (a byte), and the change.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any

import orjson

from app.core.heard import Take, Taken
from app.core.webhooks.hearing import hear
from app.core.webhooks.masking import masked
from app.core.webhooks.provider import Aside, Delivery, Provider, Unfit, Unreadable, Untrusted
from app.core.webhooks.puzzles import puzzle
from app.core.webhooks.registry import NAMES, provider_of
from app.flows.take_webhooks import Line
from app.http.webhook_echo import echoed
from tests.support.webhooks import Sample, secret_of
from tests.support.webhooks.payloads import PAYLOADS

NOW_S = 1_764_000_000.0
#: What of a proven delivery is exchanged for the input's bytes; 0 takes them as a trusted body.
TRUSTED, BODY, HEADERS, ONE_HEADER = range(4)
#: What `Provider.read` may raise of an item: the flow rejects it, alone.
REJECTED = (LookupError, TypeError, ValueError, AttributeError, RecursionError)
ITEMS_MAX = 50
WORDS = (
    b'"event"', b'"type"', b'"email"', b'"timestamp"', b'"recipient"', b"bounce", b"complaint", b"delivered", b"null",
    b"2026-01-05T09:12:00Z", b"1767604320", b"550 5.1.1", b"\\ud800", b"\\u0000", b"1e999", b"-1", b"[]", b"{}",
)  # fmt: skip


class Proven:
    """A provider, and a delivery that it takes."""

    def __init__(self, name: str) -> None:
        support = import_module(f"tests.support.webhooks.{name}")
        found = provider_of(name)
        assert found is not None
        self.provider: Provider = found
        self.sample: Sample = support.SAMPLE
        self.body = self.sample.body
        self.signs_inside = hasattr(support, "signed_body")
        if self.signs_inside:
            self.body = support.signed_body(self.body, secret_of(self.sample), NOW_S)
        self.headers: dict[str, str] = dict(support.signed(self.body, secret_of(self.sample), NOW_S))


@cache
def proven(place: int) -> Proven:
    return Proven(NAMES[place])


def seeds() -> Iterator[bytes]:
    event = (
        b'[{"email":"reader@example.com","event":"open","sg_event_id":"%b","sg_message_id":"m","timestamp":1764000000}]'
    )
    yield bytes((NAMES.index("sendgrid"), TRUSTED)) + event % b"e\\ud800"
    for place, name in enumerate(NAMES):
        for path in sorted((PAYLOADS / name).iterdir()):
            if not path.name.endswith(".said.yaml"):
                yield bytes((place, TRUSTED)) + path.read_bytes()
        yield bytes((place, BODY)) + proven(place).sample.body
        yield bytes((place, HEADERS)) + b"authorization: Basic aG9va3M6eA==\nx-signature: t=1764000000,v1=00"
        yield bytes((place, ONE_HEADER)) + b"\x00" + b"t=1764000000,v1=0011"


def run(data: bytes) -> None:
    if len(data) < 2:
        return
    of = proven(data[0] % len(NAMES))
    delivery = _changed(of, data[1] % 4, data[2:])
    if data[1] % 4 == TRUSTED:
        _read(of.provider, delivery)
    else:
        _prove(of, delivery)


def _changed(of: Proven, part: int, change: bytes) -> Delivery:
    delivery = Delivery(of.body, of.headers, NOW_S, of.sample.url, of.sample.certificate)
    text = change.decode("latin-1")
    if part in (TRUSTED, BODY):
        return delivery._replace(body=change)
    if part == HEADERS:
        pairs = (line.partition(":") for line in text.split("\n"))
        return delivery._replace(headers={name.strip().lower(): value.strip() for name, _, value in pairs})
    names = sorted(of.headers) or ["authorization"]
    return delivery._replace(headers={**of.headers, names[(change or b"\x00")[0] % len(names)]: text[1:]})


def _prove(of: Proven, delivery: Delivery) -> None:
    """What is not the provider's is not taken for it."""
    provider, sample = of.provider, of.sample
    try:
        if provider.certificate is not None:
            provider.certificate(delivery)
        provider.verify(delivery, sample.trust)
        if provider.follow_up is not None:
            provider.follow_up(delivery, sample.trust)
        if provider.ticket is not None:
            provider.ticket(delivery)
    except (Untrusted, Unreadable):
        return
    if sample.signs_body and not of.signs_inside:
        assert delivery.body == of.body, f"{provider.name} trusts a body that it did not sign"


def _read(provider: Provider, delivery: Delivery) -> None:
    try:
        items = provider.items(delivery)
    except Unreadable:
        return
    for place, item in enumerate(list(items)[:ITEMS_MAX]):
        masked(item)
        try:
            said = provider.read(item)
            heard = [None if isinstance(each.type, Aside) else _heard(provider, each) for each in said]
        except REJECTED:
            puzzle("malformed_item", "", item)
            continue
        for one, known in zip(said, heard, strict=True):
            if known is not None:  # what goes on to the store, where one error would refuse the whole delivery
                known.outcome.fingerprint()
                orjson.dumps([*known[1:], *known.outcome], default=str)
            orjson.dumps(echoed(provider.name, Line(place, one, known, Taken(Take.ACCEPTED))))
            if one.type is Aside.UNKNOWN:
                puzzle(one.type, one.raw_type, item)


def _heard(provider: Provider, said: Any) -> Any:
    try:
        return hear(provider.name, said, False, lambda _: "other")
    except Unfit:
        return None
