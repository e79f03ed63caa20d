"""The audit of a bundle's data: one row for every source, identity key, consent field, attribute and feature, with who
answers for it, what it is, how long it is kept and what reads it; and what a reviewer would ask about."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from policy import catalogue
from policy.bundle import Fact
from policy.data_checks import IDENTITIES, approvals, unreadable
from policy.lineage import CALLER, Kind, Lineage, Node, lineage, strictest
from policy.purpose_checks import declared_sensitive
from policy.schema import Documents
from policy.schema.types import instant_ms

#: Kinds of readers, in the order in which they are shown.
READERS = (Kind.FEATURE, Kind.SEGMENT, Kind.RULE, Kind.MODEL, Kind.MESSAGE, Kind.TRIAL, Kind.PLACEMENT)
#: Without a setting of its own, what is kept of a decision is bounded by the size of the log alone.
BY_SIZE = "as long as the log has room"
#: Context that the gate and the clock read, whatever the rules do.
ALWAYS_READ = ("region", "timezone", "language")


class Row(NamedTuple):
    """What is known of one datum. `owned` tells an owner of its own from the bundle's, who answers by default."""

    kind: str
    name: str
    owner: str
    owned: bool
    sensitivity: str
    purposes: tuple[str, ...]
    kept: str  # for how long
    approval: str | None
    handling: str  # its row of the PII matrix, in words
    sources: tuple[str, ...]
    readers: dict[str, tuple[str, ...]]  # kind of reader → names
    remarks: tuple[str, ...]


class Question(NamedTuple):
    """Something that a reviewer would ask about."""

    about: str  # unused, owner, contract, approval, retention
    names: tuple[str, ...]
    why: str


class Audit(NamedTuple):
    bundle: str
    owner: str
    rows: tuple[Row, ...]
    questions: tuple[Question, ...]
    graph: Lineage


def audit(documents: Documents, now_ms: int | None = None) -> Audit:
    """The audit of a bundle that lint accepts; `now_ms` (Unix ms) tells which approvals have ended."""
    graph = lineage(documents)
    maker = _Rows(documents, graph, now_ms)
    rows = tuple(maker.all())
    return Audit(documents.bundle.name, documents.bundle.owner, rows, tuple(_questions(documents, graph, rows)), graph)


