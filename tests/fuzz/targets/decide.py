"""The body of a request for decisions, and a line of a batch of them.

Input: which of the two (a byte), and the JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from app.core.identity import looks_direct
from app.core.lines import LineSplitter
from app.errors import Problem
from app.flows.batch import LINE_BYTES_MAX
from app.http.decide_body import parse, parse_line
from app.store.decisions import idempotency_of
from tests.support.contract import contract_bundle

BODY, LINES = range(2)
BUNDLE = contract_bundle()
ASKED = {"customer": "cus_1", "placements": ["weekly"], "budget_ms": 40, "explain": True, "dry_run": False, "gpc": True}
WORDS = (
    b'"customer"', b'"placements"', b'"context"', b'"budget_ms"', b'"idempotency_key"', b'"email_sha256"', b"null",
    b'"user_id"', b'"unsubscribe"', b'"gpc"', b"1e999", b"\\ud800", b"\\u0000", b"reader@example.com",
    b"+491701234567", *(b'"%b"' % name.encode() for name in (*BUNDLE.placements, *BUNDLE.context)),
)  # fmt: skip


def seeds() -> Iterator[bytes]:
    context = {"region": "DE", "timezone": "Europe/Berlin", "language": "de", "trigger": "browse"}
    known = {name: value for name, value in context.items() if name in BUNDLE.context}
    aliased = {**ASKED, "customer": {"email_sha256": "ab" * 32}, "context": known, "unsubscribe": True}
    for body in (ASKED, aliased, {**ASKED, "placements": list(BUNDLE.placements), "idempotency_key": "weekly-1"}):
        yield bytes((BODY,)) + json.dumps(body).encode()
        yield bytes((LINES,)) + b"\n".join([json.dumps(body).encode()] * 2)


def run(data: bytes) -> None:
    if not data:
        return
    if data[0] % 2 == BODY:
        _parsed(data[1:], line=False)
        return
    splitter = LineSplitter(LINE_BYTES_MAX)
    for found in (*splitter.feed(data[1:20]), *splitter.feed(data[20:]), *splitter.close()):
        if found.text is not None:
            _parsed(found.text, line=True)


def _parsed(raw: bytes, line: bool) -> None:
    try:
        if line:
            request = parse_line(raw, BUNDLE, "req_1", b"\x01" * 16, idempotency_of)
        else:
            request = parse(raw, BUNDLE, "req_1", "key", b"\x01" * 16, idempotency_of, False)
    except Problem as problem:
        problem.render()
        return
    assert 1 <= len(request.placements) <= len(BUNDLE.placements)
    assert not isinstance(request.customer, str) or not looks_direct(request.customer)
    json.dumps(request.context)
