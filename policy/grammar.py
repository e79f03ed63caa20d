"""The grammar of rules: the part of CEL that rules use, parsed only to know what a rule reads, where its conditions
divide, and which types meet. The library that runs the rules shows no syntax tree.

Grammar: https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax. Left out, because rules have no use
for them: maps, messages, and bytes. Binding powers, weakest first:

    ? :   ||   &&   == != < <= > >= in   + -   * / %   ! - (prefix)   . [] ()
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

RESERVED = frozenset(
    [
        "false",
        "in",
        "null",
        "true",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ]
)
_KEYWORDS = frozenset({"false", "in", "null", "true"})  # these four cannot follow a dot either
_INT_MAX = 2**63 - 1
_DEEPEST = 32  # nested brackets; rules of people stay far below, and the library's parser is recursive too

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n\f]+|//[^\n]*)
      | (?P<string>[rR]?(?:'''(?:.|\n)*?'''|\"\"\"(?:.|\n)*?\"\"\"|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"))
      | (?P<double>[0-9]*\.[0-9]+(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)
      | (?P<int>(?:0x[0-9a-fA-F]+|[0-9]+)[uU]?)
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<sign>\|\||&&|==|!=|<=|>=|[<>+\-*/%!?:.,()\[\]])""",
    re.VERBOSE,
)
_POWER = {
    "||": 1, "&&": 2,
    "==": 3, "!=": 3, "<": 3, "<=": 3, ">": 3, ">=": 3, "in": 3,
    "+": 4, "-": 4, "*": 5, "/": 5, "%": 5,
}  # fmt: skip