class _Rows:
    """Makes the rows, in the order in which data flow."""

    def __init__(self, documents: Documents, graph: Lineage, now_ms: int | None) -> None:
        self._documents, self._graph = documents, graph
        self._owner = documents.bundle.owner
        self._unreadable = unreadable(documents)
        self._ended = {
            each.id
            for each in documents.data.approvals
            if now_ms is not None and each.until is not None and instant_ms(each.until) <= now_ms
        }

    def all(self) -> Iterator[Row]:
        yield from self._sources()
        yield from self._identities()
        yield from self._consents()
        owned = {each.id for each in self._documents.attributes.attributes if each.owner}
        owned |= {each.id for each in self._documents.features.features if each.owner}
        for fact in catalogue.facts(self._documents):
            yield self._fact(fact, fact.name in owned)
        for name in catalogue.context(self._documents):
            remark = "decides which law and which hours hold" if name in ALWAYS_READ else "unused"
            node = Node(Kind.CONTEXT, name)
            remarks = () if self._graph.readers(node) else (remark,)
            yield self._row(node, kept=self._decisions(), remarks=remarks)

    def _sources(self) -> Iterator[Row]:
        retention = self._documents.data.retention
        for node in self._graph.nodes:
            if node.kind is Kind.SOURCE and node != CALLER:
                imported = (each for each in catalogue.facts(self._documents) if each.kind == "attribute")
                kinds = {fact.sensitivity for fact in imported if fact.owner == node.name}
                yield self._row(node, owner=node.name, sensitivity=strictest(kinds), kept=retention.profile)
        yield self._row(CALLER, kept=self._decisions())
        for event in self._documents.events.events:
            yield self._row(
                Node(Kind.EVENT, event.id),
                owner=event.owner,
                owned=event.owner is not None,
                sensitivity=event.sensitivity,
                purposes=tuple(event.purposes),
                kept=retention.events or "as long as there is room",
            )

    def _identities(self) -> Iterator[Row]:
        """All that a customer may be known by; each is kept as a keyed hash alone."""
        retention, data = self._documents.data.retention, self._documents.data.data
        for name in IDENTITIES:
            row = data.get(name)
            dropped = row is not None and "drop" in (row.collect, row.store)
            kept = "not kept" if dropped else (row.delete if row and row.delete else retention.profile)
            handling = self._handling(name) or "keep a keyed hash"
            yield Row("identity", name, self._owner, True, "personal", (), kept, None, handling, (), {}, ())

    def _consents(self) -> Iterator[Row]:
        """Purpose × region row: what suffices where, and who asks for it."""
        for purpose in catalogue.purposes(self._documents):
            readers = self._readers(Node(Kind.CONSENT, purpose))
            for code, region in catalogue.regions(self._documents).items():
                mode = region.personalisation if purpose == catalogue.PERSONALISATION else region.contact
                says: list[str] = [mode]
                says += [f"bases {', '.join(sorted(region.bases))}"] if region.bases is not None else []
                says += ["GPC denies it"] if purpose in region.gpc_denies else []
                kept = self._documents.data.retention.profile
                name = f"{purpose} in {code}"
                handling = "; ".join(says)
                unread = () if readers else ("unused",)
                yield Row(
                    "consent",
                    name,
                    self._owner,
                    True,
                    "personal",
                    (purpose,),
                    kept,
                    None,
                    handling,
                    (),
                    readers,
                    unread,
                )

    def _fact(self, fact: Fact, owned: bool) -> Row:
        retention, handling = self._documents.data.retention, self._documents.data.data.get(fact.name)
        kept = (retention.features or retention.profile) if fact.kind == "feature" else retention.profile
        if handling and "drop" in (handling.collect, handling.store):
            kept = "not kept"
        elif handling and handling.delete:
            kept = handling.delete
        return self._row(
            Node(Kind(fact.kind), fact.name),
            owner=fact.owner,
            owned=owned,
            sensitivity=fact.sensitivity,
            purposes=tuple(sorted(fact.purposes)),
            kept=kept,
            approval=fact.approval,
            remarks=tuple(self._remarks(fact, owned)),
        )

    def _remarks(self, fact: Fact, owned: bool) -> Iterator[str]:
        if Kind.PLACEMENT.value not in self._readers(Node(Kind(fact.kind), fact.name)):
            yield "unused"
        elif fact.max_age_s is None:
            yield "no freshness contract"
        if not owned and fact.sensitivity != "none":
            yield "owner: defaulted"
        if fact.approval in self._ended:
            yield "approval ended"
        if fact.name in self._unreadable:
            yield self._unreadable[fact.name]

    def _row(
        self,
        node: Node,
        *,
        kept: str,
        owner: str | None = None,
        owned: bool = True,
        sensitivity: str = "none",
        purposes: tuple[str, ...] = (),
        approval: str | None = None,
        remarks: tuple[str, ...] = (),
    ) -> Row:
        readers = self._readers(node)
        if node.kind is Kind.EVENT and Kind.PLACEMENT.value not in readers:
            remarks = (*remarks, "unused")
        if not owned and node.kind is Kind.EVENT and sensitivity != "none":
            remarks = (*remarks, "owner: defaulted")
        sources = tuple(each.name for each in self._graph.made_from(node))
        return Row(
            node.kind, node.name, owner or self._owner, owned, sensitivity, purposes, kept, approval,
            self._handling(node.name), sources, readers, remarks,
        )  # fmt: skip

    def _readers(self, node: Node) -> dict[str, tuple[str, ...]]:
        found = self._graph.readers(node)
        by_kind = {kind: tuple(each.name for each in found if each.kind is kind) for kind in READERS}
        return {kind.value: names for kind, names in by_kind.items() if names}

    def _handling(self, name: str) -> str:
        row = self._documents.data.data.get(name)
        return (
            ""
            if row is None
            else ", ".join(f"{key} {value}" for key, value in row.model_dump(exclude_none=True).items())
        )

    def _decisions(self) -> str:
        """What a caller sends lives on in the record of the decision alone."""
        return self._documents.data.retention.decisions or BY_SIZE


def _questions(documents: Documents, graph: Lineage, rows: tuple[Row, ...]) -> Iterator[Question]:
    """Only those to which there is something to say."""
    remarked = {
        remark: tuple(f"{row.kind} {row.name}" for row in rows if remark in row.remarks and row.kind != "consent")
        for remark in ("unused", "owner: defaulted", "no freshness contract", "approval ended")
    }
    served = {each.name for each in graph.nodes if each.kind is Kind.CONSENT and graph.readers(each)}
    unused = list(remarked["unused"])
    unused += [f"purpose {name}" for name in catalogue.purposes(documents) if name not in served]
    unused += [f"{each.kind} {each.name}" for each in graph.nodes if _is_unused_part(graph, each)]
    used = {reference for _, _, reference in approvals(documents)}
    unused += [f"approval {each.id}" for each in documents.data.approvals if each.id not in used]
    if unused:
        yield Question("unused", tuple(unused), "nothing that a placement needs reads it: it could be left out")
    disclosing = [each for each in documents.messages.messages if declared_sensitive(each) and not each.owner]
    ownerless = (*remarked["owner: defaulted"], *(f"message {each.id}" for each in disclosing))
    if ownerless:
        why = (
            f"personal or sensitive, without an owner of its own: the bundle's owner `{documents.bundle.owner}` answers"
        )
        yield Question("owner", ownerless, why)
    if remarked["no freshness contract"]:
        why = "read by rules or models, however old: `max_age` (or `max_lag`) would say when it is too old"
        yield Question("contract", remarked["no freshness contract"], why)
    if remarked["approval ended"]:
        yield Question("approval", remarked["approval ended"], "what allowed its use has ended")
    if documents.data.retention.decisions is None:
        why = "records hold the facts that were read; `retention.decisions` would say for how long"
        yield Question("retention", ("decisions",), why)


def _is_unused_part(graph: Lineage, node: Node) -> bool:
    return node.kind in (Kind.SEGMENT, Kind.MODEL) and not any(
        each.kind is Kind.PLACEMENT for each in graph.readers(node)
    )
