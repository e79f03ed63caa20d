"""Checks every rule of a bundle: its syntax, its names and types, and what it may miss. What it may read is checked in
`policy.purpose_checks`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from policy import catalogue, data_checks, purpose_checks
from policy.bundle import Fact
from policy.expressions import conjuncts, guarded, program, references
from policy.findings import Findings
from policy.grammar import Node, RuleSyntaxError, parse
from policy.purpose_checks import Parsed
from policy.rule_types import Scope, declared
from policy.rule_types import check as check_types
from policy.schema import offers
from policy.source import Path

#: Names that exist in files that could not be read, or items that did not fit, are not called unknown.
_HOMES = {
    "unknown_fact": (("attributes.yaml", "features.yaml"), ("attributes", "features")),
    "unknown_context": (("context.yaml",), ("context",)),
    "unknown_segment": (("glossary.yaml",), ("segments",)),
}


def check(found: Findings) -> None:
    """Checks segments first: a message's rule means what its segments mean."""
    facts = {fact.name: fact for fact in catalogue.facts(found.documents)}
    scope = _scope(found, facts)
    segments = _segments(found, scope)
    _cycles(found, segments)
    rules = list(segments.values())
    for message in found.documents.messages.messages:
        rule = _message(found, message, facts, scope, segments)
        rules += [rule] if rule else []
    rules += _audiences(found, facts, scope, segments)
    purpose_checks.check(found, facts)
    noted: set[tuple[str, str]] = set()
    unreadable = data_checks.unreadable(found.documents)
    for rule in rules:
        _may_be_missing(found, rule, facts, noted)
        _never_seen(found, rule, unreadable)


def _scope(found: Findings, facts: Mapping[str, Fact]) -> Scope:
    context = catalogue.context(found.documents)
    return Scope(
        customer={name: declared(fact.type, fact.values) for name, fact in facts.items()},
        context={name: declared(each.type, each.values) for name, each in context.items()},
        segments=tuple(segment.id for segment in found.documents.glossary.segments),
    )


def _segments(found: Findings, scope: Scope) -> dict[str, Parsed]:
    parsed = {}
    for segment in found.documents.glossary.segments:
        rule = _parse(found, "glossary.yaml", ("segments", segment.id, "rule"), segment.rule)
        if rule:
            parsed[segment.id] = rule
            _types(found, rule, scope, "bool")
    return parsed


def _message(
    found: Findings,
    message: offers.Message,
    facts: Mapping[str, Fact],
    scope: Scope,
    segments: Mapping[str, Parsed],
) -> Parsed | None:
    """Checks both rules of a message; its `eligible` where that parses."""
    here = ("messages", message.id)
    weight = _parse(found, "messages.yaml", (*here, "context_weight"), message.context_weight)
    if weight:
        _types(found, weight, Scope({}, scope.context, (), customer_allowed=False), "number")
    rule = _parse(found, "messages.yaml", (*here, "eligible"), message.eligible)
    if rule:
        _types(found, rule, scope, "bool")
        purpose_checks.check_message(found, rule, message, _facts_read(rule.tree, segments, facts))
    return rule


def _audiences(
    found: Findings, facts: Mapping[str, Fact], scope: Scope, segments: Mapping[str, Parsed]
) -> Iterator[Parsed]:
    """Checks the rules of who takes part in holdouts and experiments, like those of who may get a message."""
    trials: list[tuple[Path, str, Sequence[str]]] = [
        (("arms", arms.id, "audience"), arms.audience, arms.placements) for arms in found.documents.experiments.arms
    ]
    trials += [
        (("experiments", each.id, "audience"), each.audience, (each.placement,))
        for each in found.documents.experiments.experiments
    ]
    for path, source, placements in trials:
        rule = _parse(found, "experiments.yaml", path, source)
        if rule:
            _types(found, rule, scope, "bool")
            purpose_checks.check_audience(found, rule, placements, _facts_read(rule.tree, segments, facts))
            yield rule