class RuleSyntaxError(ValueError):
    """A text that is not a rule. `offset` counts characters from 0."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


class Token(NamedTuple):
    kind: str  # string, double, int, name, sign, end
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class Node:
    """A part of a rule, from character `start` to just before `end`.

    kind      text                     parts
    literal   the literal itself       none; `type` is its type
    name      the name                 none
    select    the field                the operand
    index     ""                       operand, index
    call      the function             the receiver, if `type` is "method", then the arguments
    list      ""                       the items
    prefix    `!` or `-`               the operand
    binary    the operator             left, right
    choose    "?"                      condition, then, else
    """

    kind: str
    text: str
    start: int
    end: int
    parts: tuple[Node, ...] = ()
    type: str = ""
    bracketed: bool = False


def tokens(source: str) -> list[Token]:
    """The words and signs of a rule, without white space and comments. Raises RuleSyntaxError."""
    found: list[Token] = []
    position = 0
    while position < len(source):
        match = _TOKEN.match(source, position)
        if match is None:
            character = source[position]
            what = "a quote is never closed" if character in "'\"" else f"`{character}` has no meaning in a rule"
            raise RuleSyntaxError(what, position)
        if match.lastgroup != "space":
            found.append(Token(str(match.lastgroup), match.group(), position))
        position = match.end()
    return [*found, Token("end", "", len(source))]


def parse(source: str) -> Node:
    """The tree of a rule. Raises RuleSyntaxError."""
    parser = _Parser(tokens(source))
    tree = parser.choice()
    if parser.next.kind != "end":
        raise RuleSyntaxError(f"`{parser.next.text}` is not expected here", parser.next.start)
    return tree


class _Parser:
    """Precedence climbing over the tokens."""

    def __init__(self, words: list[Token]) -> None:
        self._words = words
        self._at = 0
        self._depth = 0

    @property
    def next(self) -> Token:
        return self._words[self._at]

    def _take(self) -> Token:
        token = self.next
        if token.kind == "end":
            raise RuleSyntaxError("the rule ends too early", token.start)
        self._at += 1
        return token

    def _is(self, text: str) -> bool:
        return self.next.text == text and self.next.kind in ("sign", "name")

    def _expect(self, text: str) -> Token:
        if not self._is(text):
            shown = f"`{self.next.text}`" if self.next.text else "the end"
            raise RuleSyntaxError(f"`{text}` is expected before {shown}", self.next.start)
        return self._take()

    def choice(self) -> Node:
        """`condition ? then : else`; only the last part may be a choice without brackets."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise RuleSyntaxError("the rule is nested too deeply", self.next.start)
        condition = self._binary(1)
        if self._is("?"):
            self._take()
            then = self._binary(1)
            self._expect(":")
            otherwise = self.choice()
            parts = (condition, then, otherwise)
            condition = Node("choose", "?", condition.start, otherwise.end, parts)
        self._depth -= 1
        return condition

    def _binary(self, weakest: int) -> Node:
        left = self._prefixed()
        while self.next.kind in ("sign", "name") and _POWER.get(self.next.text, 0) >= weakest:
            operator = self._take()
            right = self._binary(_POWER[operator.text] + 1)
            left = Node("binary", operator.text, left.start, right.end, (left, right))
        return left

    def _prefixed(self) -> Node:
        """`!!a` and `--a` are CEL, `!-a` is not; `!-1` is, because the sign belongs to the number."""
        signs: list[Token] = []
        while self._is("!") or self._is("-"):
            of_number = self.next.text == "-" and self._words[self._at + 1].kind in ("int", "double")
            if signs and signs[0].text != self.next.text and not of_number:
                raise RuleSyntaxError(f"`{self.next.text}` cannot follow `{signs[0].text}`", self.next.start)
            signs.append(self._take())
        operand = self._member()
        for sign in reversed(signs):
            operand = Node("prefix", sign.text, sign.start, operand.end, (operand,))
        return operand

    def _member(self) -> Node:
        operand = self._primary()
        while True:
            if self._is("."):
                self._take()
                operand = self._selection(operand)
            elif self._is("["):
                self._take()
                index = self.choice()
                operand = Node("index", "", operand.start, self._expect("]").end, (operand, index))
            else:
                return operand

    def _selection(self, operand: Node) -> Node:
        field = self._take()
        if field.kind != "name" or field.text in _KEYWORDS:
            raise RuleSyntaxError(f"`{field.text}` is not a name", field.start)
        if self._is("("):
            arguments, end = self._arguments(")")
            return Node("call", field.text, operand.start, end, (operand, *arguments), "method")
        return Node("select", field.text, operand.start, field.end, (operand,))

    def _arguments(self, closing: str) -> tuple[tuple[Node, ...], int]:
        """What stands between brackets, separated by commas, and where the closing bracket ends."""
        self._take()
        items: list[Node] = []
        while not self._is(closing):
            items.append(self.choice())
            if not self._is(closing):
                self._expect(",")
                if closing == ")" and self._is(closing):
                    raise RuleSyntaxError("an argument is missing", self.next.start)
        return tuple(items), self._take().end

    def _primary(self) -> Node:
        token = self.next
        if self._is("["):
            items, end = self._arguments("]")
            return Node("list", "", token.start, end, items)
        self._take()
        if token.text == "(" and token.kind == "sign":
            inner = self.choice()
            end = self._expect(")").end
            return Node(inner.kind, inner.text, token.start, end, inner.parts, inner.type, bracketed=True)
        if token.kind in ("string", "double"):
            return Node("literal", token.text, token.start, token.end, type=token.kind)
        if token.kind == "int":
            return self._integer(token)
        if token.kind == "name":
            return self._named(token)
        raise RuleSyntaxError(f"`{token.text}` is not expected here", token.start)

    def _integer(self, token: Token) -> Node:
        unsigned = token.text[-1] in "uU"
        number = int(token.text.rstrip("uU"), 16 if token.text.startswith("0x") else 10)
        if number > (2 * _INT_MAX + 1 if unsigned else _INT_MAX):
            raise RuleSyntaxError(f"`{token.text}` is too large", token.start)
        return Node("literal", token.text, token.start, token.end, type="uint" if unsigned else "int")

    def _named(self, token: Token) -> Node:
        if token.text in ("true", "false", "null"):
            kind = "null" if token.text == "null" else "bool"
            return Node("literal", token.text, token.start, token.end, type=kind)
        if token.text in RESERVED:
            raise RuleSyntaxError(f"`{token.text}` is a reserved word", token.start)
        if not self._is("("):
            return Node("name", token.text, token.start, token.end)
        arguments, end = self._arguments(")")
        node = Node("call", token.text, token.start, end, arguments, "function")
        if token.text == "has" and (len(arguments) != 1 or arguments[0].kind != "select"):
            raise RuleSyntaxError("`has` takes one name with a dot, such as `has(customer.age)`", token.start)
        return node
