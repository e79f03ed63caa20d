"""Rules in a quicker form, for the ninety-nine rules in a hundred that only compare known facts with constants.

The CEL library decides what a rule means; running it costs about 3 µs a rule. Here rules whose meaning is beyond
doubt in Python too (comparisons between a fact and a constant of its declared type, joined by `&&`, `||` and `!`)
become one Python function for all rules of a placement, which costs about 1 µs in all.

What is not beyond doubt has no quick form: arithmetic, functions, whole numbers against decimal ones beyond 2⁵³. And a
fact that is missing raises `KeyError`, upon which each rule is run by itself, and those that miss one by the library:
whether an absent fact matters (`a || b` where `a` fails and `b` holds) is for the library to say. Only of a rule that
is a single comparison there is no doubt. A property test holds the two forms together.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from policy.bundle import Bundle, Placement
from policy.expressions import Expression, text_of
from policy.grammar import Node, parse

Facts: TypeAlias = Mapping[str, Any]
_COMPARISONS: dict[str, type[ast.cmpop]] = {
    "==": ast.Eq, "!=": ast.NotEq, "<": ast.Lt, "<=": ast.LtE, ">": ast.Gt, ">=": ast.GtE,
}  # fmt: skip
#: A whole number up to here is exact as a decimal one.
_EXACT_INT_MAX = 2**53


class QuickRule(NamedTuple):
    """One rule: `run(customer, context)` gives its verdict alone in a tuple; KeyError where a fact is missing."""

    number: int  # of the rule in the bundle
    run: Callable[[Facts, Facts], tuple[bool, ...]]
    compares: bool  # it is a single comparison: without its fact it has no verdict


class QuickRules(NamedTuple):
    """`run(customer, context)` gives the verdicts of the rules in `each`; KeyError where a fact is missing.
    `others` are the rules without a quick form."""

    each: tuple[QuickRule, ...]
    run: Callable[[Facts, Facts], tuple[bool, ...]]
    others: tuple[int, ...]


class _NotQuick(Exception):
    """This rule has no quick form."""


@lru_cache(maxsize=1024)
def quick_rules(bundle: Bundle, placement: Placement) -> QuickRules:
    """The quick form of a placement's rules. Translated once."""
    found = {index: quick_rule(bundle, index) for index in placement.rules}
    verdicts = [_verdict(bundle, index) for index, quick in found.items() if quick is not None]
    return QuickRules(
        each=tuple(quick for quick in found.values() if quick is not None),
        run=_function(verdicts),
        others=tuple(index for index, quick in found.items() if quick is None),
    )


@lru_cache(maxsize=4096)
def quick_rule(bundle: Bundle, index: int) -> QuickRule | None:
    """The quick form of one rule; None where it has none. Translated once."""
    try:
        verdict = _verdict(bundle, index)
    except _NotQuick:
        return None
    facts = [part for part in ast.walk(verdict) if isinstance(part, ast.Subscript)]
    return QuickRule(index, _function([verdict]), isinstance(verdict, ast.Compare) and len(facts) == 1)


@lru_cache(maxsize=4096)
def quick_number(bundle: Bundle, expression: Expression) -> Callable[[Facts, Facts], tuple[float, ...]] | None:
    """The quick form of a rule that chooses between numbers (`context.trigger == 'browse' ? 1.2 : 1.0`), alone in a
    tuple; None where it has none."""
    try:
        return _function([_translator(bundle).number(parse(expression.source))])
    except _NotQuick:
        return None


def _verdict(bundle: Bundle, index: int) -> ast.expr:
    return _translator(bundle).condition(parse(bundle.rules[index].expression.source))


@lru_cache(maxsize=64)
def _translator(bundle: Bundle) -> _Translator:
    types: dict[tuple[str, str], str] = {("customer", fact.name): fact.type for fact in bundle.facts}
    types |= {("context", name): declared.type for name, declared in bundle.context.items()}
    return _Translator({name: _kind(declared) for name, declared in types.items()})


def _kind(declared: str) -> str:
    """The kind of value that a declared type holds: regions, zones, languages and enums are text."""
    return {"float": "double"}.get(declared, declared if declared in ("int", "bool") else "string")


def _integer(literal: Node) -> int:
    """The value of a whole number: decimal, also with leading zeros (`010` is ten), or hexadecimal."""
    return int(literal.text, 16 if literal.text.startswith("0x") else 10)


