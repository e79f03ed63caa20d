"""A record read under another bundle: what `simulate` decides again.

Names are what two bundles share: placements, messages, limits, budgets and trials by id, facts by name, contacts and
switches as they are. What the other bundle does not know is left out, what no longer fits is missing, and both are
counted: a simulation that guessed in silence would be worth nothing.

A placement keeps the number under which it draws (`Placement.index`): draws of a request then fall as they fell, and
what differs is the bundle, not the luck. Budgets that are new have room, since nobody counted them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from app.core.decision.arbitrate import Decision
from app.core.decision.eligible import Pool
from app.core.decision.readable import impersonal_names
from app.core.decision.record import Record
from app.core.decision.score import Scoring
from app.core.decision.situation import Situation, facts_read, situation
from policy.bundle import Bundle, ContextField, Fact, Placement
from policy.codes import Degraded, Rung
from policy.control import NO_CONTROL, Control
from policy.facts import ContactKind, Facts
from policy.feature_rules import ALWAYS
from policy.limits import contact_matters

#: What a model's run alone can say.
_FAILURES = frozenset({Degraded.MODEL_MISSING, Degraded.MODEL_FAILED, Degraded.MODEL_TIMEOUT})

What = Literal["fact_gone", "fact_unfit", "fact_redefined", "context_gone", "context_unfit"]


class Note(NamedTuple):
    """Something of a record that the other bundle cannot use."""

    what: What
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A placement in both bundles."""

    old: Placement
    new: Placement  # with the number of the old one
    model: bool  # the same model reads the same inputs: what it said then, it says now
    scored_as: Mapping[int, int]  # position in the new → in the old, of messages that a model reads alike
    needed: frozenset[str]  # facts that the new one may read
    needed_impersonal: frozenset[str]
    recorded: frozenset[str]  # facts that the old one's records hold
    recorded_impersonal: frozenset[str]


class Moved(NamedTuple):
    """A record, ready to be decided under the other bundle."""

    situation: Situation
    pairs: tuple[Pair | None, ...]  # for every placement asked for; None: the other bundle has no such placement
    notes: tuple[Note, ...]


class Move:
    """How records of one bundle are read under another. Made once for two bundles."""

    def __init__(self, old: Bundle, new: Bundle) -> None:
        self.old = old
        self.new = new
        self.pairs = dict(_pairs(old, new))
        theirs = new.fact_by_name
        self._gone = frozenset(name for name in old.fact_by_name if name not in theirs)
        self._redefined = _redefined(old, new)
        self._checks = {
            fact.name: theirs[fact.name]
            for fact in old.facts
            if fact.name in theirs and _form(fact) != _form(theirs[fact.name])
        }
        always = {rule.name for rule in old.features if rule.fold in ALWAYS}
        self._old_defaults = {
            fact.name: fact
            for fact in old.facts
            if fact.default is not None and fact.name in theirs and theirs[fact.name].default != fact.default
            if fact.name not in always
        }
        self._defaults = {fact.name: fact.default for fact in new.facts if fact.default is not None}
        self._sources = [
            (fact.source, theirs[fact.name].source)
            for fact in old.facts
            if fact.name in theirs and theirs[fact.name].source != fact.source
        ]
        budgets = {budget.id: budget.index for budget in new.budgets}
        self._budgets = {each.index: budgets[each.id] for each in old.budgets if each.id in budgets}
        self.uncounted_budgets = tuple(sorted(budgets.keys() - {each.id for each in old.budgets}))

    def moved(self, record: Record) -> Moved:
        """The record under the other bundle."""
        asked = record.asked
        notes: list[Note] = []
        facts = self._facts(record.facts, notes)
        context = self._context(asked.context, notes) if asked.context else asked.context
        seen = situation(
            self.new, facts, context, record.seed, asked.customer, asked.gpc, self._control(record.control)
        )
        return Moved(seen, tuple([self.pairs.get(each.id) for each in asked.placements]), tuple(notes))

    def _facts(self, facts: Facts, notes: list[Note]) -> Facts:
        values = self._values(facts, notes)
        if not self._sources:
            return facts._replace(values=values)
        as_of_ms = dict(facts.as_of_ms)
        for before, after in self._sources:
            if before in facts.as_of_ms:
                as_of_ms.setdefault(after, facts.as_of_ms[before])
        return facts._replace(values=values, as_of_ms=as_of_ms)

    def _values(self, facts: Facts, notes: list[Note]) -> Mapping[str, Any]:
        """As a profile is read: a value that does not fit its type is missing, a missing one takes the default."""
        if not (self._gone or self._redefined or self._checks or self._defaults or self._old_defaults):
            return facts.values
        values: dict[str, Any] = dict(self._defaults)
        for name, value in facts.values.items():
            if name in self._gone:
                notes.append(Note("fact_gone", name))
            elif name in self._redefined:
                notes.append(Note("fact_redefined", name))
            elif name in self._old_defaults and _stood_in(self._old_defaults[name], value, facts):
                continue
            elif name not in self._checks:
                values[name] = value
            elif _fits(self._checks[name], value):
                values[name] = float(value) if self._checks[name].type == "float" else value
            else:
                notes.append(Note("fact_unfit", name))
        return values

    def _context(self, context: Mapping[str, Any], notes: list[Note]) -> dict[str, Any]:
        """What the caller sent, as far as it would be accepted."""
        kept = {}
        for name, value in context.items():
            before, after = self.old.context.get(name), self.new.context.get(name)
            if after is None:
                notes.append(Note("context_gone", name))
            elif before != after and not _context_fits(after, value):
                notes.append(Note("context_unfit", name))
            else:
                kept[name] = value
        return kept

    def _control(self, control: Control) -> Control:
        if control is NO_CONTROL:
            return control
        exhausted = frozenset(self._budgets[index] for index in control.exhausted if index in self._budgets)
        return control._replace(exhausted=exhausted)


