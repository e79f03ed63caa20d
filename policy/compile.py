"""Compiles validated files into the immutable objects that deciding uses.

Compiling presumes what `policy.lint` has checked: every name exists, every rule parses and its types fit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from policy import catalogue
from policy.bundle import Bundle, Candidate, Fact, Limit, Message, ModelRef, Placement, Rule, Variant, Window
from policy.durations import seconds
from policy.expressions import Expression, compiled, conditions
from policy.lint import BundleError, examine
from policy.not_in_force import not_in_force
from policy.schema import Documents, offers, rules
from policy.schema.types import instant_ms

Value = TypeVar("Value")


def load(path: Path) -> Bundle:
    """The bundle in a folder. Raises `policy.lint.BundleError` with all of its mistakes.

    It is compiled from its canonical form, as it will be when an old record is replayed: what canonical order
    changes (the order of a template's parameters, say) is then changed for both.
    """
    report, documents = examine(path)
    if report.mistakes or documents is None:
        raise BundleError(report.mistakes)
    return from_canonical(documents.canonical())


def from_canonical(data: bytes) -> Bundle:
    """The bundle of a canonical form that was stored beside records.

    The bytes stay as they are, and so does the digest, also where a later release would write them differently.
    Raises pydantic's ValidationError on anything that no release wrote.
    """
    return _compiled(Documents.model_validate_json(data), data)


def _compiled(documents: Documents, canonical: bytes) -> Bundle:
    """Compiles files that lint has accepted; `canonical` is their canonical form."""
    facts = catalogue.facts(documents)
    table = _RuleTable(facts, {segment.id: segment.rule for segment in documents.glossary.segments})
    messages = tuple(_message(index, each, table) for index, each in enumerate(documents.messages.messages))
    models = tuple(_model(index, each) for index, each in enumerate(documents.models.models))
    limits = _limits(documents.limits.limits)
    placements = {
        each.id: _Slot(each, messages, models, limits, table).compiled(index)
        for index, each in enumerate(documents.placements.placements)
    }
    return Bundle(
        name=documents.bundle.name,
        owner=documents.bundle.owner,
        currency=documents.bundle.currency,
        digest=f"sha256:{hashlib.sha256(canonical).hexdigest()}",
        facts=facts,
        context=catalogue.context(documents),
        rules=tuple(table.rules),
        messages=messages,
        placements=_frozen(placements),
        models=models,
        limits=limits,
        purposes=catalogue.purposes(documents),
        regions=catalogue.regions(documents),
        ledger_retention_s=seconds(documents.data.retention.ledger),
        profile_retention_s=seconds(documents.data.retention.profile),
        fact_by_name=_frozen({fact.name: fact for fact in facts}),
        canonical=canonical,
        not_in_force=tuple(str(part) for part in not_in_force(documents)),
    )


def _frozen(mapping: Mapping[str, Value]) -> Mapping[str, Value]:
    return MappingProxyType(dict(mapping))


class _RuleTable:
    """The distinct conditions of a bundle, numbered as they are first met."""

    def __init__(self, facts: Iterable[Fact], segments: Mapping[str, str]) -> None:
        self.facts = {fact.name: fact for fact in facts}
        self.rules: list[Rule] = []
        self._segments = segments
        self._by_source: dict[str, int] = {}

    def numbers(self, source: str) -> tuple[int, ...]:
        """The numbers of a rule's conditions; none for the rule that is always true."""
        return tuple(dict.fromkeys(self._number(part) for part in conditions(source)))

    def _number(self, source: str) -> int:
        if source not in self._by_source:
            expression = compiled(source, self._segments)
            impersonal = all(self.facts[name].sensitivity == "none" for name in expression.customer)
            self._by_source[source] = len(self.rules)
            self.rules.append(Rule(len(self.rules), source, expression, impersonal))
        return self._by_source[source]


def _message(index: int, authored: offers.Message, table: _RuleTable) -> Message:
    content, valid = authored.content, authored.valid
    variants = [Variant(each.id, each.subject, each.weight) for each in authored.variants]
    return Message(
        index=index,
        id=authored.id,
        version=authored.version,
        placements=tuple(authored.placements),
        category=authored.category,
        campaign=authored.campaign,
        purpose=authored.purpose,
        risk=authored.risk,
        rules=table.numbers(authored.eligible),
        value=authored.value,
        lever=authored.lever,
        context_weight=_weight(authored.context_weight),
        features=_frozen(authored.features),
        variants=tuple(variants) or (Variant("default", None, 1.0),),
        template=content.template if content else None,
        params=_frozen(content.params if content else {}),
        valid_from_ms=instant_ms(valid.from_) if valid.from_ else None,
        valid_until_ms=instant_ms(valid.until) if valid.until else None,
        reveals=tuple(authored.reveals),
    )


def _weight(source: str) -> float | Expression:
    """A number where a number was written: then nothing needs to be run."""
    try:
        return float(source)
    except ValueError:
        return compiled(source)


def _model(index: int, authored: offers.Model) -> ModelRef:
    return ModelRef(
        index=index,
        id=authored.id,
        version=authored.version,
        predicts=authored.predicts,
        inputs=tuple(authored.inputs),
        purposes=frozenset(authored.purposes),
        on_missing=authored.on_missing,
    )


def _limits(authored: Iterable[rules.Limit]) -> tuple[Limit, ...]:
    """Limits of one customer. Budgets over all customers are not in force yet and bind nothing."""
    compiled_limits: list[Limit] = []
    for each in authored:
        if each.at_most is not None and each.window is not None:
            match = each.match.model_dump(exclude_none=True)
            window = window_of(each.window)
            index, classes = len(compiled_limits), frozenset(each.classes)
            compiled_limits.append(Limit(index, each.id, classes, _frozen(match), each.at_most, window))
    return tuple(compiled_limits)


def window_of(authored: rules.Window) -> Window:
    """A window with its words for people; `customer_timezone` is another spelling of `customer`."""
    if authored.rolling:
        return Window("rolling", seconds=seconds(authored.rolling), source=f"rolling {authored.rolling}")
    zone = "customer" if authored.zone in (None, "customer_timezone") else authored.zone
    unit = authored.calendar or "day"
    return Window("calendar", unit=unit, zone=zone or "customer", source=f"calendar {unit} in {zone}")


class _Slot:
    """One placement on its way to being compiled, with all that it refers to."""

    def __init__(
        self,
        authored: offers.Placement,
        messages: Iterable[Message],
        models: Iterable[ModelRef],
        limits: Iterable[Limit],
        table: _RuleTable,
    ) -> None:
        self._authored = authored
        self._messages = [message for message in messages if authored.id in message.placements]
        self._position = {message.id: position for position, message in enumerate(self._messages)}
        self._model = next((model for model in models if model.id == authored.model), None)
        self._limits = tuple(limits)
        self._table = table

    def compiled(self, index: int) -> Placement:
        authored = self._authored
        candidates = tuple(Candidate(message, self._limits_of(message)) for message in self._messages)
        rule_numbers = _distinct(number for message in self._messages for number in message.rules)
        expressions = [self._table.rules[number].expression for number in rule_numbers]
        weights = [each.context_weight for each in self._messages if isinstance(each.context_weight, Expression)]
        return Placement(
            index=index,
            id=authored.id,
            channel=authored.channel,
            klass=authored.klass,
            purpose=authored.purpose or authored.klass,
            budget_ms=authored.budget_ms,
            model=self._model,
            min_confidence=authored.min_confidence,
            candidates=candidates,
            default=self._position[str(authored.default)],
            rules_order=tuple(self._position[message] for message in authored.rules_order),
            category_messages=_frozen({key: self._position[name] for key, name in authored.category_messages.items()}),
            rules=rule_numbers,
            customer_names=tuple(sorted({name for each in expressions for name in each.customer})),
            context_names=tuple(sorted({name for each in (*expressions, *weights) for name in each.context})),
            contracts=self._contracts(expressions),
            limits=_distinct(number for candidate in candidates for number in candidate.limits),
            confirm=authored.confirm,
            reserve_ttl_s=seconds(authored.reserve_ttl) if authored.reserve_ttl else None,
        )

    def _limits_of(self, message: Message) -> tuple[int, ...]:
        own = {
            "channel": self._authored.channel,
            "placement": self._authored.id,
            "message": message.id,
            "category": message.category,
            "campaign": message.campaign,
        }
        return tuple(
            limit.index
            for limit in self._limits
            if self._authored.klass in limit.classes and all(own[key] == value for key, value in limit.match.items())
        )

    def _contracts(self, expressions: Iterable[Expression]) -> tuple[Fact, ...]:
        """Facts with a freshness contract that the model or a rule reads, in the bundle's order."""
        read = {name for expression in expressions for name in expression.customer}
        if self._model:
            read |= {name[9:] for name in self._model.inputs if name.startswith("customer.")}
        return tuple(fact for fact in self._table.facts.values() if fact.name in read and fact.max_age_s is not None)


def _distinct(numbers: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(set(numbers)))