def _parse(found: Findings, file: str, path: Path, source: str) -> Parsed | None:
    """The rule's tree; the library that will run it must agree that it is a rule."""
    try:
        tree = parse(source)
        program(source)
    except RuleSyntaxError as error:
        remedy = "see docs/bundles.md for the language of rules"
        if "=" in source and str(error).startswith("`=`"):
            remedy = "write `==` to compare"
        found.mistake(file, path, "cel_syntax", f"not a rule: {error}", remedy, offset=error.offset)
        return None
    return Parsed(file, path, source, tree)


def _types(found: Findings, rule: Parsed, scope: Scope, wanted: str) -> None:
    for finding in check_types(rule.tree, scope, wanted):
        files, collections = _HOMES.get(finding.code, ((), ()))
        aside = {name for each in collections for name in found.reading.set_aside.get(each, ())}
        unsure = found.reading.incomplete.intersection(files) or any(f".{name}`" in finding.message for name in aside)
        if not unsure:
            found.mistake(rule.file, rule.path, finding.code, finding.message, finding.remedy, offset=finding.offset)


def _cycles(found: Findings, segments: Mapping[str, Parsed]) -> None:
    """A segment that needs itself, directly or through others, has no meaning."""
    for name, rule in segments.items():
        if name in _segments_needed(rule.tree, segments):
            message, remedy = f"segment `{name}` needs itself", "write out one of the segments that it refers to"
            found.mistake(rule.file, rule.path, "segment_cycle", message, remedy)


def _segments_needed(tree: Node, segments: Mapping[str, Parsed]) -> set[str]:
    """Names of all segments that a rule refers to, also through others; safe where they go in circles."""
    needed: set[str] = set()
    waiting = [tree]
    while waiting:
        for reference in references(waiting.pop()):
            if reference.root == "segment" and reference.name not in needed:
                needed.add(reference.name)
                waiting += [segments[reference.name].tree] if reference.name in segments else []
    return needed


def _facts_read(tree: Node, segments: Mapping[str, Parsed], facts: Mapping[str, Fact]) -> dict[str, Fact]:
    """Known facts that a rule reads, also through segments, by name."""
    needed = [segments[name].tree for name in _segments_needed(tree, segments) if name in segments]
    names = {name for each in (tree, *needed) for name in _customer(each)}
    return {name: facts[name] for name in sorted(names & facts.keys())}


def _customer(tree: Node) -> Iterator[str]:
    return (reference.name for reference in references(tree) if reference.root == "customer")


def _may_be_missing(found: Findings, rule: Parsed, facts: Mapping[str, Fact], noted: set[tuple[str, str]]) -> None:
    """A rule that meets a missing fact leaves its message out. That may be meant, so it is a note, and one for each
    condition that messages share."""
    asked = guarded(rule.tree)
    for condition in conjuncts(rule.tree):
        for reference in references(condition):
            name, key = reference.name, (reference.name, rule.source[condition.start : condition.end])
            fact = facts.get(name) if reference.root == "customer" else None
            may_be = fact is not None and fact.default is None and not fact.always
            if may_be and name not in asked and key not in noted:
                noted.add(key)
                text = f"customers without `customer.{name}` fail this rule: ask with `has(…)`, or give it a default"
                found.note(rule.file, rule.path, "may_be_missing", text, offset=reference.start)


def _never_seen(found: Findings, rule: Parsed, unreadable: Mapping[str, str]) -> None:
    """A note: data.yaml may drop an attribute for a while, and its rules then leave their messages out."""
    for name in sorted(unreadable.keys() & set(_customer(rule.tree))):
        text = f"`customer.{name}` {unreadable[name]} (data.yaml): this rule never sees its value"
        found.note(rule.file, rule.path, "never_seen", text, offset=rule.offset_of(name))
