"""Step `eligible`: switches, sensitivity, validity dates, freshness contracts and rules decide who may compete.

A rule that fails or meets a missing fact makes its message not eligible and names the fact: closed, message by
message. Without leave to personalise only the placement's default competes, and only rules over `context.*` and facts
of sensitivity `none` are run. What may not be read is not there, for rules and models alike: see `readable`.

A candidate that reads or reveals something sensitive needs more than a permission: the customer's own grant, of
personalisation and of the contact. It is out wherever the region restricts its class.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from app.core.decision.exclusion import Excluded
from app.core.decision.gate import Gate
from app.core.decision.readable import impersonal_names, readable, withheld_names
from app.core.decision.situation import Situation
from app.core.features.live import features_read
from policy.bundle import Candidate, Fact, Message, Placement
from policy.cel_library import Context
from policy.codes import Degraded, Exclusion, SwitchKind
from policy.consent import Permission, contact_permission, law_of
from policy.expressions import Expression
from policy.quick import QuickRule, quick_number, quick_rule, quick_rules


@dataclass(slots=True)
class Pool:
    """Who competes. `positions` are positions in `placement.candidates`, in order."""

    positions: list[int]
    excluded: dict[int, Excluded]  # by position
    degraded: list[Degraded]
    values: Mapping[str, Any]  # the facts that rules and models may read
    ranked_by_rules: bool = False  # a freshness contract, or a switch, forbids the model
    weights: dict[int, float] = field(default_factory=dict)  # position → context weight, where it is a rule
    rules: RuleRun | None = None  # for further questions of the same kind; None: the gate stopped


def eligible(placement: Placement, situation: Situation, gate: Gate, taken: Mapping[int, str]) -> Pool:
    """Find the candidates that may compete.

    Args:
        taken: messages (by index) chosen already for more important placements of the request → that placement.
    """
    if gate.stop is not None:
        return Pool([], {}, [], {})
    not_filled = _not_filled(placement, situation, gate) if situation.facts.not_filled else NOT_LACKING
    freshness = check_freshness(placement, situation, readable(placement, situation, gate), not_filled)
    rules = RuleRun(placement, situation, freshness, gate.personal)
    pool = Pool([], {}, freshness.degraded, freshness.values, freshness.ranked_by_rules, rules=rules)
    against = rules.run_all()
    lost = features_read(situation.bundle, placement) if situation.facts.features_unread else freshness.missing
    if lost and _misses(lost, placement, situation, gate):
        pool.degraded.append(Degraded.FEATURES_MISSING)
    switches = situation.control.switches
    usual = gate.personal and not taken and not freshness.ranked_by_rules and not switches
    if not gate.personal:
        pool.degraded.append(Degraded.NO_PERSONALISATION)
    elif usual and not _conditional(placement):
        _sort_by_rules(placement, against, pool)
        return pool
    _say_what_is_withheld(placement, situation, gate, pool)
    barring = bool(switches or _sensitive_classes(placement))  # most bundles use neither
    plain = _plain(placement)
    for position, candidate in enumerate(placement.candidates):
        message = candidate.message
        excluded = (
            _against(message, against)
            if usual and plain[position]
            else (
                (_barred(candidate, placement, situation, gate) if barring else None)
                or _not_considered(position, placement, gate)
                or _taken(message, taken)
                or _not_valid(message, situation.now_ms)
                or _purpose_refused(message, placement, situation)
                or _stale(message, freshness)
                or _against(message, against)
            )
        )
        if excluded is None:
            pool.positions.append(position)
            if isinstance(message.context_weight, Expression):
                pool.weights[position] = rules.weight(message.context_weight)
        else:
            pool.excluded[position] = excluded
    return pool


def _against(message: Message, against: Mapping[int, Excluded]) -> Excluded | None:
    """The first of its rules that speaks against a message."""
    for index in message.rules:
        if index in against:
            return against[index]
    return None


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
    """Whether more has to be looked at than rules: at what is sensitive, or at one of the candidates."""
    weighed = any(isinstance(candidate.message.context_weight, Expression) for candidate in placement.candidates)
    return bool(_sensitive_classes(placement)) or weighed or not all(_plain(placement))


@lru_cache(maxsize=1024)
def _plain(placement: Placement) -> tuple[bool, ...]:
    """By position, whether a candidate depends on nothing but its rules: on no dates, no consent of its own, and on
    nothing sensitive."""
    return tuple(
        not candidate.sensitive
        and candidate.message.valid_from_ms is None
        and candidate.message.valid_until_ms is None
        and candidate.message.purpose in (None, placement.purpose)
        for candidate in placement.candidates
    )


@lru_cache(maxsize=1024)
def _model_facts(placement: Placement) -> frozenset[str]:
    """The customer facts that the placement's model reads."""
    inputs = placement.model.inputs if placement.model else ()
    return frozenset(path[9:] for path in inputs if path.startswith("customer."))


