"""Step `eligible`: validity dates, freshness contracts and authored rules decide who may compete.

A rule that fails or meets a missing fact makes its message not eligible and names the fact: closed, message by
message. Without leave to personalise only the placement's default competes, and only rules over `context.*` and facts
of sensitivity `none` are run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from cel import Context

from app.core.decision.exclusion import Excluded
from app.core.decision.gate import Gate
from app.core.decision.situation import Situation
from policy.bundle import Bundle, Fact, Message, Placement
from policy.codes import Degraded, Exclusion
from policy.consent import contact_permission
from policy.expressions import Expression
from policy.quick import quick_rules


@dataclass(slots=True)
class Pool:
    """Who competes. `positions` are positions in `placement.candidates`, in order."""

    positions: list[int]
    excluded: dict[int, Excluded]  # by position
    degraded: list[Degraded]
    values: Mapping[str, Any]  # the facts that rules and models may read
    ranked_by_rules: bool = False  # a freshness contract forbids the model
    weights: dict[int, float] = field(default_factory=dict)  # position → context weight, where it is a rule


def eligible(placement: Placement, situation: Situation, gate: Gate, taken: Mapping[int, str]) -> Pool:
    """Find the candidates that may compete.

    Args:
        taken: messages (by index) chosen already for more important placements of the request → that placement.
    """
    if gate.stop is not None:
        return Pool([], {}, [], {})
    readable = situation.facts.values if gate.personal else _impersonal(situation)
    freshness = check_freshness(placement, situation, readable)
    pool = Pool([], {}, freshness.degraded, freshness.values, freshness.ranked_by_rules)
    rules = RuleRun(placement, situation, freshness, gate.personal)
    against = rules.run_all()
    if not gate.personal:
        pool.degraded.append(Degraded.NO_PERSONALISATION)
    elif not taken and not freshness.ranked_by_rules and not _conditional(placement):
        _sort_by_rules(placement, against, pool)
        return pool
    for position, candidate in enumerate(placement.candidates):
        message = candidate.message
        excluded = (
            _not_considered(position, placement, gate)
            or _taken(message, taken)
            or _not_valid(message, situation.now_ms)
            or _purpose_refused(message, placement, situation)
            or _stale(message, freshness)
            or next((against[index] for index in message.rules if index in against), None)
        )
        if excluded is None:
            pool.positions.append(position)
            if isinstance(message.context_weight, Expression):
                pool.weights[position] = rules.weight(message.context_weight)
        else:
            pool.excluded[position] = excluded
    return pool


def _sort_by_rules(placement: Placement, against: Mapping[int, Excluded], pool: Pool) -> None:
    """The usual case: nothing but rules can speak against a candidate."""
    if not against:
        pool.positions.extend(range(len(placement.candidates)))
        return
    for position, held in enumerate(_rules_held(placement)):
        for index in held:
            if index in against:
                pool.excluded[position] = against[index]
                break
        else:
            pool.positions.append(position)


@lru_cache(maxsize=1024)
def _rules_held(placement: Placement) -> tuple[tuple[int, ...], ...]:
    return tuple(candidate.message.rules for candidate in placement.candidates)


@lru_cache(maxsize=1024)
def _conditional(placement: Placement) -> bool:
    """Whether some candidate depends on more than its rules: on dates, on a consent of its own, on a weight rule."""
    messages = [candidate.message for candidate in placement.candidates]
    return any(
        message.valid_from_ms is not None
        or message.valid_until_ms is not None
        or message.purpose not in (None, placement.purpose)
        or isinstance(message.context_weight, Expression)
        for message in messages
    )


def _impersonal(situation: Situation) -> dict[str, Any]:
    names = impersonal_names(situation.bundle)
    return {name: value for name, value in situation.facts.values.items() if name in names}


@lru_cache(maxsize=64)
def impersonal_names(bundle: Bundle) -> frozenset[str]:
    """Facts of sensitivity `none`: those that may be read without leave to personalise."""
    return frozenset(fact.name for fact in bundle.facts if fact.sensitivity == "none")


def _not_considered(position: int, placement: Placement, gate: Gate) -> Excluded | None:
    if gate.personal or position == placement.default:
        return None
    return Excluded(Exclusion.NOT_ELIGIBLE, ("default",))


def _taken(message: Message, taken: Mapping[int, str]) -> Excluded | None:
    if message.index in taken:
        return Excluded(Exclusion.CHOSEN_ELSEWHERE, ("placement", taken[message.index]))
    return None


def _not_valid(message: Message, now_ms: int) -> Excluded | None:
    if message.valid_from_ms is not None and now_ms < message.valid_from_ms:
        return Excluded(Exclusion.NOT_VALID_NOW, ("from", message.valid_from_ms))
    if message.valid_until_ms is not None and now_ms >= message.valid_until_ms:
        return Excluded(Exclusion.NOT_VALID_NOW, ("until", message.valid_until_ms))
    return None


def _purpose_refused(message: Message, placement: Placement, situation: Situation) -> Excluded | None:
    """A message may need another consent than its placement; then it needs both."""
    if message.purpose is None or message.purpose == placement.purpose or placement.klass == "transactional":
        return None
    leave = contact_permission(situation.facts.consent, message.purpose, placement.channel, situation.region)
    return None if leave.permitted else Excluded(Exclusion.NOT_ELIGIBLE, ("purpose", message.purpose, leave.state))


def _stale(message: Message, freshness: Freshness) -> Excluded | None:
    if freshness.ranked_by_rules and message.risk != "low":
        return Excluded(Exclusion.STALE_FEATURE, ("stale", freshness.blamed))
    return None


class Freshness(NamedTuple):
    """What the freshness contracts make of the facts."""

    values: Mapping[str, Any]
    degraded: list[Degraded]
    ranked_by_rules: bool = False
    blamed: str = ""  # the fact that forbids the model
    dropping: frozenset[str] = frozenset()  # messages whose rules read one of these are dropped


def check_freshness(placement: Placement, situation: Situation, values: Mapping[str, Any]) -> Freshness:
    """Apply `max_age` per fact: a fact is stale when its source wrote it longer ago than that, or nobody knows when.

    `on_stale` says what then: `use` it, `impute` (treat it as missing), `drop_messages` whose rules read it, or rank
    by `rules` among low-risk messages.
    """
    stale = [
        fact for fact in placement.contracts if fact.name in values and _is_stale(fact, values[fact.name], situation)
    ]
    if not stale:
        return Freshness(values, [])
    kept = dict(values)
    for fact in stale:
        if fact.on_stale == "impute" and fact.default is not None:
            kept[fact.name] = fact.default
        elif fact.on_stale == "impute":
            del kept[fact.name]
    to_rules = [fact.name for fact in stale if fact.on_stale == "rules"]
    return Freshness(
        values=kept,
        degraded=[Degraded.FEATURES_STALE],
        ranked_by_rules=bool(to_rules),
        blamed=to_rules[0] if to_rules else "",
        dropping=frozenset(fact.name for fact in stale if fact.on_stale == "drop_messages"),
    )


def _is_stale(fact: Fact, value: Any, situation: Situation) -> bool:
    as_of_ms = situation.facts.as_of_ms.get(fact.owner)
    if as_of_ms is None:  # never written: the bundle's default has no age, anything else has one that nobody knows
        return bool(value != fact.default)
    return fact.max_age_s is not None and situation.now_ms - as_of_ms > fact.max_age_s * 1000


class RuleRun:
    """Runs each distinct rule of a placement once, in one CEL context that holds only what the rules refer to."""

    __slots__ = ("_bundle", "_cel", "_context", "_dropping", "_personal", "_placement", "_values")

    def __init__(self, placement: Placement, situation: Situation, freshness: Freshness, personal: bool) -> None:
        self._values = freshness.values
        self._context = situation.context_values(placement.context_names)
        self._cel: Context | None = None
        self._placement = placement
        self._bundle = situation.bundle
        self._personal = personal
        self._dropping = freshness.dropping

    def run_all(self) -> dict[int, Excluded]:
        """The rules that speak against the messages that hold them, by index, and how each says so."""
        against: dict[int, Excluded] = {}
        for index in self._left_to_cel(against):
            verdict = self._run(index)
            if verdict is not None:
                against[index] = verdict
        return against

    def _left_to_cel(self, against: dict[int, Excluded]) -> tuple[int, ...]:
        """Run what has a quick form; the rest, or all where a fact is missing or must not be read, is for CEL."""
        if not self._personal or self._dropping:
            return self._placement.rules
        quick = quick_rules(self._bundle, self._placement)
        try:
            verdicts = quick.run(self._values, self._context)
        except (KeyError, TypeError):
            return self._placement.rules
        if False in verdicts:
            for index, holds in zip(quick.indexes, verdicts, strict=True):
                if not holds:
                    against[index] = Excluded(Exclusion.NOT_ELIGIBLE, ("rule", index))
        return quick.others

    def weight(self, expression: Expression) -> float:
        """A context weight; 1.0 where the rule fails: weights are scores, and scores fail open."""
        try:
            return float(expression.evaluate(self._context_for_cel()))
        except Exception:  # whatever a rule engine raises, the answer is the same
            return 1.0

    def _run(self, index: int) -> Excluded | None:
        rule = self._bundle.rules[index]
        if not self._personal and not rule.impersonal:
            return Excluded(Exclusion.NOT_ELIGIBLE, ("personal",))
        if self._dropping:
            for name in rule.expression.customer:
                if name in self._dropping:
                    return Excluded(Exclusion.STALE_FEATURE, ("stale", name))
        try:
            holds = rule.expression.evaluate(self._context_for_cel())
        except KeyError as missing:  # the library names the absent key of `customer` or `context`
            return Excluded(Exclusion.NOT_ELIGIBLE, ("missing", index, _path_of(str(missing.args[0]), rule.expression)))
        except Exception:  # a rule that fails never lets a message through
            return Excluded(Exclusion.NOT_ELIGIBLE, ("failed", index))
        return None if holds is True else Excluded(Exclusion.NOT_ELIGIBLE, ("rule", index))

    def _context_for_cel(self) -> Context:
        if self._cel is None:
            values = self._values
            customer = {name: values[name] for name in self._placement.customer_names if name in values}
            self._cel = Context({"customer": customer, "context": self._context})
        return self._cel


def _path_of(name: str, expression: Expression) -> str:
    return f"context.{name}" if name in expression.context and name not in expression.customer else f"customer.{name}"
