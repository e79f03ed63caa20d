"""Checks what rules and models may read: purposes, approvals, and what the choice of a message would give away.

1. A rule reads what serves `personalisation`, or the purpose for which its message is sent. A model too, for every
   placement that it ranks, whatever purposes it names itself.
2. Whoever is chosen by a sensitive fact is known by it: a message whose rule reads one says so in `reveals`, and has
   an approval. So has a model that reads one (it moves every candidate a little, so that no single one gives it away).
3. The generic message is for customers of whom nothing may be known: it reads nothing personal, and is and reveals
   nothing sensitive.
4. Who takes part in an experiment is remembered with the customer and shown with every answer: an audience reads
   nothing sensitive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from policy import catalogue
from policy.bundle import Fact
from policy.expressions import references
from policy.findings import Findings
from policy.grammar import Node
from policy.schema import offers
from policy.source import Path

SENSITIVE = "sensitive:"


class Parsed(NamedTuple):
    """A rule that parses."""

    file: str
    path: Path
    source: str
    tree: Node

    def offset_of(self, name: str) -> int:
        """Where a fact stands; the beginning, where it is read through a segment."""
        starts = [each.start for each in references(self.tree) if each.root == "customer" and each.name == name]
        return starts[0] if starts else self.tree.start


def check(found: Findings, facts: Mapping[str, Fact]) -> None:
    """What needs no rule: declarations of messages, defaults, and what models read."""
    for message in found.documents.messages.messages:
        _approved(found, message)
    for placement in found.documents.placements.placements:
        _harmless_default(found, placement)
    for model in found.documents.models.models:
        _within_placements(found, model, facts)
        _approved_model(found, model, facts)


def check_message(found: Findings, rule: Parsed, message: offers.Message, read: Mapping[str, Fact]) -> None:
    """What the rule of a message reads, also through segments."""
    refused = _within_purposes(found, rule, _purposes_of(found, message), read)
    _impersonal_default(found, rule, message, read)
    _reveals(found, rule, message, {name: fact for name, fact in read.items() if name not in refused})


def check_audience(found: Findings, rule: Parsed, placements: Iterable[str], read: Mapping[str, Fact]) -> None:
    """What the rule of who takes part in a holdout or an experiment reads, also through segments."""
    names = set(placements)
    slots = [each for each in found.documents.placements.placements if each.id in names or "*" in names]
    refused = _within_purposes(found, rule, {slot.purpose or slot.klass for slot in slots}, read)
    for name, fact in read.items():
        if fact.sensitivity.startswith(SENSITIVE) and name not in refused:
            text = f"an audience may not read `customer.{name}`, which is {fact.sensitivity}: who takes part is kept"
            remedy = "leave it out; the rule of the message may read it"
            found.mistake(rule.file, rule.path, "sensitive_audience", text, remedy, offset=rule.offset_of(name))


def declared_sensitive(message: offers.Message) -> set[str]:
    """What a message says that it gives away: by its content, or by who gets it."""
    content = {message.sensitivity} if message.sensitivity.startswith(SENSITIVE) else set()
    return content | set(message.reveals)


def purposes_of(message: offers.Message, placements: Iterable[offers.Placement]) -> set[str]:
    """What a message is sent for: its own purpose, else that of each of its placements."""
    slots = [each for each in placements if each.id in message.placements]
    return {message.purpose} if message.purpose else {slot.purpose or slot.klass for slot in slots}


def _purposes_of(found: Findings, message: offers.Message) -> set[str]:
    return purposes_of(message, found.documents.placements.placements)


def _within_purposes(found: Findings, rule: Parsed, purposes: set[str], read: Mapping[str, Fact]) -> set[str]:
    """The facts that serve something else, each of them a mistake."""
    outside = set()
    for name, fact in read.items():
        refused = [each for each in purposes if not fact.purposes & {each, catalogue.PERSONALISATION}]
        if refused:
            outside.add(name)
            text = f"`customer.{name}` serves {', '.join(sorted(fact.purposes))}, not {', '.join(sorted(refused))}"
            remedy = "leave it out of the rule, or add the purpose to the fact"
            found.mistake(rule.file, rule.path, "outside_purposes", text, remedy, offset=rule.offset_of(name))
    return outside


def _impersonal_default(found: Findings, rule: Parsed, message: offers.Message, read: Mapping[str, Fact]) -> None:
    """The generic message goes to customers of whom nothing personal may be read."""
    personal = [name for name, fact in read.items() if fact.sensitivity != "none"]
    defaults = [each.id for each in found.documents.placements.placements if each.default == message.id]
    if personal and defaults:
        text = f"the default of placement `{defaults[0]}` reads `customer.{personal[0]}`, which is personal"
        remedy = "name another default, or let its rule read only `context.*` and facts of sensitivity `none`"
        found.mistake(rule.file, rule.path, "personal_default", text, remedy, offset=rule.offset_of(personal[0]))


def _reveals(found: Findings, rule: Parsed, message: offers.Message, read: Mapping[str, Fact]) -> None:
    declared = declared_sensitive(message)
    for name, fact in read.items():
        if fact.sensitivity.startswith(SENSITIVE) and fact.sensitivity not in declared:
            text = f"who gets `{message.id}` is chosen by `customer.{name}`: receiving it reveals {fact.sensitivity}"
            remedy = f'add `reveals: ["{fact.sensitivity}"]` and an `approval:`, or leave the fact out of the rule'
            found.mistake(rule.file, rule.path, "reveals_sensitive", text, remedy, offset=rule.offset_of(name))


def _approved(found: Findings, message: offers.Message) -> None:
    declared = sorted(declared_sensitive(message))
    if declared and not message.approval:
        field = "reveals" if message.reveals else "sensitivity"
        text = f"message `{message.id}` discloses {', '.join(declared)}, and nobody is named who allowed it"
        remedy = "add `approval:` with the reference of who allowed it"
        found.mistake("messages.yaml", ("messages", message.id, field), "missing_approval", text, remedy)


def _harmless_default(found: Findings, placement: offers.Placement) -> None:
    for message in found.documents.messages.messages:
        declared = sorted(declared_sensitive(message))
        if message.id == placement.default and declared:
            text = f"the default of placement `{placement.id}` discloses {', '.join(declared)}"
            path = ("placements", placement.id, "default")
            remedy = "name another default: it goes to customers of whom nothing may be known"
            found.mistake("placements.yaml", path, "sensitive_default", text, remedy)


def _within_placements(found: Findings, model: offers.Model, facts: Mapping[str, Fact]) -> None:
    """A model's own purposes do not make what it reads serve the placements that it ranks."""
    slots = [each for each in found.documents.placements.placements if each.model == model.id]
    for index, fact in _inputs(model, facts):
        refused = [
            slot for slot in slots if not fact.purposes & {slot.purpose or slot.klass, catalogue.PERSONALISATION}
        ]
        if refused and fact.purposes.intersection(model.purposes):  # else it is a mistake of the model alone
            served = f"`{fact.path}` serves {', '.join(sorted(fact.purposes))}"
            purposes = ", ".join(sorted({slot.purpose or slot.klass for slot in refused}))
            text = f"{served}, and model `{model.id}` ranks placement `{refused[0].id}`, which is for {purposes}"
            remedy = "remove the input, or add the purpose to the fact"
            found.mistake("models.yaml", ("models", model.id, "inputs", index), "outside_purposes", text, remedy)


def _approved_model(found: Findings, model: offers.Model, facts: Mapping[str, Fact]) -> None:
    for index, fact in _inputs(model, facts):
        if fact.sensitivity.startswith(SENSITIVE) and not model.approval:
            text = f"model `{model.id}` reads `{fact.path}`, which is {fact.sensitivity}"
            remedy = "add `approval:` to the model with the reference of who allowed it, or remove the input"
            found.mistake("models.yaml", ("models", model.id, "inputs", index), "missing_approval", text, remedy)


def _inputs(model: offers.Model, facts: Mapping[str, Fact]) -> Iterator[tuple[int, Fact]]:
    """(position, fact) of every input that is of the customer and known."""
    for index, path in enumerate(model.inputs):
        root, _, name = path.partition(".")
        if root == "customer" and name in facts:
            yield index, facts[name]