def _pairs(old: Bundle, new: Bundle) -> Iterator[tuple[str, Pair]]:
    """The placements that both bundles have, by id."""
    for before in old.placements.values():
        after = new.placements.get(before.id)
        if after is None:
            continue
        if after.index != before.index:
            after = replace(after, index=before.index)
        needed, recorded = frozenset(facts_read(after)), frozenset(facts_read(before))
        pair = Pair(
            old=before,
            new=after,
            model=_same_model(old, before, new, after),
            scored_as=_scored_as(before, after),
            needed=needed,
            needed_impersonal=needed & impersonal_names(new),
            recorded=recorded,
            recorded_impersonal=recorded & impersonal_names(old),
        )
        yield before.id, pair


def _same_model(old: Bundle, before: Placement, new: Bundle, after: Placement) -> bool:
    """Whether what a model said of a customer then is what the new placement's model would say now. Facts must be
    declared alike, since their contracts, defaults and sensitivity decide what a model gets to read."""
    ours, theirs = before.model, after.model
    if ours is None or theirs is None:
        return False
    if (ours.id, ours.version, ours.inputs, ours.on_missing) != (
        theirs.id,
        theirs.version,
        theirs.inputs,
        theirs.on_missing,
    ):
        return False
    names = [path.removeprefix("customer.") for path in ours.inputs if path.startswith("customer.")]
    facts = [(old.fact_by_name[name], new.fact_by_name.get(name)) for name in names]
    if any(fact is None or _read_as(mine) != _read_as(fact) for mine, fact in facts):
        return False
    if not _redefined(old, new).isdisjoint(names):
        return False
    sensitive = any(mine.sensitivity.startswith("sensitive:") for mine, _ in facts)
    return not sensitive or (old.regions == new.regions and before.sensitive == after.sensitive)


def _redefined(old: Bundle, new: Bundle) -> frozenset[str]:
    """Features that mean something else now: what a record holds of them, the new bundle would not have read."""
    means = {rule.name: rule.definition for rule in new.features}
    return frozenset(rule.name for rule in old.features if means.get(rule.name, rule.definition) != rule.definition)


