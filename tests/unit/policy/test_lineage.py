"""Lineage and audit: that what they say is what the compiled bundle does."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.audit_picture import picture
from policy.audit import Audit, Row, audit
from policy.bundle import Bundle
from policy.compile import load
from policy.expressions import Expression
from policy.lineage import Kind, Lineage, Node, lineage, strictest
from policy.lint import examine
from tests.unit.policy.conftest import COMPLETE, Folder
from tests.unit.policy.test_lint_survives import spoilt

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "tests" / "support" / "privacy_bundle"
BUNDLES = [
    EXAMPLE,
    ROOT / "policy" / "bundles" / "retail_demo",
    COMPLETE,
    ROOT / "loadtests" / "standard" / "bundle",
]
MAY_2037_MS = 2_125_000_000_000


def audited(path: Path, now_ms: int | None = None) -> Audit:
    _, documents = examine(path)
    assert documents is not None
    return audit(documents, now_ms)


def graph_of(path: Path) -> Lineage:
    return audited(path).graph


def row(path: Path, kind: str, name: str, now_ms: int | None = None) -> Row:
    return next(each for each in audited(path, now_ms).rows if (each.kind, each.name) == (kind, name))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """The privacy example, free to be changed."""
    return Folder(Path(shutil.copytree(EXAMPLE, tmp_path / "bundle", ignore=shutil.ignore_patterns("registry"))))


def reading(bundle: Bundle, fact: str) -> dict[str, set[str]]:
    """What reads a fact, by the compiled bundle alone: an oracle that shares no code with the lineage."""
    numbers = {rule.index for rule in bundle.rules if fact in rule.expression.customer}
    messages = {each.id for each in bundle.messages if numbers & set(each.rules)}
    trials = {each.id for each in bundle.arms if numbers & set(each.audience)}
    trials |= {each.id for each in bundle.experiments if numbers & set(each.audience)}
    models = {each.id for each in bundle.models if f"customer.{fact}" in each.inputs}
    placements = set()
    for placement in bundle.placements.values():
        tried = trials & ({each.id for each in placement.arms} | {each.id for each in placement.experiments})
        by_message = messages & {candidate.message.id for candidate in placement.candidates}
        if tried or by_message or (placement.model and placement.model.id in models):
            placements.add(placement.id)
    found = {"message": messages, "trial": trials, "model": models, "placement": placements}
    return {kind: names for kind, names in found.items() if names}


@pytest.mark.parametrize("path", BUNDLES, ids=lambda path: path.name)
def test_a_fact_is_read_by_what_the_compiled_bundle_reads_it_with(path: Path) -> None:
    bundle, found = load(path), audited(path)
    rows = {each.name: each for each in found.rows if each.kind in ("attribute", "feature")}
    assert list(rows) == [fact.name for fact in bundle.facts]
    for fact in bundle.facts:
        told = {kind: set(names) for kind, names in rows[fact.name].readers.items() if kind not in ("segment", "rule")}
        assert told == reading(bundle, fact.name), fact.name


@pytest.mark.parametrize("path", BUNDLES, ids=lambda path: path.name)
def test_the_context_is_read_by_the_messages_whose_rules_or_weights_read_it(path: Path) -> None:
    bundle, graph = load(path), graph_of(path)
    for name in bundle.context:
        expected = set()
        for message in bundle.messages:
            expressions = [bundle.rules[number].expression for number in message.rules]
            expressions += [message.context_weight] if isinstance(message.context_weight, Expression) else []
            expected |= {message.id} if any(name in each.context for each in expressions) else set()
        readers = graph.readers(Node(Kind.CONTEXT, name))
        assert {each.name for each in readers if each.kind is Kind.MESSAGE} == expected


@pytest.mark.parametrize("path", BUNDLES, ids=lambda path: path.name)
def test_every_line_goes_forward_and_nothing_is_left_out(path: Path) -> None:
    bundle, graph = load(path), graph_of(path)
    order = list(Kind)
    for before, after in graph.edges:
        assert order.index(before.kind) < order.index(after.kind) or before.kind is after.kind is Kind.SEGMENT
    names = {(each.kind.value, each.name) for each in graph.nodes}
    assert {(fact.kind, fact.name) for fact in bundle.facts} <= names
    assert {("message", each.id) for each in bundle.messages} <= names
    assert {("placement", each) for each in bundle.placements} <= names


def test_a_message_is_as_sensitive_as_what_chooses_it_and_what_it_declares() -> None:
    graph = graph_of(EXAMPLE)
    assert strictest(graph.classes(Node(Kind.MESSAGE, "checkup"))) == "sensitive:health"
    assert strictest(graph.classes(Node(Kind.SEGMENT, "in_care"))) == "sensitive:health"
    assert strictest(graph.classes(Node(Kind.MESSAGE, "food_new"))) == "personal"
    assert strictest(graph.classes(Node(Kind.MESSAGE, "new_in"))) == "none"
    assert strictest(graph.classes(Node(Kind.PLACEMENT, "care_reminder"))) == "sensitive:family sensitive:health"


def test_a_segment_in_a_segment_is_followed(folder: Folder) -> None:
    folder.change(
        "glossary.yaml", "segments:\n", "segments:\n  outer: {rule: segment.in_care && segment.active_buyer}\n"
    )
    folder.change("messages.yaml", "eligible: 'segment.in_care'", "eligible: 'segment.outer'")
    readers = row(folder.path, "attribute", "care_plan").readers
    assert set(readers["segment"]) == {"outer", "in_care"}
    assert "sugar_free" in readers["message"]


def test_a_row_says_who_owns_it_what_it_is_and_how_long_it_is_kept() -> None:
    plan = row(EXAMPLE, "attribute", "care_plan")
    assert (plan.owner, plan.owned, plan.sensitivity, plan.purposes) == ("care", True, "sensitive:health", ("care",))
    assert (plan.kept, plan.approval, plan.sources) == ("365d", "PR-12", ("care",))
    assert "activate never" in plan.handling
    assert row(EXAMPLE, "attribute", "loyalty").kept == "400d"


def test_identity_keys_are_listed_with_what_becomes_of_them() -> None:
    assert row(EXAMPLE, "identity", "email").handling.startswith("collect hash, store hash")
    assert row(EXAMPLE, "identity", "phone").kept == "not kept"
    assert row(EXAMPLE, "identity", "external").handling == "keep a keyed hash"


def test_consent_is_listed_purpose_by_region_with_what_suffices_there() -> None:
    found = [each for each in audited(EXAMPLE).rows if each.kind == "consent"]
    assert len(found) == 3 * 6
    assert row(EXAMPLE, "consent", "marketing in US-CA").handling == "opt_out; GPC denies it"
    assert row(EXAMPLE, "consent", "personalisation in GB").handling == "opt_in; bases consent, existing_customer"
    assert "care_reminder" in row(EXAMPLE, "consent", "care in FR").readers["placement"]
    assert "order_receipt" not in row(EXAMPLE, "consent", "personalisation in DE").readers["placement"]


def questions(path: Path, now_ms: int | None = None) -> dict[str, tuple[str, ...]]:
    return {each.about: each.names for each in audited(path, now_ms).questions}


def test_what_nothing_reads_is_called_unused(folder: Folder) -> None:
    assert questions(folder.path)["unused"] == ("event product_viewed", "feature views_7d")
    folder.change("messages.yaml", "eligible: 'segment.in_care'", "eligible: 'true'")
    folder.add("attributes.yaml", "  spare: {type: int, owner: crm}\n")
    folder.add("data.yaml", "")
    folder.change("data.yaml", "approvals:\n", "approvals:\n  PR-99: {by: somebody}\n")
    folder.change("consent.yaml", "personalisation, care]", "personalisation, care, analytics]")
    assert set(questions(folder.path)["unused"]) >= {
        "attribute spare", "segment in_care", "approval PR-99", "purpose analytics",
    }  # fmt: skip


def test_personal_data_without_an_owner_of_its_own_is_missing_one(folder: Folder) -> None:
    folder.add("attributes.yaml", "  spare: {type: int}\n  weather: {type: int, sensitivity: none}\n")
    folder.change("events.yaml", "    owner: web\n", "")
    assert set(questions(folder.path)["owner"]) == {"attribute spare", "event product_viewed", "message sugar_free"}
    assert row(folder.path, "attribute", "spare").owner == "growth"


def test_what_is_read_without_a_freshness_contract_is_asked_about() -> None:
    asked = questions(EXAMPLE)["contract"]
    assert "attribute loyalty" in asked
    assert "attribute care_plan" not in asked  # it has `max_age`
    assert "feature views_7d" not in asked  # nothing reads it


def test_an_approval_that_has_ended_is_asked_about() -> None:
    assert "approval" not in questions(EXAMPLE)
    assert questions(EXAMPLE, MAY_2037_MS)["approval"] == ("attribute care_plan",)


def test_records_without_a_retention_are_asked_about(folder: Folder) -> None:
    assert "retention" not in questions(folder.path)
    folder.change("data.yaml", "decisions: 400d, ", "")
    assert questions(folder.path)["retention"] == ("decisions",)


def test_lineage_of_the_same_bundle_is_the_same() -> None:
    _, documents = examine(EXAMPLE)
    assert documents is not None
    first, second = lineage(documents), lineage(documents)
    assert (first.nodes, first.edges) == (second.nodes, second.edges)


@settings(max_examples=40, deadline=None)
@given(st.lists(spoilt(), min_size=1, max_size=2))
def test_whatever_lint_accepts_can_be_audited_and_drawn(changes: list[tuple[str, str]]) -> None:
    with TemporaryDirectory() as temporary:
        folder = Path(shutil.copytree(COMPLETE, Path(temporary) / "bundle"))
        for file, text in changes:
            (folder / file).write_text(text)
        _, documents = examine(folder)
        if documents is not None:
            ElementTree.fromstring(picture(audit(documents)))


# At the very edges: found by small mistakes on purpose (`make mutate`)


def test_a_row_tells_how_long_its_datum_is_kept(folder: Folder) -> None:
    folder.change("data.yaml", "features: 400d", "features: 300d")
    folder.add("data.yaml", "  open_rate: {store: drop}\n")
    assert row(folder.path, "feature", "views_7d").kept == "300d"
    assert row(folder.path, "attribute", "loyalty").kept == "400d"
    assert row(folder.path, "attribute", "open_rate").kept == "not kept"


def test_an_owner_of_its_own_is_told_from_the_bundles(folder: Folder) -> None:
    folder.add("attributes.yaml", "  alone: {type: int}\n")
    folder.change("events.yaml", "    owner: web\n    aliases", "    aliases")
    assert not row(folder.path, "attribute", "alone").owned
    assert row(folder.path, "attribute", "loyalty").owned
    assert "owner: defaulted" in row(folder.path, "event", "product_viewed").remarks
    folder.change("events.yaml", "    sensitivity: personal\n", "    sensitivity: none\n")
    assert "owner: defaulted" not in row(folder.path, "event", "product_viewed").remarks


def test_what_a_caller_sends_in_vain_is_unused_and_the_region_never_is(folder: Folder) -> None:
    folder.add("context.yaml", "  seat: {type: int}\n")
    assert row(folder.path, "context", "seat").remarks == ("unused",)
    assert "unused" not in row(folder.path, "context", "region").remarks


def test_an_approval_has_ended_at_its_end(folder: Folder) -> None:
    end_ms = 2_082_758_400_000  # 2036-01-01
    ended = "approval ended"
    assert ended not in row(folder.path, "attribute", "care_plan", end_ms - 1).remarks
    assert ended in row(folder.path, "attribute", "care_plan", end_ms).remarks


def test_what_says_nothing_of_a_person_asks_for_no_leave(folder: Folder) -> None:
    folder.change("events.yaml", "    sensitivity: personal\n", "    sensitivity: none\n")
    folder.change("events.yaml", "max_length: 200, sensitivity: personal", "max_length: 200, sensitivity: none")
    graph = graph_of(folder.path)
    assert graph.classes(Node(Kind.ATTRIBUTE, "country_demand")) == frozenset()
    assert graph.classes(Node(Kind.EVENT, "product_viewed")) == frozenset()
    asked = {after.name for before, after in graph.edges if before == Node(Kind.CONSENT, "personalisation")}
    assert "weekly_offer" in asked
    assert "order_receipt" not in asked
