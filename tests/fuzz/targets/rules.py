"""Rules as authors write them: the grammar, the names that they read, the library's program, and their quick form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cel

from policy.expressions import compiled, conditions
from policy.grammar import RuleSyntaxError

SEGMENTS = {"loyal": "customer.orders > 3 && has(customer.name)", "new": "!segment.loyal"}
CUSTOMER: dict[str, Any] = {"orders": 4, "spent": 12.5, "name": "reader", "member": True, "city": ""}
WORDS = (
    b"customer.", b"context.", b"segment.loyal", b"segment.new", b"has(", b" && ", b" || ", b"!", b"==", b"!=", b">=",
    b" in [", b"]", b" ? ", b" : ", b".size()", b".matches(", b".startsWith(", b"timestamp(", b"duration(", b"1u",
    b"9223372036854775807", b"1e400", b"'", b'"', b"r'", b"'''", b"\\u0000", b"\\U0010ffff", b"b'\\xff'", b"//", b"{",
    b".map(x, ", b".exists(x, ", b"-", b"%", b"[0]", b"int(", b"string(", b"null", b"true",
)  # fmt: skip


def seeds() -> Iterator[bytes]:
    yield b"customer.orders > 3 && (context.region == 'DE' || !customer.member)"
    yield b"segment.loyal && customer.spent / 2.0 >= 1.5"
    yield b"has(customer.name) ? customer.name.matches('^r') : segment.new"
    yield b"customer.city in ['', 'Berlin'] || [1, 2, 3].exists(x, x == customer.orders)"
    yield b'customer["name"] != "\\u00e4" && timestamp("2026-01-01T00:00:00Z") < timestamp("2027-01-01T00:00:00Z")'


def run(data: bytes) -> None:
    try:
        source = data.decode()
        conditions(source)
        expression = compiled(source, SEGMENTS)
    except (UnicodeDecodeError, RuleSyntaxError, KeyError):
        return
    try:
        expression.evaluate(cel.Context({"customer": CUSTOMER, "context": {"region": "DE"}}))
    except (KeyError, TypeError, RuntimeError, ValueError):
        return