@lru_cache(maxsize=1024)
def _sensitive_classes(placement: Placement) -> frozenset[str]:
    """Every sensitive class that the placement's rules or model read, or that one of its messages reveals."""
    return placement.sensitive.union(*(candidate.sensitive for candidate in placement.candidates))


def _say_what_is_withheld(placement: Placement, situation: Situation, gate: Gate, pool: Pool) -> None:
    """What the answer lacks because of its region, of a switch, or for want of an explicit grant."""
    if gate.restricted and gate.restricted & _sensitive_classes(placement):
        pool.degraded.append(Degraded.RESTRICTED_REGION)
    model = placement.model
    if model is None or not gate.personal:
        return
    if situation.control.switches and situation.control.off(SwitchKind.MODEL, model.id, situation.now_ms):
        pool.degraded.append(Degraded.MODEL_MISSING)
        pool.ranked_by_rules = True
    elif model.on_missing != "rules":  # with `rules` the model says itself that it lacks something
        withheld = withheld_names(placement, situation, gate)
        unsaid = Degraded.FEATURES_MISSING not in pool.degraded
        if unsaid and withheld and not withheld.isdisjoint(_model_facts(placement)):
            pool.degraded.append(Degraded.FEATURES_MISSING)


def _misses(wanted: frozenset[str], placement: Placement, situation: Situation, gate: Gate) -> bool:
    """Whether features that are missing are wanted here. A model that ranks by rules without them says so."""
    if not gate.personal:
        wanted &= impersonal_names(situation.bundle)
    model = placement.model
    says_so = gate.personal and model is not None and model.on_missing == "rules"
    return bool(wanted - _model_facts(placement) if says_so else wanted)


def _not_filled(placement: Placement, situation: Situation, gate: Gate) -> frozenset[str]:
    """The features that lack events, of those that the placement may read: nobody is told of others."""
    names = situation.facts.not_filled & features_read(situation.bundle, placement)
    if not gate.personal:
        names &= impersonal_names(situation.bundle)
    return names - withheld_names(placement, situation, gate)


def _barred(candidate: Candidate, placement: Placement, situation: Situation, gate: Gate) -> Excluded | None:
    if situation.control.switches:
        switched_off = _switched_off(candidate.message, situation)
        if switched_off is not None:
            return switched_off
    return _too_sensitive(candidate, placement, situation, gate) if candidate.sensitive else None


def _switched_off(message: Message, situation: Situation) -> Excluded | None:
    """A message switched off; or the purpose that it has beside its placement's, which the gate has looked at."""
    off, now_ms = situation.control.off, situation.now_ms
    switch = off(SwitchKind.MESSAGE, message.id, now_ms)
    if switch is None and message.purpose is not None:
        switch = off(SwitchKind.PURPOSE, message.purpose, now_ms)
    return None if switch is None else Excluded(Exclusion.SWITCHED_OFF, ("switch", switch.kind.value, switch.name))


