"""What may meet what in a rule, every kind with every other; found by small mistakes on purpose (`make mutate`)."""

from __future__ import annotations

from itertools import product

import pytest

from policy.grammar import parse
from policy.rule_types import BOOL, DOUBLE, INT, STRING, Scope, Type, check

#: Kind → something of that kind. `any` is what nobody knows before the rule runs.
KINDS = {
    "int": "customer.i",
    "double": "customer.f",
    "number": "(customer.b ? 1 : 1.5)",
    "uint": "7u",
    "bool": "customer.b",
    "string": "customer.s",
    "list": "[1]",
    "any": "[customer.i, customer.s][0]",
}
NUMBERS = {"int", "uint", "double", "number"}
#: Arithmetic joins two of one of these kinds.
ONE_KIND = {
    "+": {"int", "uint", "double", "string", "list"},
    "-": {"int", "uint", "double"},
    "*": {"int", "uint", "double"},
    "/": {"int", "uint", "double"},
    "%": {"int", "uint"},
}


def scope(customer_allowed: bool = True) -> Scope:
    customer = {"i": INT, "f": DOUBLE, "b": BOOL, "s": STRING, "e": Type("string", ("x", "y"))}
    return Scope(customer, {"region": STRING, "n": INT}, ("known",), customer_allowed)


def found(rule: str, wanted: str = "bool", customer_allowed: bool = True) -> list[str]:
    """What is wrong: `at code`, counted in characters from 0."""
    return [f"{each.offset} {each.code}" for each in check(parse(rule), scope(customer_allowed), wanted)]


def permitted(left: str, sign: str, right: str) -> bool:
    """The table of kinds, written down once more and more simply than the check does it."""
    either_unknown = "any" in (left, right)
    alike = left == right or {left, right} <= NUMBERS or either_unknown
    if sign in ("&&", "||"):
        return {left, right} <= {"bool", "any"}
    if sign in ("==", "!="):
        return alike
    if sign == "in":
        return right in ("list", "any")
    if sign in ("<", "<=", ">", ">="):
        return alike and {left, right} <= NUMBERS | {"string", "any"}
    return either_unknown or (left == right and left in ONE_KIND[sign])


@pytest.mark.parametrize("sign", ["&&", "||", "==", "!=", "in", "<", "<=", ">", ">=", "+", "-", "*", "/", "%"])
def test_every_kind_meets_those_that_it_may_meet_and_no_other(sign: str) -> None:
    for left, right in product(KINDS, KINDS):
        if sign == "in" and right == "list":
            continue  # a list that is written out is compared item by item: below
        rule = f"{KINDS[left]} {sign} {KINDS[right]}"
        if sign in ONE_KIND:
            rule = f"[{rule}].size() == 1"  # whatever it gives
        assert found(rule) == [] or not permitted(left, sign, right), rule
        assert found(rule) != [] or permitted(left, sign, right), rule


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"list", "bool"}))
def test_what_is_added_stays_what_it_was(kind: str) -> None:
    whole = f"({KINDS[kind]} + {KINDS[kind]})"
    if kind == "number":
        return  # nobody knows whether these two may be added
    for other in ("int", "double", "string"):
        ok = kind in ("any", other)
        assert (found(f"{whole} + {KINDS[other]} == {KINDS[other]}") == []) is ok, (kind, other)


