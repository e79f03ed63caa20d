"""Rules: their grammar, their parts, what they read, and their types."""

from __future__ import annotations

from itertools import pairwise

import cel
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from policy.expressions import compiled, conditions, guarded, references
from policy.grammar import RuleSyntaxError, parse
from policy.rule_types import BOOL, DOUBLE, INT, STRING, Scope, Type, check, declared

WORDS = [
    "customer", "context", "a", "b", "x", ".", ".", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "!", "-", "+", "*",
    "/", "%", "in", "?", ":", "(", ")", "[", "]", ",", "1", "2.5", "0x1F", "7u", "1e3", ".5", "'t'", '"u"', "r'\\d'",
    "true", "false", "null", "has", "has(a.b)", "size", "startsWith", "for", "// note\n",
]  # fmt: skip


def _expressions() -> st.SearchStrategy[str]:
    """Texts that are mostly rules, built from the inside out."""
    leaves = st.sampled_from(
        ["customer.a", "context.b", "segment.c", "1", "2.5", "'t'", "true", "null", "[1, 2]", "[]", "has(customer.a)"]
    )

    def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        operators = st.sampled_from(["&&", "||", "==", "<=", "in", "+", "-", "%"])
        return st.one_of(
            st.tuples(inner, operators, inner).map(" ".join),
            inner.map("({})".format),
            inner.map("!{}".format),
            inner.map("-{}".format),
            inner.map("{}.size()".format),
            st.tuples(inner, inner, inner).map(lambda parts: "{} ? {} : {}".format(*parts)),
            st.tuples(inner, inner).map(lambda parts: "{}.contains({})".format(*parts)),
            st.tuples(inner, inner).map(lambda parts: "{}[{}]".format(*parts)),
        )

    return st.recursive(leaves, larger, max_leaves=8)


def _we_accept(text: str) -> bool:
    try:
        parse(text)
    except RuleSyntaxError:
        return False
    return True


def _library_accepts(text: str) -> bool:
    try:
        cel.compile(text)
    except ValueError:
        return False
    return True


@settings(max_examples=200, deadline=None)
@given(_expressions())
def test_what_reads_like_a_rule_is_accepted_as_the_library_accepts_it(text: str) -> None:
    assert _we_accept(text) == _library_accepts(text)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=8))
def test_loose_words_are_refused_as_the_library_refuses_them(words: list[str]) -> None:
    """But for a dot before a name, which the library reads as a name of no package, and then never finds."""
    before = [previous for previous, word in pairwise(["(", *words]) if word == "."]
    assume(all(word != "in" and (word[-1].isalnum() or word[-1] in ")]'\"") for word in before))
    text = " ".join(words)
    assert _we_accept(text) == _library_accepts(text)


@pytest.mark.parametrize(
    "text",
    ["", "(1", "1 = 2", "a &&", "customer.", "'open", "a ? b ? c : d : e", "!-a", "99999999999999999999", "has(a)",
     "customer.in", "5.", "a b", "for", "$a", "f(1,)"],
)  # fmt: skip
def test_what_is_no_rule_is_refused_by_both(text: str) -> None:
    assert not _we_accept(text)
    assert not _library_accepts(text)


def test_a_rule_nested_without_end_is_refused_and_does_not_crash() -> None:
    with pytest.raises(RuleSyntaxError, match="too deeply"):
        parse("(" * 500 + "1" + ")" * 500)


@pytest.mark.parametrize(
    ("rule", "parts"),
    [
        ("true", ()),
        ("(true)", ()),
        ("customer.a > 1", ("customer.a > 1",)),
        ("customer.a > 1 && context.b == 'x'", ("customer.a > 1", "context.b == 'x'")),
        ("a && b && c", ("a", "b", "c")),
        ("(a && b) && c", ("(a && b)", "c")),
        ("a || b && c", ("a || b && c",)),
        ("(a || b) && c", ("(a || b)", "c")),
        ("a && b ? c : d", ("a && b ? c : d",)),
        ("[a && b].exists(x, x) && c", ("[a && b].exists(x, x)", "c")),
        ("customer.a == '&&' && b", ("customer.a == '&&'", "b")),
        ("a // && x\n && b", ("a", "b")),
    ],
)
def test_a_rule_divides_where_conditions_are_joined_at_its_top(rule: str, parts: tuple[str, ...]) -> None:
    assert conditions(rule) == parts


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["customer.a", "customer.b", "(customer.a || customer.b)", "!customer.b"]), min_size=1))
def test_a_rule_holds_exactly_when_all_of_its_parts_hold(parts: list[str]) -> None:
    rule = " && ".join(parts)
    for a in (True, False):
        for b in (True, False):
            facts = cel.Context({"customer": {"a": a, "b": b}, "context": {}})
            whole = compiled(rule).evaluate(facts)
            assert whole == all(compiled(part).evaluate(facts) for part in conditions(rule))


def test_a_rule_names_what_it_reads() -> None:
    rule = compiled("customer.b > customer['a'] && has(customer.c) && context.region == 'DE' && 'customer.d' != ''")
    assert rule.customer == ("a", "b", "c")
    assert rule.context == ("region",)


def test_a_name_inside_a_list_macro_is_no_fact() -> None:
    assert compiled("['a', 'b'].exists(x, x == context.trigger)").context == ("trigger",)


def test_references_say_where_they_stand() -> None:
    text = "1 < customer.age"
    (reference,) = references(parse(text))
    assert text[reference.start : reference.end] == "customer.age"


def test_has_guards_the_fact_that_it_asks_for() -> None:
    assert guarded(parse("!has(customer.a) || customer.a > customer.b")) == {"a"}


