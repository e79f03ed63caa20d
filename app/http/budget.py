"""The budget that a request for decisions asks for, as it can be told without parsing the request."""

from __future__ import annotations

import re

BUDGET_MS_MIN, BUDGET_MS_MAX = 5, 2000
_BUDGET = re.compile(rb'"budget_ms"\s*:\s*(\d{1,4})\b')


def budget_s(body: bytes | bytearray, otherwise_s: float) -> float:
    """In seconds; `otherwise_s`, the bundle's smallest, where it asks for none. Where the words stand for something
    else, in a context attribute perhaps, the request is only taken for more or less urgent than it is: it is parsed
    before it is decided."""
    if body.find(b'"budget_ms"') < 0:
        return otherwise_s
    found = _BUDGET.search(body)
    return otherwise_s if found is None else min(max(int(found[1]), BUDGET_MS_MIN), BUDGET_MS_MAX) / 1000