@pytest.mark.parametrize(
    ("rule", "wrong"),
    [
        # Names
        ("i > 1", ["0 unknown_name"]),
        ("n > 1", ["0 unknown_name"]),
        ("nobody > 1", ["0 unknown_name"]),
        ("customer == 1", ["0 cel_type"]),
        ("customer.i.x == 1", ["0 cel_type"]),
        ("[1].x == 1", ["0 cel_type"]),
        ("true && customer.nobody == 1", ["8 unknown_fact"]),
        ("true && context.nobody == 1", ["8 unknown_context"]),
        ("segment.known && segment.nobody", ["17 unknown_segment"]),
        ("customer['i'] > 1", []),
        ("customer['nobody'] > 1", ["0 unknown_fact"]),
        ("segment['known']", []),
        ("customer[1] > 1", ["0 cel_type"]),
        ("customer[customer.s] > 1", ["0 cel_type"]),
        # Lists
        ("[1][0] == 1", []),
        ("[1][0] == 'a'", ["0 cel_type"]),
        ("[1]['a'] == 1", ["0 cel_type"]),
        ("[1][[1, 'a'][0]] == 1", []),
        ("[1, 'a'][0] == 1", []),
        ("[1, 'a'][0][0] == 1", []),
        ("[][0] == 1", []),
        ("customer.i[0] == 1", ["0 cel_type"]),
        ("customer.i in [1, 2.5]", []),
        ("customer.i in [1, 'a']", ["0 cel_type"]),
        ("customer.i in [1, null]", ["0 cel_type"]),
        ("customer.i in [customer.s]", []),
        ("customer.e in ['x', 'z', 'w']", ["20 unknown_value", "25 unknown_value"]),
        # Values
        ("customer.e == 'x' && 'y' == customer.e", []),
        ("'z' == customer.e", ["0 unknown_value"]),
        ("customer.e == customer.s", []),
        ("null == customer.i", ["0 cel_type"]),
        # Signs before, and choices
        ("-customer.i > 1 && -customer.f > 1.0 && -(customer.b ? 1 : 1.5) > 1", []),
        ("-[1, 'a'][0] > 1 && ![true, 'a'][0]", []),
        ("-customer.b", ["0 cel_type"]),
        ("!customer.i", ["0 cel_type"]),
        ("!7u", ["0 cel_type"]),
        ("customer.i ? true : false", ["0 cel_type"]),
        ("[true, 1][0] ? true : false", []),
        ("customer.b ? [1, 'a'][0] : true", []),
        ("(customer.b ? 1 : 1.5) > 1", []),
        ("(customer.b ? [1] : [2])[0] == 1", []),
        ("(customer.b ? [1] : [2])[0] == 'a'", ["0 cel_type"]),
        ("(customer.b ? 1 : 'a') == 1", ["0 cel_type"]),
        ("(customer.b ? [1, 'a'][0] : 1) == 'a'", []),
        # Calls
        ("has(customer.i) && has(context.n)", []),
        ("has(customer.nobody)", ["4 unknown_fact"]),
        ("customer.s.has(customer.i)", ["0 unknown_function"]),
        ("startsWith(customer.s, 'a')", ["0 unknown_function"]),
        ("customer.s.startsWith('a') && customer.s.endsWith('a') && customer.s.contains('a')", []),
        ("customer.s.matches('[a-z]+') && customer.s.matches(customer.s)", []),
        ("customer.s.matches('[')", ["19 cel_type"]),
        ("customer.s.startsWith()", ["0 cel_type"]),
        ("customer.s.startsWith('a', 'b')", ["0 cel_type"]),
        ("customer.s.startsWith(1)", ["22 cel_type"]),
        ("customer.i.startsWith('a')", ["0 cel_type"]),
        ("size(customer.s) > 1 && size([1]) > 1 && customer.s.size() > 1 && size([1, 'a'][0]) > 1", []),
        ("size(customer.i) > 1", ["5 cel_type"]),
        ("size(customer.s, 1) > 1", ["0 cel_type"]),
        ("size(customer.s) + 1.0 > 1.0", ["0 cel_type"]),
        ("int(customer.f) + 1 > 1 && int('1') > 1 && int(7u) > 1 && int([1, 'a'][0]) > 1", []),
        ("int(customer.b) > 1", ["4 cel_type"]),
        ("double(customer.i) + 1.0 > 1.0 && double('1') > 1.0", []),
        ("double([1]) > 1.0", ["7 cel_type"]),
        ("string(customer.b) == 'true' && string(1) == '1' && string([1, 'a'][0]) == '1'", []),
        ("string([1]) == '1'", ["7 cel_type"]),
        ("string(customer.s) == 'a'", []),
        ("[customer.s, 1][0].startsWith('a')", []),
        ("customer.s.startsWith([customer.s, 1][0])", []),
        ("int(customer.s) == 'a'", ["0 cel_type"]),
        # Macros
        ("[1].exists(x, x > 1) && [1].all(x, x > 1) && [1].exists_one(x, x > 1)", []),
        ("[1].exists(x, x == 'a')", ["14 cel_type"]),
        ("[1, 'a'].exists(x, x == 'a')", []),
        ("customer.i.exists(x, x > 1)", ["0 cel_type"]),
        ("[[1], 'a'][0].exists(x, x > 1)", []),
        ("([1] + [2])[0] == 1", []),
        ("([1] + [2])[0] == 'a'", ["0 cel_type"]),
        ("[1].exists(x)", ["0 cel_type"]),
        ("[1].exists(1, true)", ["0 cel_type"]),
        ("[1].exists(x, x)", ["14 cel_type"]),
        ("[1].filter(x, x > 1)[0] == 1", []),
        ("[1].filter(x, x > 1)[0] == 'a'", ["0 cel_type"]),
        ("[1].filter(x, x)[0] == 1", ["14 cel_type"]),
        ("[1].map(x, string(x))[0] == 'a'", []),
        ("[1].map(x, string(x))[0] == 1", ["0 cel_type"]),
        ("[1].exists(x, x > 1) && x > 1", ["24 unknown_name"]),
        ("[[1]].exists(y, y.exists(x, x > 1) && y[0] > 1)", []),
        ("[1].exists(customer, customer > 1)", []),
    ],
)  # fmt: skip
def test_what_is_wrong_is_shown_at_its_place_and_once(rule: str, wrong: list[str]) -> None:
    assert found(rule) == wrong


@pytest.mark.parametrize(
    ("rule", "wanted", "wrong"),
    [
        ("customer.i", "bool", ["0 cel_type"]),
        ("customer.i", "number", []),
        ("customer.f", "number", []),
        ("customer.b ? 1 : 1.5", "number", []),
        ("7u", "number", ["0 cel_type"]),
        ("customer.b", "number", ["0 cel_type"]),
        ("[1, 'a'][0]", "number", []),
        ("[1, 'a'][0]", "bool", []),
    ],
)
def test_a_rule_gives_what_is_wanted_of_it(rule: str, wanted: str, wrong: list[str]) -> None:
    assert found(rule, wanted) == wrong


def test_where_the_customer_may_not_be_read_the_context_may() -> None:
    assert found("customer.i > 1", customer_allowed=False) == ["0 cel_type"]
    assert found("context.n > 1 && context.region == 'DE'", customer_allowed=False) == []


def test_a_field_of_nobody_is_no_fact_of_the_customer() -> None:
    assert found("nobody.i == 1")[0] == "0 unknown_name"
