"""Compiled rules: a CEL program together with the names that it reads.

Rules speak of `customer.*` (attributes and features), `context.*` (what the caller sent) and `segment.*` (the
glossary). Segments are replaced by their rules before compiling, so a program reads customer and context only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from policy.cel_library import cel
from policy.grammar import Node, RuleSyntaxError, parse

ROOTS = ("customer", "context", "segment")


@dataclass(frozen=True, slots=True)
class Reference:
    """`customer.age` in a rule: its root, its name, and where it stands (characters from 0)."""

    root: str
    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Expression:
    """A CEL program and the names it reads, sorted. `segments` are those that were replaced by their rules."""

    source: str
    program: cel.Program = field(compare=False, repr=False)
    customer: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()

    def evaluate(self, context: cel.Context) -> Any:
        """The value, in a context that holds `customer` and `context` as mappings.

        Raises KeyError with the name of a missing fact, TypeError where types do not fit, RuntimeError otherwise.
        A prepared `cel.Context` costs about 3 µs a rule, a plain dict 20 µs.
        """
        return self.program.execute(context)


def compiled(source: str, segments: Mapping[str, str] | None = None) -> Expression:
    """Compiles a rule, its segments replaced. Raises RuleSyntaxError, KeyError for a segment that does not exist,
    RecursionError for segments that need each other."""
    known = segments or {}
    text = without_segments(source, known)
    names = list(references(parse(text)))
    return Expression(
        source=text,
        program=program(text),
        customer=tuple(sorted({reference.name for reference in names if reference.root == "customer"})),
        context=tuple(sorted({reference.name for reference in names if reference.root == "context"})),
        segments=tuple(sorted(segments_of(source, known))),
    )


@cache
def program(text: str) -> cel.Program:
    """The library's program. It stays the last word on syntax: raises RuleSyntaxError where it refuses."""
    try:
        return cel.compile(text)
    except ValueError as error:
        message, _, _ = str(error).partition("\n")
        raise RuleSyntaxError(message.rpartition("ERROR: ")[2] or "not a rule", 0) from error


def references(tree: Node) -> Iterator[Reference]:
    """Every `customer.x`, `context.x`, `segment.x` (or `customer["x"]`), in the order in which they stand."""
    operand = tree.parts[0] if tree.parts else None
    if tree.kind == "select" and operand is not None and _is_root(operand):
        yield Reference(operand.text, tree.text, tree.start, tree.end)
        return
    if tree.kind == "index" and operand is not None and _is_root(operand) and tree.parts[1].type == "string":
        yield Reference(operand.text, text_of(tree.parts[1]), tree.start, tree.end)
        return
    for part in tree.parts:
        yield from references(part)


def _is_root(node: Node) -> bool:
    return node.kind == "name" and node.text in ROOTS


def text_of(literal: Node) -> str:
    """The value of a string literal."""
    return str(program(literal.text).execute({}))


def guarded(tree: Node) -> frozenset[str]:
    """Customer facts whose presence the rule asks for with `has()`."""
    found = {part for child in tree.parts for part in guarded(child)}
    if tree.kind == "call" and tree.text == "has":
        found |= {reference.name for reference in references(tree) if reference.root == "customer"}
    return frozenset(found)


def conditions(source: str) -> tuple[str, ...]:
    """The parts of a conjunction: `a && (b || c) && d` has three. The rule that is always true has none."""
    tree = parse(source)
    if tree.kind == "literal" and tree.text == "true":
        return ()
    return tuple(source[node.start : node.end] for node in conjuncts(tree))


def conjuncts(tree: Node) -> Iterator[Node]:
    """What `&&` joins at the top of a rule; brackets hold together what stands in them."""
    if tree.kind == "binary" and tree.text == "&&" and not tree.bracketed:
        for part in tree.parts:
            yield from conjuncts(part)
    else:
        yield tree


def segments_of(source: str, segments: Mapping[str, str]) -> frozenset[str]:
    """Every segment that a rule refers to, also through other segments."""
    direct = {reference.name for reference in references(parse(source)) if reference.root == "segment"}
    return frozenset(direct.union(*(segments_of(segments[name], segments) for name in direct)))


def without_segments(source: str, segments: Mapping[str, str]) -> str:
    """The rule with every `segment.x` replaced by its own rule in brackets."""
    tree = parse(source)
    text = source[tree.start : tree.end]  # without a comment at the end, which would swallow the bracket
    for reference in sorted(references(tree), key=lambda each: -each.start):
        if reference.root == "segment":
            inner = without_segments(segments[reference.name], segments)
            begin, end = reference.start - tree.start, reference.end - tree.start
            text = f"{text[:begin]}({inner}){text[end:]}"
    return text
