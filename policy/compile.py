"""Compiles validated files into the immutable objects that deciding uses.

Compiling presumes what `policy.lint` has checked: every name exists, every rule parses and its types fit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from policy import catalogue
from policy.bundle import (
    Arms,
    Budget,
    Bundle,
    Candidate,
    Cooldown,
    Experiment,
    Explore,
    Fact,
    Fatigue,
    Handling,
    Limit,
    Message,
    ModelRef,
    MutualExclusion,
    Placement,
    Rule,
    SendHours,
    TermRules,
    Variant,
    Window,
)
from policy.codes import Arm
from policy.durations import seconds
from policy.event_rules import event_rules
from policy.expressions import Expression, compiled, conditions
from policy.feature_rules import feature_rules
from policy.lint import BundleError, examine
from policy.not_in_force import not_in_force
from policy.outcome_rules import outcome_rules, reward_of
from policy.schema import Documents, offers, rules
from policy.schema.types import instant_ms, minute_of_day

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


def digest_of(canonical: bytes) -> str:
    """The digest of a canonical form: what a bundle is kept, looked up and verified by."""
    return f"sha256:{hashlib.sha256(canonical).hexdigest()}"


def _compiled(documents: Documents, canonical: bytes) -> Bundle:
    """Compiles files that lint has accepted; `canonical` is their canonical form."""
    facts = catalogue.facts(documents)
    table = _RuleTable(facts, {segment.id: segment.rule for segment in documents.glossary.segments})
    owner = documents.bundle.owner
    messages = tuple(_message(index, each, table, owner) for index, each in enumerate(documents.messages.messages))
    models = tuple(_model(index, each) for index, each in enumerate(documents.models.models))
    contact_rules = _contact_rules(documents.limits)
    trials = _trials(documents, table)
    placements = {
        each.id: _Slot(each, messages, models, contact_rules, trials, table).compiled(index)
        for index, each in enumerate(documents.placements.placements)
    }
    return Bundle(
        name=documents.bundle.name,
        owner=documents.bundle.owner,
        currency=documents.bundle.currency,
        digest=digest_of(canonical),
        facts=facts,
        context=catalogue.context(documents),
        rules=tuple(table.rules),
        messages=messages,
        placements=_frozen(placements),
        models=models,
        limits=contact_rules.limits,
        purposes=catalogue.purposes(documents),
        regions=catalogue.regions(documents),
        ledger_retention_s=seconds(documents.data.retention.ledger),
        profile_retention_s=seconds(documents.data.retention.profile),
        fact_by_name=_frozen({fact.name: fact for fact in facts}),
        canonical=canonical,
        cooldowns=contact_rules.cooldowns,
        exclusions=contact_rules.exclusions,
        budgets=contact_rules.budgets,
        fatigue=contact_rules.fatigue,
        arms=tuple(arms for arms, _ in trials.arms),
        experiments=tuple(experiment for experiment, _ in trials.experiments),
        unknown_transactional=documents.consent.unknown.transactional,
        decisions_retention_s=_seconds_or_none(documents.data.retention.decisions),
        events_retention_s=_seconds_or_none(documents.data.retention.events),
        features_retention_s=_seconds_or_none(documents.data.retention.features),
        handling=_frozen({name: _handling(row) for name, row in documents.data.data.items()}),
        not_in_force=tuple(str(part) for part in not_in_force(documents)),
        events=event_rules(documents),
        features=feature_rules(documents),
        outcomes=outcome_rules(documents),
        brand=documents.consent.page.brand,
        purpose_labels=_frozen({name: _frozen(by) for name, by in documents.consent.page.labels.items()}),
    )


def _handling(authored: rules.Handling) -> Handling:
    """A row of the PII matrix; the strictest of what it says on the way to the store holds."""
    ways = (authored.collect, authored.store, authored.transform)
    return Handling(
        drop="drop" in ways,
        hash="hash" in ways,
        never_shown=authored.activate == "never",
        delete_s=_seconds_or_none(authored.delete),
    )


def _seconds_or_none(duration: str | None) -> int | None:
    return None if duration is None else seconds(duration)


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


def _message(index: int, authored: offers.Message, table: _RuleTable, owner: str) -> Message:
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
        sensitivity=authored.sensitivity,
        owner=authored.owner or owner,
        approval=authored.approval,
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


class _ContactRules(NamedTuple):
    """Everything that the ledger, outcomes and counts over all customers may forbid."""

    limits: tuple[Limit, ...]
    cooldowns: tuple[Cooldown, ...]
    exclusions: tuple[MutualExclusion, ...]
    budgets: tuple[Budget, ...]
    fatigue: Fatigue | None


def _contact_rules(authored: rules.LimitsFile) -> _ContactRules:
    fatigue = authored.fatigue
    return _ContactRules(
        limits=_limits(authored.limits),
        cooldowns=tuple(_cooldown(index, each) for index, each in enumerate(authored.cooldowns)),
        exclusions=tuple(
            MutualExclusion(index, each.id, frozenset(each.messages), seconds(each.within), each.within)
            for index, each in enumerate(authored.exclusions)
        ),
        budgets=_budgets(authored.limits),
        fatigue=Fatigue(seconds(fatigue.half_life), fatigue.contact, fatigue.engagement, fatigue.limit)
        if fatigue
        else None,
    )


def _limits(authored: Iterable[rules.Limit]) -> tuple[Limit, ...]:
    """Limits of one customer."""
    compiled_limits: list[Limit] = []
    for each in authored:
        if each.at_most is not None and each.window is not None:
            match = each.match.model_dump(exclude_none=True)
            window = window_of(each.window)
            index, classes = len(compiled_limits), frozenset(each.classes)
            compiled_limits.append(Limit(index, each.id, classes, _frozen(match), each.at_most, window))
    return tuple(compiled_limits)


def _budgets(authored: Iterable[rules.Limit]) -> tuple[Budget, ...]:
    """Limits over all customers together."""
    budgets = [(each.id, each.budget) for each in authored if each.budget is not None]
    return tuple(
        Budget(index, name, budget.message, budget.at_most, window_of(budget.window))
        for index, (name, budget) in enumerate(budgets)
    )


def _cooldown(index: int, authored: rules.Cooldown) -> Cooldown:
    series = f"{authored.times} ignored" if authored.after == "ignored" else authored.after
    return Cooldown(
        index=index,
        id=authored.id,
        after=authored.after,
        times=authored.times,
        classes=frozenset(authored.classes),
        match=_frozen(authored.match.model_dump(exclude_none=True)),
        for_s=seconds(authored.duration),
        source=f"{authored.duration} after {series}",
    )


class _Trials(NamedTuple):
    """Holdouts and experiments, each with the placements in which it holds. `*` is every marketing placement: nobody's
    receipts are held back unless it is written that they shall be."""

    arms: tuple[tuple[Arms, frozenset[str]], ...]
    experiments: tuple[tuple[Experiment, str], ...]


def _trials(documents: Documents, table: _RuleTable) -> _Trials:
    arms = [
        (
            Arms(
                index=index,
                id=each.id,
                salt=each.salt,
                by=each.by,
                audience=table.numbers(each.audience),
                shares=tuple((Arm(name), share) for name, share in each.arms.items()),
                assign=_frozen({region: Arm(name) for region, name in each.assign.items()}),
            ),
            frozenset(each.placements),
        )
        for index, each in enumerate(documents.experiments.arms)
    ]
    experiments = [
        (
            Experiment(
                index=index,
                id=each.id,
                salt=each.salt,
                by=each.by,
                audience=table.numbers(each.audience),
                shares=tuple(each.arms.items()),
                variants=_frozen({arm: choice.variant for arm, choice in each.choices.items()}),
            ),
            each.placement,
        )
        for index, each in enumerate(documents.experiments.experiments)
    ]
    return _Trials(tuple(arms), tuple(experiments))


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
        contact_rules: _ContactRules,
        trials: _Trials,
        table: _RuleTable,
    ) -> None:
        self._authored = authored
        self._messages = [message for message in messages if authored.id in message.placements]
        self._position = {message.id: position for position, message in enumerate(self._messages)}
        self._model = next((model for model in models if model.id == authored.model), None)
        self._contact_rules = contact_rules
        self._arms = tuple(
            arms
            for arms, where in trials.arms
            if authored.id in where or ("*" in where and authored.klass == "marketing")
        )
        self._experiments = tuple(each for each, where in trials.experiments if where == authored.id)
        self._table = table

    def compiled(self, index: int) -> Placement:
        authored = self._authored
        candidates = tuple(self._candidate(message) for message in self._messages)
        rule_numbers = _distinct(number for message in self._messages for number in message.rules)
        audiences = [number for arms in self._arms for number in arms.audience]
        audiences += [number for experiment in self._experiments for number in experiment.audience]
        read = _distinct((*rule_numbers, *audiences))
        expressions = [self._table.rules[number].expression for number in read]
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
            send_hours=_send_hours(authored.send_hours),
            unsubscribe=authored.unsubscribe,
            reward=reward_of(authored.reward),
            explore=_explore(authored.explore),
            terms=TermRules(**authored.arbitration.model_dump()),
            baseline=self._position[authored.baseline] if authored.baseline else None,
            arms=self._arms,
            experiments=self._experiments,
            cooldowns=_distinct(number for candidate in candidates for number in candidate.cooldowns),
            exclusions=_distinct(number for candidate in candidates for number in candidate.exclusions),
            budgets=_distinct(number for candidate in candidates for number in candidate.budgets),
            fatigue=self._contact_rules.fatigue if authored.klass == "marketing" else None,
            sensitive=self._sensitive_read(expressions) | self._sensitive_inputs(),
            counts_contacts=any(each.limits or each.cooldowns or each.exclusions for each in candidates)
            or (self._contact_rules.fatigue is not None and authored.klass == "marketing"),
        )

    def _candidate(self, message: Message) -> Candidate:
        rules_of_contact = self._contact_rules
        own = self._own(message)
        read = self._sensitive_read(self._table.rules[number].expression for number in message.rules)
        return Candidate(
            message=message,
            limits=tuple(each.index for each in rules_of_contact.limits if self._bound(each.classes, each.match, own)),
            cooldowns=tuple(
                each.index for each in rules_of_contact.cooldowns if self._bound(each.classes, each.match, own)
            ),
            exclusions=tuple(each.index for each in rules_of_contact.exclusions if message.id in each.messages),
            budgets=tuple(each.index for each in rules_of_contact.budgets if each.message == message.id),
            sensitive=read | message.sensitive,
        )

    def _bound(self, classes: frozenset[str], match: Mapping[str, str], own: Mapping[str, str | None]) -> bool:
        return self._authored.klass in classes and all(own[key] == value for key, value in match.items())

    def _sensitive_read(self, expressions: Iterable[Expression]) -> frozenset[str]:
        """Classes of sensitive facts that these rules read."""
        read = {name for expression in expressions for name in expression.customer}
        classes = {self._table.facts[name].sensitivity for name in read}
        return frozenset(each for each in classes if each.startswith("sensitive:"))

    def _sensitive_inputs(self) -> frozenset[str]:
        """Classes of sensitive facts that the placement's model reads."""
        inputs = self._model.inputs if self._model else ()
        facts = [self._table.facts[path[9:]] for path in inputs if path.startswith("customer.")]
        return frozenset(fact.sensitivity for fact in facts if fact.sensitivity.startswith("sensitive:"))

    def _own(self, message: Message) -> dict[str, str | None]:
        return {
            "channel": self._authored.channel,
            "placement": self._authored.id,
            "message": message.id,
            "category": message.category,
            "campaign": message.campaign,
        }

    def _contracts(self, expressions: Iterable[Expression]) -> tuple[Fact, ...]:
        """Facts with a freshness contract that the model or a rule reads, in the bundle's order."""
        read = {name for expression in expressions for name in expression.customer}
        if self._model:
            read |= {name[9:] for name in self._model.inputs if name.startswith("customer.")}
        return tuple(fact for fact in self._table.facts.values() if fact.name in read and fact.max_age_s is not None)


def _send_hours(authored: offers.SendHours | None) -> SendHours | None:
    if authored is None:
        return None
    return SendHours(minute_of_day(authored.from_), minute_of_day(authored.until), seconds(authored.max_wait))


def _explore(authored: offers.Explore) -> Explore | None:
    """None where the best is always chosen: then nothing is drawn."""
    if authored.method == "epsilon" and authored.epsilon == 0.0:
        return None
    prior = authored.prior
    return Explore(authored.method, authored.epsilon, authored.temperature or 1.0, prior.alpha, prior.beta)


def _distinct(numbers: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(set(numbers)))