def test_segments_are_replaced_by_their_rules_also_inside_each_other() -> None:
    segments = {"new": "customer.age < 2 || customer.newbie", "near": "segment.new && context.region == 'DE' // home"}
    rule = compiled("!segment.near && customer.x", segments)
    assert rule.source == "!((customer.age < 2 || customer.newbie) && context.region == 'DE') && customer.x"
    assert rule.customer == ("age", "newbie", "x")
    assert rule.segments == ("near", "new")


def test_a_missing_fact_is_named() -> None:
    with pytest.raises(KeyError, match="recency"):
        compiled("customer.recency <= 12").evaluate(cel.Context({"customer": {}, "context": {}}))


SCOPE = Scope(
    customer={"i": INT, "f": DOUBLE, "b": BOOL, "s": STRING, "e": Type("string", ("x", "y"))},
    context={"region": STRING},
    segments=("known",),
)
SAMPLES = {"i": 3, "f": 2.5, "b": True, "s": "text", "e": "x"}


def _findings(rule: str, wanted: str = "bool") -> list[str]:
    return [finding.code for finding in check(parse(rule), SCOPE, wanted)]


@pytest.mark.parametrize(
    "rule",
    [
        "customer.i <= 12.0", "customer.f >= 1", "1 == 1.0", "customer.i in [1.5, 3]", "customer.f * 2.0 > 1",
        "customer.i + 1 > 2", "customer.i % 2 == 0", "-customer.f < 0", "!customer.b", "customer.s < 'z'",
        "customer.s.startsWith('a') || customer.s.matches('t.*')", "customer.s.size() == 4", "size(customer.s) > 1",
        "customer.e in ['x', 'y']", "customer.b ? customer.i > 1 : customer.f > 1.0", "double(customer.i) * 1.5 > 1.0",
        "['a', 'b'].exists(x, x == customer.s)", "[1, 2].all(x, x < customer.i)", "has(customer.i)",
        "customer.b == true", "string(customer.i) == '3'", "[1, 2].map(x, x * 2)[0] == 2", "customer['i'] > 1",
    ],
)  # fmt: skip
def test_rules_that_pass_the_type_check_run(rule: str) -> None:
    assert _findings(rule) == []
    assert compiled(rule).evaluate(cel.Context({"customer": SAMPLES, "context": {"region": "DE"}})) in (True, False)


@pytest.mark.parametrize(
    "rule",
    [
        "customer.i + 1.0 > 2.0", "customer.f * 2 > 1", "customer.f % 2.0 == 0.0", "!customer.i", "-customer.s == 'a'",
        "customer.i < 'a'", "customer.b && 1", "customer.s ? true : false", "customer.i in 'abc'",
        "customer.i.startsWith('a')", "customer.s[0] == 'a'", "size(customer.i) > 1", "customer.s.x == 1",
        "customer.s.exists(x, x == 'a')", "customer.s.matches('(')",
        "(customer.b ? 1 : 1.5) + 1.0 > 2.0 && customer.i + (customer.b ? 1.5 : 1) > 2",
    ],
)  # fmt: skip
def test_rules_that_would_fail_when_run_are_refused(rule: str) -> None:
    assert "cel_type" in _findings(rule)
    with pytest.raises((TypeError, RuntimeError)):
        compiled(rule).evaluate(cel.Context({"customer": SAMPLES, "context": {"region": "DE"}}))


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ("customer.s == 1", "cel_type"),
        ("customer == 1", "cel_type"),
        ("customer.i == null", "cel_type"),
        ("customer.e == 'z'", "unknown_value"),
        ("customer.e in ['x', 'z']", "unknown_value"),
        ("customer.unknown == 1", "unknown_fact"),
        ("context.unknown == 1", "unknown_context"),
        ("segment.unknown", "unknown_segment"),
        ("customer.s.lower() == 'a'", "unknown_function"),
        ("i > 1", "unknown_name"),
        ("customer[customer.s] == 1", "cel_type"),
    ],
)
def test_rules_that_could_never_mean_anything_are_refused(rule: str, code: str) -> None:
    """Also where CEL itself would run them: text is never a number, and nothing is ever null."""
    assert _findings(rule) == [code]


def test_a_rule_for_a_number_may_give_whole_or_decimal_ones() -> None:
    assert _findings("customer.b ? 1 : 1.5", "number") == []
    assert _findings("customer.b", "number") == ["cel_type"]
    assert _findings("customer.f", "bool") == ["cel_type"]


def test_declared_types_are_those_that_rules_see() -> None:
    assert [declared(kind).kind for kind in ("int", "float", "bool", "string", "enum", "region")] == [
        "int", "double", "bool", "string", "string", "string"
    ]  # fmt: skip


_TYPED = st.sampled_from(
    ["customer.i", "customer.f", "customer.b", "customer.s", "customer.e", "1", "2.5", "'x'", "true"]
)


@settings(max_examples=250, deadline=None)
@given(
    st.recursive(
        _TYPED,
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from(["&&", "||", "==", "<", "+", "*"]), inner).map(
                lambda parts: "({} {} {})".format(*parts)
            ),
            inner.map("!({})".format),
            inner.map("-({})".format),
            st.tuples(inner, inner, inner).map(lambda parts: "({} ? {} : {})".format(*parts)),
        ),
        max_leaves=5,
    )
)
def test_no_rule_that_passes_the_type_check_fails_on_types_when_run(rule: str) -> None:
    if _findings(rule) == []:
        result = compiled(rule).evaluate(cel.Context({"customer": SAMPLES, "context": {"region": "DE"}}))
        assert isinstance(result, bool)
