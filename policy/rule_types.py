"""Checks the types of a rule before it runs: what CEL would refuse on the first customer is refused at lint.

CEL compares whole and decimal numbers freely, but does not mix them in arithmetic: `customer.history * 2` fails
where history is a float, `customer.history * 2.0` does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from policy.cel_library import cel
from policy.expressions import ROOTS, text_of
from policy.grammar import Node


@dataclass(frozen=True, slots=True)
class Type:
    """bool, int, uint, double, number (int or double, known only at run time), string, null, list, any.
    `values` are those of an enum, `item` the type of a list's items."""

    kind: str
    values: tuple[str, ...] = ()
    item: Type | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong in a rule; `offset` counts characters from 0."""

    offset: int
    code: str
    message: str
    remedy: str


@dataclass(slots=True)
class Scope:
    """The names that a rule may use, with their types."""

    customer: Mapping[str, Type]
    context: Mapping[str, Type]
    segments: Iterable[str] = ()
    customer_allowed: bool = True
    variables: dict[str, Type] = field(default_factory=dict)


BOOL, INT, DOUBLE, STRING, ANY = Type("bool"), Type("int"), Type("double"), Type("string"), Type("any")
NUMBERS = ("int", "uint", "double", "number")
DECLARED = {"int": INT, "float": DOUBLE, "bool": BOOL}
_STRING_TESTS = ("startsWith", "endsWith", "contains", "matches")
_CONVERSIONS = {"int": INT, "double": DOUBLE, "string": STRING}
_MACROS = ("all", "exists", "exists_one", "filter", "map")
_FUNCTIONS = ("has", "size", *_CONVERSIONS)
_METHODS = ("size", *_STRING_TESTS, *_MACROS)


def declared(kind: str, values: Iterable[str] | None = None) -> Type:
    """The CEL type of a declared attribute, feature or context field: everything but numbers and bools is text."""
    return DECLARED.get(kind) or Type("string", tuple(values or ()))


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """The remedy for a name that does not exist."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.7)
    return f"did you mean `{close[0]}`?" if close else otherwise


def check(tree: Node, scope: Scope, wanted: str) -> list[Finding]:
    """All findings of a rule that shall give a `bool` or a `number`."""
    checker = _Checker(scope)
    result = checker.type_of(tree)
    kinds = ("bool",) if wanted == "bool" else ("int", "double", "number")
    if result.kind not in (*kinds, "any"):
        remedy = "compare with something, such as `customer.age > 17`" if wanted == "bool" else "write a number"
        checker.found.append(Finding(tree.start, "cel_type", f"the rule gives a {result.kind}, not a {wanted}", remedy))
    return checker.found


