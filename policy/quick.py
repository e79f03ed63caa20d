"""Rules in a quicker form, for the ninety-nine rules in a hundred that only compare known facts with constants.

The CEL library decides what a rule means; running it costs about 3 µs a rule. Here rules whose meaning is beyond
doubt in Python too (comparisons between a fact and a constant of its declared type, joined by `&&`, `||` and `!`)
become one Python function for all rules of a placement, which costs about 1 µs in all.

What is not beyond doubt has no quick form: arithmetic, functions, whole numbers against decimal ones beyond 2⁵³. And a
fact that is missing raises `KeyError`, upon which the library runs the rules: whether an absent fact matters
(`a || b` where `a` fails and `b` holds) is for the library to say. A property test holds the two forms together.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from policy.bundle import Bundle, Placement
from policy.expressions import text_of
from policy.grammar import Node, parse

Facts: TypeAlias = Mapping[str, Any]
_COMPARISONS: dict[str, type[ast.cmpop]] = {
    "==": ast.Eq, "!=": ast.NotEq, "<": ast.Lt, "<=": ast.LtE, ">": ast.Gt, ">=": ast.GtE,
}  # fmt: skip
#: A whole number up to here is exact as a decimal one.
_EXACT_INT_MAX = 2**53


class QuickRules(NamedTuple):
    """`run(customer, context)` gives the verdicts of the rules at `indexes`; KeyError where a fact is missing.
    `others` are the rules without a quick form."""

    indexes: tuple[int, ...]
    run: Callable[[Facts, Facts], tuple[bool, ...]]
    others: tuple[int, ...]


class _NotQuick(Exception):
    """This rule has no quick form."""


@lru_cache(maxsize=1024)
def quick_rules(bundle: Bundle, placement: Placement) -> QuickRules:
    """The quick form of a placement's rules. Translated once."""
    types: dict[tuple[str, str], str] = {("customer", fact.name): fact.type for fact in bundle.facts}
    types |= {("context", name): declared.type for name, declared in bundle.context.items()}
    translator = _Translator({name: _kind(declared) for name, declared in types.items()})
    indexes, verdicts, others = [], [], []
    for index in placement.rules:
        try:
            verdicts.append(translator.condition(parse(bundle.rules[index].expression.source)))
            indexes.append(index)
        except _NotQuick:
            others.append(index)
    return QuickRules(tuple(indexes), _function(verdicts), tuple(others))


def _kind(declared: str) -> str:
    """The kind of value that a declared type holds: regions, zones, languages and enums are text."""
    return {"float": "double"}.get(declared, declared if declared in ("int", "bool") else "string")


def _integer(literal: Node) -> int:
    """The value of a whole number: decimal, also with leading zeros (`010` is ten), or hexadecimal."""
    return int(literal.text, 16 if literal.text.startswith("0x") else 10)


def _function(verdicts: list[ast.expr]) -> Callable[[Facts, Facts], tuple[bool, ...]]:
    arguments = ast.arguments(
        posonlyargs=[ast.arg("customer"), ast.arg("context")], args=[], kwonlyargs=[], kw_defaults=[], defaults=[]
    )
    tree = ast.Expression(ast.Lambda(arguments, ast.Tuple(verdicts, ast.Load())))
    code = compile(ast.fix_missing_locations(tree), "<rules>", "eval")
    run: Callable[[Facts, Facts], tuple[bool, ...]] = eval(code)  # noqa: S307 (a tree of our own making, no text)
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
        if node.kind == "literal" and node.type == "bool":
            return ast.Constant(node.text == "true")
        if node.kind == "select" and self._kind_of(node) == "bool":
            return self._value(node)
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
