"""What customers said, and what stops them, in the words of the tables of `policy/cases`."""

from __future__ import annotations

import re
from typing import Literal

from policy.codes import SuppressionReason
from policy.facts import ConsentEntry, Suppression
from tests.support.cases import instant_ms

_CONSENT = re.compile(r"(granted|denied) (\w+) by (\w+|any channel) on (\S+)(?: until (\S+))?(?: as (\S+))?")


def consent_of(text: str) -> ConsentEntry:
    """`granted marketing by email on 2026-01-01 until 2026-12-31 as soft_opt_in`."""
    found = _CONSENT.fullmatch(text)
    assert found is not None, text
    state, purpose, channel, at, until, basis = found.groups()
    ends_ms = None if until is None else instant_ms(until)
    granted_or_denied: Literal["granted", "denied"] = "granted" if state == "granted" else "denied"
    return ConsentEntry(
        purpose, channel_of(channel), granted_or_denied, basis or "consent", "form", instant_ms(at), ends_ms
    )


def suppression_of(text: str) -> Suppression:
    """`complaint on email`, `manual on any channel`."""
    reason, _, scope = text.partition(" on ")
    return Suppression(channel_of(scope), SuppressionReason(reason), 0)


def channel_of(words: str) -> str:
    return "*" if words == "any channel" else words