class _Checker:
    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self.found: list[Finding] = []

    def _refuse(self, node: Node, message: str, remedy: str, code: str = "cel_type") -> Type:
        """Notes a finding; the part counts as `any`, so that one mistake is reported once."""
        self.found.append(Finding(node.start, code, message, remedy))
        return ANY

    def type_of(self, node: Node) -> Type:
        checks: dict[str, Any] = {
            "literal": self._literal, "name": self._name, "select": self._select, "index": self._index,
            "call": self._call, "list": self._list, "prefix": self._prefix, "binary": self._binary,
            "choose": self._choose,
        }  # fmt: skip
        result: Type = checks[node.kind](node)
        return result

    def _literal(self, node: Node) -> Type:
        return Type(node.type)

    def _name(self, node: Node) -> Type:
        if node.text in self._scope.variables:
            return self._scope.variables[node.text]
        if node.text in ROOTS:
            return self._refuse(node, f"`{node.text}` alone is not a value", f"write `{node.text}.` and a name")
        known = [*self._scope.customer, *self._scope.context]
        for root, names in (("customer", self._scope.customer), ("context", self._scope.context)):
            if node.text in names:
                return self._refuse(node, f"unknown name `{node.text}`", f"write `{root}.{node.text}`", "unknown_name")
        remedy = did_you_mean(node.text, (*ROOTS, *known), "put text in quotes, and facts after `customer.`")
        return self._refuse(node, f"unknown name `{node.text}`", remedy, "unknown_name")

    def _select(self, node: Node) -> Type:
        operand = node.parts[0]
        if operand.kind == "name" and operand.text in ROOTS and operand.text not in self._scope.variables:
            return self._fact(node, operand.text, node.text)
        self.type_of(operand)
        return self._refuse(node, f"`.{node.text}` selects from something without fields", "remove it")

    def _fact(self, node: Node, root: str, name: str) -> Type:
        if root == "segment":
            if name in self._scope.segments:
                return BOOL
            remedy = did_you_mean(name, self._scope.segments, "declare it in glossary.yaml")
            return self._refuse(node, f"unknown segment `segment.{name}`", remedy, "unknown_segment")
        known = self._scope.customer if root == "customer" else self._scope.context
        if root == "customer" and not self._scope.customer_allowed:
            return self._refuse(node, "only `context.*` may be read here", "move the condition into `eligible`")
        if name in known:
            return known[name]
        code, files = ("unknown_fact", "attributes.yaml or features.yaml")
        if root == "context":
            code, files = ("unknown_context", "context.yaml")
        remedy = did_you_mean(name, known, f"declare it in {files}")
        return self._refuse(node, f"unknown {code[8:]} `{root}.{name}`", remedy, code)

    def _index(self, node: Node) -> Type:
        operand, index = node.parts
        if operand.kind == "name" and operand.text in ROOTS:
            if index.kind == "literal" and index.type == "string":
                return self._fact(node, operand.text, text_of(index))
            return self._refuse(
                node, f"`{operand.text}[…]` needs a name in quotes", f"write `{operand.text}.` and a name"
            )
        outer, inner = self.type_of(operand), self.type_of(index)
        if outer.kind == "list" and inner.kind in ("int", "any"):
            return outer.item or ANY
        return ANY if outer.kind == "any" else self._refuse(node, f"a {outer.kind} has no parts", "remove the brackets")

    def _list(self, node: Node) -> Type:
        items = [self.type_of(part) for part in node.parts]
        kinds = {item.kind for item in items}
        if not items:
            return Type("list", item=ANY)
        return Type("list", item=items[0] if len(kinds) == 1 else ANY)

    def _prefix(self, node: Node) -> Type:
        operand = self.type_of(node.parts[0])
        wanted = ("bool",) if node.text == "!" else ("int", "double", "number")
        if operand.kind not in (*wanted, "any"):
            return self._refuse(node, f"`{node.text}` needs a {wanted[0]}, this is a {operand.kind}", "compare first")
        return operand

    def _choose(self, node: Node) -> Type:
        condition, then, otherwise = (self.type_of(part) for part in node.parts)
        if condition.kind not in ("bool", "any"):
            self._refuse(node.parts[0], f"`?` needs a bool, this is a {condition.kind}", "compare first")
        if then.kind == otherwise.kind:
            return Type(then.kind, item=then.item)
        if "any" in (then.kind, otherwise.kind):
            return ANY
        if then.kind in NUMBERS and otherwise.kind in NUMBERS:
            return Type("number")
        return self._refuse(node, f"one way gives a {then.kind}, the other a {otherwise.kind}", "give both one type")

    def _binary(self, node: Node) -> Type:
        left, right = (self.type_of(part) for part in node.parts)
        if node.text in ("&&", "||"):
            return self._logic(node, left, right)
        if node.text == "in":
            return self._membership(node, left, right)
        if node.text in ("==", "!="):
            return self._equality(node, left, right, node.parts)
        if node.text in ("<", "<=", ">", ">="):
            return self._order(node, left, right)
        return self._arithmetic(node, left, right)

    def _logic(self, node: Node, left: Type, right: Type) -> Type:
        for part, kind in zip(node.parts, (left.kind, right.kind), strict=True):
            if kind not in ("bool", "any"):
                self._refuse(part, f"`{node.text}` joins bools, this is a {kind}", "compare it with something")
        return BOOL

    def _membership(self, node: Node, left: Type, right: Type) -> Type:
        if right.kind not in ("list", "any"):
            return self._refuse(node, f"`in` needs a list, this is a {right.kind}", 'write `in ["a", "b"]`')
        items = node.parts[1].parts if node.parts[1].kind == "list" else ()
        for item in items:
            self._equality(node, left, _literal_type(item), (node.parts[0], item))
        return BOOL

    def _equality(self, node: Node, left: Type, right: Type, parts: tuple[Node, ...]) -> Type:
        if "null" in (left.kind, right.kind):
            remedy = "a missing fact has no value at all: write `has(customer.x)`"
            return self._refuse(node, "nothing is ever null in a rule", remedy)
        if not _comparable(left, right):
            remedy = f"compare the {left.kind} with another {left.kind}"
            return self._refuse(node, f"a {left.kind} never equals a {right.kind}", remedy)
        for values, part in ((left.values, parts[1]), (right.values, parts[0])):
            if values and part.kind == "literal" and text_of(part) not in values:
                remedy = did_you_mean(text_of(part), values, "write one of " + ", ".join(f"`{v}`" for v in values))
                self._refuse(part, f"`{text_of(part)}` is not among the declared values", remedy, "unknown_value")
        return BOOL

    def _order(self, node: Node, left: Type, right: Type) -> Type:
        ordered = (*NUMBERS, "string", "any")
        if left.kind in ordered and right.kind in ordered and _comparable(left, right):
            return BOOL
        message = f"`{node.text}` cannot order a {left.kind} and a {right.kind}"
        return self._refuse(node, message, "compare numbers with numbers, text with text")

    def _arithmetic(self, node: Node, left: Type, right: Type) -> Type:
        kinds = {left.kind, right.kind}
        if "any" in kinds:
            return ANY
        permitted = {"+": ("int", "uint", "double", "string", "list"), "%": ("int", "uint")}
        if len(kinds) == 1 and left.kind in permitted.get(node.text, ("int", "uint", "double")):
            return Type(left.kind, item=left.item)
        if kinds <= set(NUMBERS):
            remedy = "write whole numbers of a float as `2.0`, or convert with `double(…)`"
            return self._refuse(node, f"`{node.text}` does not mix whole and decimal numbers", remedy)
        return self._refuse(
            node, f"`{node.text}` needs numbers, not a {left.kind} and a {right.kind}", "check both sides"
        )

    def _call(self, node: Node) -> Type:
        if node.type == "method" and node.text in _MACROS:
            return self._macro(node)
        if node.text == "has" and node.type == "function":
            self.type_of(node.parts[0])
            return BOOL
        types = [self.type_of(part) for part in node.parts]
        known = _METHODS if node.type == "method" else _FUNCTIONS
        if node.text not in known:
            remedy = did_you_mean(node.text, known, "use one of " + ", ".join(known))
            return self._refuse(node, f"unknown function `{node.text}`", remedy, "unknown_function")
        if len(types) != (2 if node.text in _STRING_TESTS else 1):
            return self._refuse(node, f"`{node.text}` has the wrong number of arguments", "see the CEL language")
        return self._known_call(node, types)

    def _known_call(self, node: Node, types: list[Type]) -> Type:
        accepted = {"size": ("string", "list", "any"), "int": (*NUMBERS, "string", "any")}
        accepted |= {"double": accepted["int"], "string": (*NUMBERS, "string", "bool", "any")}
        for part, each in zip(node.parts, types, strict=True):
            if each.kind not in accepted.get(node.text, ("string", "any")):
                return self._refuse(part, f"`{node.text}` does not take a {each.kind}", "check what it is given")
        if node.text == "matches":
            self._pattern(node.parts[1])
        return INT if node.text == "size" else _CONVERSIONS.get(node.text, BOOL)

    def _pattern(self, part: Node) -> None:
        """A regular expression that does not compile fails only when it runs; so run it once."""
        if part.kind != "literal":
            return
        try:
            cel.evaluate(f"''.matches({part.text})")
        except (ValueError, RuntimeError):
            self._refuse(part, "not a regular expression (RE2)", "check brackets and backslashes")

    def _macro(self, node: Node) -> Type:
        over = self.type_of(node.parts[0])
        if over.kind not in ("list", "any"):
            return self._refuse(node, f"`{node.text}` needs a list, this is a {over.kind}", "apply it to a list")
        if len(node.parts) != 3 or node.parts[1].kind != "name":
            return self._refuse(node, f"`{node.text}` takes a name and a condition", "write `.exists(x, x > 1)`")
        name = node.parts[1].text
        before = dict(self._scope.variables)
        self._scope.variables[name] = over.item or ANY
        result = self.type_of(node.parts[2])
        self._scope.variables = before
        if node.text == "map":
            return Type("list", item=result)
        if result.kind not in ("bool", "any"):
            return self._refuse(node.parts[2], f"`{node.text}` needs a bool, this is a {result.kind}", "compare first")
        return over if node.text == "filter" else BOOL


def _literal_type(node: Node) -> Type:
    return Type(node.type) if node.kind == "literal" else ANY


def _comparable(left: Type, right: Type) -> bool:
    return left.kind == right.kind or "any" in (left.kind, right.kind) or {left.kind, right.kind} <= set(NUMBERS)
