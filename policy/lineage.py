"""Lineage: where every datum of a bundle comes from, and everything that reads it, as far as the placements.

A graph, made from the authored files alone: sources and events → attributes, features, context, consent → segments,
rules, models → messages, holdouts and experiments → placements. An edge means that the second reads, or is made from,
the first; so what a datum is used for is all that lies behind it. `policy.audit` says the rest about each datum.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

from policy import catalogue
from policy.expressions import conditions, references
from policy.grammar import parse
from policy.purpose_checks import SENSITIVE, declared_sensitive
from policy.schema import Documents, offers


class Kind(StrEnum):
    """What a node is."""

    SOURCE = "source"  # who imports attributes, or the caller
    EVENT = "event"
    ATTRIBUTE = "attribute"
    FEATURE = "feature"
    CONTEXT = "context"
    CONSENT = "consent"  # a purpose that a customer may agree to
    SEGMENT = "segment"
    RULE = "rule"  # a condition, named by its text
    MODEL = "model"
    MESSAGE = "message"
    TRIAL = "trial"  # a holdout or an experiment
    PLACEMENT = "placement"


class Node(NamedTuple):
    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


class Edge(NamedTuple):
    """`after` reads `before`, or is made from it."""

    before: Node
    after: Node


CALLER = Node(Kind.SOURCE, "caller")
FACTS = (Kind.ATTRIBUTE, Kind.FEATURE)


class Lineage:
    """The graph. Nodes are in the order of the files, edges in the order in which they were met."""

    def __init__(self, nodes: Iterable[Node], edges: Iterable[Edge], own: Mapping[Node, frozenset[str]]) -> None:
        """`own` holds the classes of sensitivity (`personal`, `sensitive:<kind>`) that a node has by itself."""
        self.edges = tuple(dict.fromkeys(edges))
        self.nodes = tuple(dict.fromkeys((*nodes, *(node for edge in self.edges for node in edge))))
        self._after: dict[Node, list[Node]] = {node: [] for node in self.nodes}
        self._before: dict[Node, list[Node]] = {node: [] for node in self.nodes}
        for before, after in self.edges:
            self._after[before].append(after)
            self._before[after].append(before)
        self._own = own

    def readers(self, node: Node) -> tuple[Node, ...]:
        """Everything that lies behind a node, in the order of the nodes."""
        found = _reached(node, self._after)
        return tuple(each for each in self.nodes if each in found)

    def origins(self, node: Node) -> tuple[Node, ...]:
        """Everything that lies before a node."""
        found = _reached(node, self._before)
        return tuple(each for each in self.nodes if each in found)

    def made_from(self, node: Node) -> tuple[Node, ...]:
        """What a node is made from directly."""
        return tuple(self._before[node])

    def classes(self, node: Node) -> frozenset[str]:
        """The classes of sensitivity of a node and of everything that it is made from."""
        return self._own.get(node, frozenset()).union(
            *(self._own.get(each, frozenset()) for each in self.origins(node))
        )


def _reached(start: Node, steps: Mapping[Node, Iterable[Node]]) -> set[Node]:
    found: set[Node] = set()
    waiting = list(steps.get(start, ()))
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += steps[node]
    return found


def lineage(documents: Documents) -> Lineage:
    """The lineage of a bundle that lint accepts."""
    graph = Lineage(_nodes(documents), _edges(documents), _own_classes(documents))
    return Lineage(graph.nodes, (*graph.edges, *_personalised(graph)), _own_classes(documents))


def _nodes(documents: Documents) -> Iterator[Node]:
    """Everything declared, whether anything reads it or not."""
    yield CALLER
    yield from (Node(Kind.EVENT, each.id) for each in documents.events.events)
    yield from (_fact(fact.kind, fact.name) for fact in catalogue.facts(documents))
    yield from (Node(Kind.CONTEXT, name) for name in catalogue.context(documents))
    yield from (Node(Kind.CONSENT, name) for name in catalogue.purposes(documents))
    yield from (Node(Kind.SEGMENT, each.id) for each in documents.glossary.segments)
    yield from (Node(Kind.MODEL, each.id) for each in documents.models.models)
    yield from (Node(Kind.MESSAGE, each.id) for each in documents.messages.messages)
    yield from (Node(Kind.TRIAL, each.id) for each in documents.experiments.arms)
    yield from (Node(Kind.TRIAL, each.id) for each in documents.experiments.experiments)
    yield from (Node(Kind.PLACEMENT, each.id) for each in documents.placements.placements)


def _fact(kind: str, name: str) -> Node:
    return Node(Kind(kind), name)


def _edges(documents: Documents) -> Iterator[Edge]:
    kinds = {fact.name: _fact(fact.kind, fact.name) for fact in catalogue.facts(documents)}
    yield from _sources(documents)
    for segment in documents.glossary.segments:
        yield from _reads(segment.rule, Node(Kind.SEGMENT, segment.id), kinds)
    for message in documents.messages.messages:
        yield from _message(documents, message, kinds)
    for model in documents.models.models:
        node = Node(Kind.MODEL, model.id)
        yield from (Edge(kinds[path[9:]], node) for path in model.inputs if path.startswith("customer."))
    asked = catalogue.purposes(documents)
    for placement in documents.placements.placements:
        node = Node(Kind.PLACEMENT, placement.id)
        if placement.model:
            yield Edge(Node(Kind.MODEL, placement.model), node)
        purpose = placement.purpose or placement.klass
        if purpose in asked:  # nobody consents to a receipt
            yield Edge(Node(Kind.CONSENT, purpose), node)
    yield from _trials(documents, kinds)


def _sources(documents: Documents) -> Iterator[Edge]:
    for fact in catalogue.facts(documents):
        if fact.kind == "attribute":
            yield Edge(Node(Kind.SOURCE, fact.owner), _fact(fact.kind, fact.name))
    for feature in documents.features.features:
        yield from (Edge(Node(Kind.EVENT, name), Node(Kind.FEATURE, feature.id)) for name in feature.events)
    yield from (Edge(CALLER, Node(Kind.CONTEXT, name)) for name in catalogue.context(documents))


def _message(documents: Documents, message: offers.Message, kinds: Mapping[str, Node]) -> Iterator[Edge]:
    node = Node(Kind.MESSAGE, message.id)
    yield from _ruled(message.eligible, node, kinds)
    try:
        float(message.context_weight)
    except ValueError:
        yield from _ruled(message.context_weight, node, kinds)
    if message.purpose:
        yield Edge(Node(Kind.CONSENT, message.purpose), node)
    declared = {placement.id for placement in documents.placements.placements}
    yield from (Edge(node, Node(Kind.PLACEMENT, name)) for name in message.placements if name in declared)


def _trials(documents: Documents, kinds: Mapping[str, Node]) -> Iterator[Edge]:
    every = [placement.id for placement in documents.placements.placements]
    for arms in documents.experiments.arms:
        node = Node(Kind.TRIAL, arms.id)
        yield from _ruled(arms.audience, node, kinds)
        yield from (Edge(node, Node(Kind.PLACEMENT, name)) for name in every if {name, "*"} & set(arms.placements))
    for experiment in documents.experiments.experiments:
        node = Node(Kind.TRIAL, experiment.id)
        yield from _ruled(experiment.audience, node, kinds)
        yield Edge(node, Node(Kind.PLACEMENT, experiment.placement))


def _ruled(source: str, reader: Node, kinds: Mapping[str, Node]) -> Iterator[Edge]:
    """The edges of each condition of a rule: what it reads, and the reader that it is for."""
    for condition in conditions(source):
        rule = Node(Kind.RULE, " ".join(condition.split()))
        yield from _reads(condition, rule, kinds)
        yield Edge(rule, reader)


def _reads(source: str, reader: Node, kinds: Mapping[str, Node]) -> Iterator[Edge]:
    for reference in references(parse(source)):
        if reference.root == "customer":
            yield Edge(kinds[reference.name], reader)
        else:
            yield Edge(Node(Kind(reference.root), reference.name), reader)


def _personalised(graph: Lineage) -> Iterator[Edge]:
    """Leave to personalise is asked for wherever something personal is read."""
    for node in graph.nodes:
        facts = [each for each in graph.origins(node) if each.kind in FACTS]
        if node.kind is Kind.PLACEMENT and any(graph.classes(fact) for fact in facts):
            yield Edge(Node(Kind.CONSENT, catalogue.PERSONALISATION), node)


def _own_classes(documents: Documents) -> dict[Node, frozenset[str]]:
    own = {_fact(fact.kind, fact.name): frozenset({fact.sensitivity} - {"none"}) for fact in catalogue.facts(documents)}
    own |= {Node(Kind.EVENT, each.id): frozenset({each.sensitivity} - {"none"}) for each in documents.events.events}
    for message in documents.messages.messages:
        own[Node(Kind.MESSAGE, message.id)] = frozenset(declared_sensitive(message))
    return own


def strictest(classes: Iterable[str]) -> str:
    """One word for several classes: the sensitive ones, else personal, else none."""
    kinds = sorted(each for each in classes if each.startswith(SENSITIVE))
    return " ".join(kinds) or ("personal" if "personal" in classes else "none")
