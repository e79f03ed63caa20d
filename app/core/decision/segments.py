"""Who belongs to a bundle's segments (glossary), as far as a record tells: it holds what the decision could read."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache

from app.core.decision.situation import Situation
from policy.bundle import Bundle
from policy.cel_library import Context
from policy.expressions import Expression, compiled
from policy.schema import Documents


class Membership(StrEnum):
    IN = "in"
    OUT = "out"
    UNKNOWN = "unknown"  # a fact that the segment's rule reads is not in the record


class Segments:
    """The segments of one bundle, compiled."""

    def __init__(self, bundle: Bundle) -> None:
        glossary = Documents.model_validate_json(bundle.canonical).glossary.segments
        rules = {segment.id: segment.rule for segment in glossary}
        self._rules: dict[str, Expression] = {name: compiled(rule, rules) for name, rule in rules.items()}
        self._context = tuple(sorted({name for rule in self._rules.values() for name in rule.context}))

    def of(self, seen: Situation) -> dict[str, Membership]:
        """Where the customer belongs, by the facts that were recorded."""
        if not self._rules:
            return {}
        context = Context({"customer": dict(seen.facts.values), "context": seen.context_values(self._context)})
        return {name: _membership(rule, context) for name, rule in self._rules.items()}


def _membership(rule: Expression, context: Context) -> Membership:
    try:
        return Membership.IN if rule.evaluate(context) is True else Membership.OUT
    except KeyError:
        return Membership.UNKNOWN
    except Exception:  # a rule that fails lets nobody in, as in a decision
        return Membership.OUT


@lru_cache(maxsize=8)
def segments_of(bundle: Bundle) -> Segments:
    return Segments(bundle)