def _function(verdicts: list[ast.expr]) -> Callable[[Facts, Facts], tuple[Any, ...]]:
    arguments = ast.arguments(
        posonlyargs=[ast.arg("customer"), ast.arg("context")], args=[], kwonlyargs=[], kw_defaults=[], defaults=[]
    )
    tree = ast.Expression(ast.Lambda(arguments, ast.Tuple(verdicts, ast.Load())))
    code = compile(ast.fix_missing_locations(tree), "<rules>", "eval")
    run: Callable[[Facts, Facts], tuple[Any, ...]] = eval(code)  # noqa: S307 (a tree of our own making, no text)
    return run


class _Translator:
    """Turns the tree of a rule into Python's own tree; raises `_NotQuick` at the first doubt."""

    def __init__(self, kinds: Mapping[tuple[str, str], str]) -> None:
        self._kinds = kinds

    def condition(self, node: Node) -> ast.expr:
        """Something that is true or false."""
        if node.kind == "binary":
            if node.text in ("&&", "||"):
                operator = ast.And() if node.text == "&&" else ast.Or()
                return ast.BoolOp(operator, [self.condition(part) for part in node.parts])
            if node.text == "in":
                return self._membership(*node.parts)
            if node.text in _COMPARISONS:
                return self._comparison(_COMPARISONS[node.text](), *node.parts)
        if node.kind == "prefix" and node.text == "!":
            return ast.UnaryOp(ast.Not(), self.condition(node.parts[0]))
        if node.kind in ("literal", "select") and self._kind_of(node) == "bool":
            return self._value(node)
        return self._presence(node)

    def _presence(self, node: Node) -> ast.expr:
        """`has(customer.age)`. A fact that is there has a value, so that its key tells."""
        if node.kind != "call" or node.text != "has" or node.type != "function" or not self._kind_of(node.parts[0]):
            raise _NotQuick
        fact = node.parts[0]
        return ast.Compare(ast.Constant(fact.text), [ast.In()], [ast.Name(fact.parts[0].text, ast.Load())])

    def number(self, node: Node) -> ast.expr:
        """A decimal number: a constant, or a choice between two."""
        if node.kind == "choose":
            condition, then, otherwise = node.parts
            return ast.IfExp(self.condition(condition), self.number(then), self.number(otherwise))
        if node.kind == "literal" and node.type in ("double", "int"):
            return ast.Constant(float(node.text) if node.type == "double" else float(_integer(node)))
        raise _NotQuick

    def _comparison(self, operator: ast.cmpop, left: Node, right: Node) -> ast.expr:
        kinds = self._kind_of(left), self._kind_of(right)
        if kinds[0] != kinds[1] and not self._is_exact_mix(left, right, kinds):
            raise _NotQuick
        if kinds[0] == "bool" and not isinstance(operator, ast.Eq | ast.NotEq):
            raise _NotQuick
        return ast.Compare(self._value(left), [operator], [self._value(right)])

    def _is_exact_mix(self, left: Node, right: Node, kinds: tuple[str, str]) -> bool:
        """A decimal fact against a whole constant that is exact as a decimal number."""
        literal = right if kinds == ("double", "int") else left if kinds == ("int", "double") else None
        return literal is not None and literal.kind == "literal" and _integer(literal) <= _EXACT_INT_MAX

    def _membership(self, item: Node, items: Node) -> ast.expr:
        if items.kind != "list" or any(part.kind != "literal" for part in items.parts):
            raise _NotQuick
        kind = self._kind_of(item)
        if kind not in ("string", "int") or any(self._kind_of(part) != kind for part in items.parts):
            raise _NotQuick
        constants = ast.Tuple([self._value(part) for part in items.parts], ast.Load())
        return ast.Compare(self._value(item), [ast.In()], [constants])

    def _kind_of(self, node: Node) -> str:
        if node.kind == "literal":
            return node.type
        if node.kind == "select" and node.parts[0].kind == "name":
            return self._kinds.get((node.parts[0].text, node.text), "")
        if node.kind == "prefix" and node.text == "-" and node.parts[0].kind == "literal":
            return self._kind_of(node.parts[0])
        raise _NotQuick

    def _value(self, node: Node) -> ast.expr:
        kind = self._kind_of(node)
        if node.kind == "select":
            if not kind:
                raise _NotQuick
            return ast.Subscript(ast.Name(node.parts[0].text, ast.Load()), ast.Constant(node.text), ast.Load())
        if node.kind == "prefix":
            return ast.UnaryOp(ast.USub(), self._value(node.parts[0]))
        if kind == "string":
            return ast.Constant(text_of(node))
        if kind == "int":
            return ast.Constant(_integer(node))
        if kind == "double":
            return ast.Constant(float(node.text))
        if kind == "bool":
            return ast.Constant(node.text == "true")
        raise _NotQuick