def _scored_as(before: Placement, after: Placement) -> dict[int, int]:
    inputs = [path.removeprefix("message.") for path in (after.model.inputs if after.model else ())]
    at = {candidate.message.id: position for position, candidate in enumerate(before.candidates)}
    alike = {}
    for position, candidate in enumerate(after.candidates):
        message = candidate.message
        known = at.get(message.id)
        if known is not None:
            features = before.candidates[known].message.features
            if all(features.get(name) == message.features.get(name) for name in inputs):
                alike[position] = known
    return alike


def recorded_scores(pair: Pair, recorded: Decision, pool: Pool) -> Scoring | None:
    """What the model said when the record was made, or why it said nothing; None: it must be asked now.

    A model that failed then is taken to fail now: an outage is no difference between two bundles.
    """
    if not pair.model:
        return None
    if recorded.responses:
        said = dict(zip(recorded.scored, recorded.responses, strict=True))
        try:
            return Scoring([said[pair.scored_as[position]] for position in pool.positions])
        except KeyError:
            return None
    for what in recorded.degraded:
        by_gaps = what is Degraded.FEATURES_MISSING and pair.old.model and pair.old.model.on_missing == "rules"
        if what in _FAILURES or by_gaps:
            return Scoring(degraded=what)
    return None


def lacking(pair: Pair, recorded: Decision, decided: Decision, values: Mapping[str, Any]) -> Iterable[str]:
    """Facts that the new decision would have read and that nobody looked up when the record was made."""
    needed = pair.needed if read_personal(decided) else pair.needed_impersonal
    known = pair.recorded if read_personal(recorded) else pair.recorded_impersonal
    if decided.rung is Rung.SUPPRESS or needed <= known:
        return ()
    return [name for name in needed if name not in known and name not in values]


def read_personal(decision: Decision) -> bool:
    """Whether personal facts could be read."""
    return decision.rung is not Rung.SUPPRESS and Degraded.NO_PERSONALISATION not in decision.degraded


def uncounted_contacts(old: Bundle, new: Bundle) -> tuple[str, ...]:
    """Messages of the old bundle whose contacts the new one counts and old records do not hold. Sorted."""
    kinds = {
        candidate.message.id: _kind(placement, candidate.message)
        for placement in old.placements.values()
        for candidate in placement.candidates
    }
    return tuple(
        sorted(name for name, kind in kinds.items() if contact_matters(new, kind) and not contact_matters(old, kind))
    )


def _kind(placement: Placement, message: Any) -> ContactKind:
    return ContactKind(
        placement.id, placement.channel, placement.klass, message.id, message.category or "", message.campaign or ""
    )


def _form(fact: Fact) -> tuple[Any, ...]:
    """Which values are read. A range is none of it: it is held where a value is written."""
    return fact.type, fact.values


def _read_as(fact: Fact) -> tuple[Any, ...]:
    """All that decides which value of a fact is read."""
    return *_form(fact), fact.source, fact.sensitivity, fact.max_age_s, fact.on_stale, fact.default


def _stood_in(fact: Fact, value: Any, facts: Facts) -> bool:
    """Whether the value is the old bundle's default: its source never wrote anything."""
    return bool(value == fact.default) and fact.source not in facts.as_of_ms


def _fits(fact: Fact, value: Any) -> bool:
    """As a stored value is read."""
    if fact.type == "float":
        return type(value) in (int, float)
    if fact.type == "enum":
        return value in fact.values
    return type(value) is {"int": int, "bool": bool, "string": str}[fact.type]


def _context_fits(field: ContextField, value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match field.type:
        case "enum":
            return value in field.values
        case "int" | "float":
            whole = field.type == "float" or isinstance(value, int)
            low, high = field.minimum, field.maximum
            return number and whole and (low is None or value >= low) and (high is None or value <= high)
        case "bool":
            return isinstance(value, bool)
        case "string":
            return isinstance(value, str) and (field.max_length is None or len(value) <= field.max_length)
    return isinstance(value, str)


__all__ = ["Move", "Moved", "Note", "Pair", "lacking", "read_personal", "recorded_scores", "uncounted_contacts"]
