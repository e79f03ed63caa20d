"""Checks every rule of a bundle: its syntax, its names and types, what it may read, and what it may miss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from policy import catalogue
from policy.bundle import Fact
from policy.expressions import conjuncts, guarded, program, references
from policy.findings import Findings
from policy.grammar import Node, RuleSyntaxError, parse
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


class Parsed(NamedTuple):
    """A rule that parses."""

    file: str
    path: Path
    source: str
    tree: Node


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
    noted: set[tuple[str, str]] = set()
    for rule in rules:
        _may_be_missing(found, rule, facts, noted)


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
        read = {name: facts[name] for name in _facts_read(rule.tree, segments) if name in facts}
        _within_purposes(found, rule, message, read)
        _impersonal_default(found, rule, message, read)
    return rule


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


def _facts_read(tree: Node, segments: Mapping[str, Parsed]) -> list[str]:
    """Customer facts that a rule reads, also through segments."""
    needed = [segments[name].tree for name in _segments_needed(tree, segments) if name in segments]
    return sorted({name for each in (tree, *needed) for name in _customer(each)})


def _customer(tree: Node) -> Iterator[str]:
    return (reference.name for reference in references(tree) if reference.root == "customer")


def _may_be_missing(found: Findings, rule: Parsed, facts: Mapping[str, Fact], noted: set[tuple[str, str]]) -> None:
    """A rule that meets a missing fact leaves its message out. That may be meant, so it is a note, and one for each
    condition that messages share."""
    asked = guarded(rule.tree)
    for condition in conjuncts(rule.tree):
        for reference in references(condition):
            name, key = reference.name, (reference.name, rule.source[condition.start : condition.end])
            known = reference.root == "customer" and name in facts and facts[name].default is None
            if known and name not in asked and key not in noted:
                noted.add(key)
                text = f"customers without `customer.{name}` fail this rule: ask with `has(…)`, or give it a default"
                found.note(rule.file, rule.path, "may_be_missing", text, offset=reference.start)


def _within_purposes(found: Findings, rule: Parsed, message: offers.Message, read: Mapping[str, Fact]) -> None:
    """A rule may read what serves personalisation, or the purpose for which its message is sent."""
    slots = {each.id: each for each in found.documents.placements.placements}
    used = [slots[name] for name in message.placements if name in slots]
    purposes = {message.purpose} if message.purpose else {slot.purpose or slot.klass for slot in used}
    for name, fact in read.items():
        refused = [each for each in purposes if not fact.purposes & {each, catalogue.PERSONALISATION}]
        if refused:
            text = f"`customer.{name}` serves {', '.join(sorted(fact.purposes))}, not {', '.join(sorted(refused))}"
            remedy = "leave it out of the rule, or add the purpose to the fact"
            found.mistake(rule.file, rule.path, "outside_purposes", text, remedy, offset=_offset_of(rule, name))


def _offset_of(rule: Parsed, name: str) -> int:
    """Where a fact stands in a rule; the beginning, where it is read through a segment."""
    starts = [each.start for each in references(rule.tree) if each.root == "customer" and each.name == name]
    return starts[0] if starts else rule.tree.start


def _impersonal_default(found: Findings, rule: Parsed, message: offers.Message, read: Mapping[str, Fact]) -> None:
    """The generic message goes to customers of whom nothing personal may be read."""
    personal = [name for name, fact in read.items() if fact.sensitivity != "none"]
    defaults = [each.id for each in found.documents.placements.placements if each.default == message.id]
    if personal and defaults:
        text = f"the default of placement `{defaults[0]}` reads `customer.{personal[0]}`, which is personal"
        remedy = "name another default, or let its rule read only `context.*` and facts of sensitivity `none`"
        found.mistake(rule.file, rule.path, "personal_default", text, remedy, offset=_offset_of(rule, personal[0]))