def _too_sensitive(candidate: Candidate, placement: Placement, situation: Situation, gate: Gate) -> Excluded | None:
    """Where the region restricts a class that the candidate reads or reveals; or where a grant is missing."""
    restricted = candidate.sensitive & gate.restricted
    if restricted:
        where = situation.region_code or law_of(situation.bundle, None).id
        return Excluded(Exclusion.SENSITIVE_IN_REGION, ("restricted", min(restricted), where))
    if gate.sensitive and _contact_granted(candidate.message, placement, situation, gate):
        return None
    return Excluded(Exclusion.SENSITIVE_MESSAGE, ("sensitive", min(candidate.sensitive)))


def _contact_granted(message: Message, placement: Placement, situation: Situation, gate: Gate) -> bool:
    """Whether the customer granted the contact, for the placement's purpose and the message's own."""
    if gate.contact is None or gate.contact.state != "granted":
        return False
    return message.purpose is None or _leave(message.purpose, placement, situation).state == "granted"


def _leave(purpose: str, placement: Placement, situation: Situation) -> Permission:
    facts, law = situation.facts, law_of(situation.bundle, situation.region)
    return contact_permission(facts.consent, purpose, placement.channel, law, facts.now_ms, situation.gpc)


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
    leave = _leave(message.purpose, placement, situation)
    return None if leave.permitted else Excluded(Exclusion.NOT_ELIGIBLE, ("purpose", message.purpose, leave.state))


def _stale(message: Message, freshness: Freshness) -> Excluded | None:
    if freshness.ranked_by_rules and message.risk != "low":
        return freshness.says(freshness.blamed)
    return None


class Freshness(NamedTuple):
    """What the freshness contracts make of the facts."""

    values: Mapping[str, Any]
    degraded: list[Degraded]
    ranked_by_rules: bool = False
    blamed: str = ""  # the fact that forbids the model
    dropping: frozenset[str] = frozenset()  # messages whose rules read one of these are dropped
    not_filled: frozenset[str] = frozenset()  # they lack events that passed
    missing: frozenset[str] = frozenset()  # those of them of which no contract says what then

    def says(self, name: str) -> Excluded:
        """Why a fact that is stale, or lacks events, forbids a message."""
        return Excluded(Exclusion.STALE_FEATURE, ("lacking" if name in self.not_filled else "stale", name))


NOT_LACKING: frozenset[str] = frozenset()


def check_freshness(
    placement: Placement,
    situation: Situation,
    values: Mapping[str, Any],
    not_filled: frozenset[str] = NOT_LACKING,
) -> Freshness:
    """Apply `max_age` per fact: a fact is stale when its source wrote it longer ago than that, or nobody knows when. A
    feature (`max_lag`) is stale when its events are not known to be complete since then: that none came is no news.

    `on_stale` says what then: `use` it, `impute` (treat it as missing), `drop_messages` whose rules read it, or rank
    by `rules` among low-risk messages. A feature that is `not_filled` is stale whatever its events say, and has no
    value, so it is not used either; without a contract it is missing.
    """
    stale = [
        fact for fact in placement.contracts if fact.name in values and _is_stale(fact, values[fact.name], situation)
    ]
    missing = not_filled
    if not_filled:
        stale += [fact for fact in placement.contracts if fact.name in not_filled]
        missing -= {fact.name for fact in stale}
    if not stale:
        return Freshness(values, [], not_filled=not_filled, missing=missing) if not_filled else Freshness(values, [])
    kept = dict(values)
    for fact in stale:
        if fact.on_stale == "impute" and fact.default is not None:
            kept[fact.name] = fact.default
        elif fact.on_stale == "impute":
            kept.pop(fact.name, None)
    to_rules = [fact.name for fact in stale if fact.on_stale == "rules"]
    return Freshness(
        values=kept,
        degraded=[Degraded.FEATURES_STALE],
        ranked_by_rules=bool(to_rules),
        blamed=to_rules[0] if to_rules else "",
        dropping=frozenset(fact.name for fact in stale if fact.on_stale == "drop_messages"),
        not_filled=not_filled,
        missing=missing,
    )


