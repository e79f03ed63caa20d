"""Eligibility of the quickstart stack: CEL, compiled once, each distinct rule run once a request.

As in the README of `common-expression-language`: `compile` once, one `Context` with all facts, then `execute`.
"""

from __future__ import annotations

from typing import Any

import cel

from loadtests.standard.job import MESSAGES, RULES

PROGRAMS = [cel.compile(rule) for rule in RULES]


def eligible(customer: dict[str, Any], context: dict[str, Any]) -> list[int]:
    """Numbers of the messages whose two rules hold."""
    facts = cel.Context({"customer": customer, "context": context})
    holds = [bool(program.execute(facts)) for program in PROGRAMS]
    return [i for i in range(MESSAGES) if holds[i % 8] and holds[3 * i % 8]]
