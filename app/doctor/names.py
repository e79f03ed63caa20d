"""Names of a bundle that are nearly alike, and data that nobody reads. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import combinations

from app.doctor.finding import Finding, Severity
from policy.audit import Audit
from policy.schema import Documents

#: Shorter names differ by one letter and mean different things: `mens`, `womens`; `views_7d`, `views_1d`.
ALIKE_FROM = 8
_DIGITS = re.compile(r"\d+")
_PLURAL = re.compile(r"(?<=[a-z]{3})(?<!s)s$")


def alike(documents: Documents) -> Iterator[Finding]:
    """Names of one kind that differ only in case, signs or plural, or by one letter."""
    events = documents.events.events
    properties: dict[str, set[str]] = defaultdict(set)
    for event in events:
        for each in event.properties:
            properties[each.id].add(event.id)
    facts = [each.id for each in documents.attributes.attributes] + [each.id for each in documents.features.features]
    for kind, names in (
        ("attributes and features", facts),
        ("events", [each.id for each in events]),
        ("properties of events", list(properties)),
    ):
        for one, other in _pairs(names):
            yield Finding(
                Severity.WARNING,
                "names_alike",
                f"{kind} `{one}` and `{other}` are nearly the same name",
                "say whether they are the same thing: if so keep one (an event takes the other as an alias), else name "
                "the difference",
                count=2,
            )


def unread(audit: Audit) -> Iterator[Finding]:
    """Data that no placement needs."""
    for row in audit.rows:
        if "unused" in row.remarks and row.kind in ("feature", "attribute", "event"):
            words = "folded from every event" if row.kind == "feature" else "collected and kept"
            yield Finding(
                Severity.WARNING if row.kind == "feature" else Severity.NOTE,
                f"unread_{row.kind}",
                f"{row.kind} `{row.name}` is {words}, and no rule or model that a placement needs reads it",
                f"leave it out of the bundle, or use it; its owner is {row.owner}",
                count=1,
            )


def _pairs(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    for one, other in combinations(sorted(set(names)), 2):
        if _bare(one) == _bare(other) or _one_letter_apart(one, other):
            yield one, other


def _bare(name: str) -> str:
    """Without signs and plurals: `order_completed`, `OrdersCompleted`."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return "".join(_PLURAL.sub("", word) for word in re.split(r"[^a-z0-9]+", spaced.lower()))


def _one_letter_apart(one: str, other: str) -> bool:
    """One letter more, less, or another one. Names that differ in their numbers are siblings: `spend_30d` and
    `spend_90d`."""
    if min(len(one), len(other)) < ALIKE_FROM or _DIGITS.findall(one) != _DIGITS.findall(other):
        return False
    same = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    rest, other_rest = one[same:], other[same:]
    return rest[1:] == other_rest[1:] or rest[1:] == other_rest or rest == other_rest[1:]