def _is_stale(fact: Fact, value: Any, situation: Situation) -> bool:
    as_of_ms = situation.facts.as_of_ms.get(fact.source)
    if as_of_ms is None:  # never written: the bundle's default has no age, anything else has one that nobody knows
        return fact.kind == "feature" or bool(value != fact.default)
    return fact.max_age_s is not None and situation.now_ms - as_of_ms > fact.max_age_s * 1000


class RuleRun:
    """Runs each distinct rule of a placement once, in one CEL context that holds only what the rules refer to."""

    __slots__ = ("_bundle", "_cel", "_context", "_dropping", "_freshness", "_personal", "_placement", "_values")

    def __init__(self, placement: Placement, situation: Situation, freshness: Freshness, personal: bool) -> None:
        self._values = freshness.values
        self._context = situation.context_values(placement.context_names)
        self._cel: Context | None = None
        self._placement = placement
        self._bundle = situation.bundle
        self._personal = personal
        self._dropping = freshness.dropping
        self._freshness = freshness

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
            return (*quick.others, *self._one_by_one(quick.each, against))
        if False in verdicts:
            for rule, holds in zip(quick.each, verdicts, strict=True):
                if not holds:
                    against[rule.number] = Excluded(Exclusion.NOT_ELIGIBLE, ("rule", rule.number))
        return quick.others

    def _one_by_one(self, rules: Iterable[QuickRule], against: dict[int, Excluded]) -> Iterator[int]:
        """Run each by itself, and leave to CEL what needs a fact that is missing; a comparison needs its fact."""
        for index, run, compares in rules:
            try:
                (holds,) = run(self._values, self._context)
            except KeyError as missing:
                if not compares:
                    yield index
                    continue
                against[index] = self._lacks(index, str(missing.args[0]))
            except TypeError:
                yield index
            else:
                if not holds:
                    against[index] = Excluded(Exclusion.NOT_ELIGIBLE, ("rule", index))

    def holds(self, indexes: Iterable[int]) -> bool:
        """Whether all of these rules hold, for audiences: a rule that fails, that meets a missing fact or that may not
        be run does not. The placement must know the rules' names (`Placement.customer_names`, `context_names`)."""
        return all(self._holds(index) for index in indexes)

    def _holds(self, index: int) -> bool:
        quick = quick_rule(self._bundle, index) if self._personal and not self._dropping else None
        if quick is not None:
            with suppress(KeyError, TypeError):
                return quick.run(self._values, self._context)[0]
        return self._run(index) is None

    def weight(self, expression: Expression) -> float:
        """A context weight; 1.0 where the rule fails: weights are scores, and scores fail open."""
        quick = quick_number(self._bundle, expression)
        try:
            if quick is not None:
                return quick({}, self._context)[0]
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
                    return self._freshness.says(name)
        try:
            holds = rule.expression.evaluate(self._context_for_cel())
        except KeyError as missing:  # the library names the absent key of `customer` or `context`
            return self._lacks(index, str(missing.args[0]))
        except Exception:  # a rule that fails never lets a message through
            return Excluded(Exclusion.NOT_ELIGIBLE, ("failed", index))
        return None if holds is True else Excluded(Exclusion.NOT_ELIGIBLE, ("rule", index))

    def _lacks(self, index: int, name: str) -> Excluded:
        path = _path_of(name, self._bundle.rules[index].expression)
        lacking = path.removeprefix("customer.") in self._freshness.not_filled
        return Excluded(Exclusion.NOT_ELIGIBLE, ("not_filled" if lacking else "missing", index, path))

    def _context_for_cel(self) -> Context:
        if self._cel is None:
            values = self._values
            customer = {name: values[name] for name in self._placement.customer_names if name in values}
            self._cel = Context({"customer": customer, "context": self._context})
        return self._cel


def _path_of(name: str, expression: Expression) -> str:
    return f"context.{name}" if name in expression.context and name not in expression.customer else f"customer.{name}"
