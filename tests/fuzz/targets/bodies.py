"""Every other JSON body: customers and lines of imports, consents, suppressions, outcomes, switches, erasures, merges.

Input: which body (a byte), and the JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import TypeAdapter

from app.http import customer_bodies as bodies
from app.http import customer_examples as examples
from app.http import outcome_bodies, suppressions, switches
from tests.fuzz.targets.choice import one_of
from tests.support.contract import contract_bundle

HASH_KEY = b"a key that only tests know, 32 characters"
CHECKER = bodies.Checker(contract_bundle(), HASH_KEY)
SUPPRESSIONS = suppressions.LineChecker(contract_bundle())


def _customer(raw: bytes) -> object:
    return CHECKER.write("cus_1", bodies.parse(CUSTOMER, raw))


def _consent(raw: bytes) -> object:
    return bodies.consent_change("marketing", "*", bodies.parse(CONSENT, raw))


def _outcome(raw: bytes) -> object:
    outcome = bodies.parse(outcome_bodies.OUTCOME, raw).outcome()
    return outcome.fingerprint()


def _switch(raw: bytes) -> object:
    return switches._checked(bodies.parse(switches.BODY, raw))


CUSTOMER: TypeAdapter[bodies.CustomerBody] = TypeAdapter(bodies.CustomerBody)
CONSENT: TypeAdapter[bodies.ConsentBody] = TypeAdapter(bodies.ConsentBody)
SUPPRESSION: TypeAdapter[bodies.SuppressionBody] = TypeAdapter(bodies.SuppressionBody)
READ: tuple[Callable[[bytes], object], ...] = (
    _customer, CHECKER.line, SUPPRESSIONS.line, _consent, lambda raw: bodies.parse(SUPPRESSION, raw), _outcome, _switch,
)  # fmt: skip
WORDS = (
    b'"attributes"', b'"consent"', b'"identities"', b'"preferences"', b'"best_hours"', b'"18:00-21:00"', b'"at"',
    b'"expires_at"', b'"state"', b'"granted"', b'"source"', b'"basis"', b'"why"', b'"until"', b'"off"', b'"value"',
    b'"event_id"', b'"converted"', b'"email_sha256"', b"null", b"1e308", b"NaN", b"\\ud800", b"\\u0000",
    b"9999-12-31T23:59:59-23:59", b"0001-01-01T00:00:00+23:59", b"99999999999999999999",
)  # fmt: skip


def seeds() -> Iterator[bytes]:
    attributes = {"recency": 3, "history": 142.4, "zip_code": "Urban", "member": True, "nickname": "the reader"}
    customer: dict[str, Any] = {**examples.CUSTOMER, "attributes": attributes}
    named = {**customer, "customer": "cus_1"}
    for place, body in (
        (0, customer), (1, named), (1, {**named, "customer": {"email_sha256": "ab" * 32}}),
        (3, examples.CONSENT), (4, examples.SUPPRESSION),
        (5, {"type": "converted", "value": 12.5, "event_id": "order_1"}), (5, {"type": "unsubscribed", "scope": "*"}),
        (6, switches.TURN_OFF), (6, switches.TURN_ON),
    ):  # fmt: skip
        yield bytes((place,)) + json.dumps(body).encode()
    for line in suppressions.LINES.splitlines():
        yield b"\x02" + line.encode()


run = one_of(READ)
