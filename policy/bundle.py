"""A compiled bundle: immutable, indexed, ready for the hot path.

Everything here is produced by `policy.compile` from authored YAML and is never changed afterwards. Indexes
(`Message.index`, `Limit.index`, …) are positions in the bundle's own tuples; decision records store them beside the
bundle's digest, which keeps a record small and still exact. Types with `eq=False` are compared by identity: one object
a bundle, so that they are cheap keys of caches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from policy.expressions import Expression

FactType: TypeAlias = Literal["int", "float", "bool", "string", "enum"]
Class: TypeAlias = Literal["marketing", "transactional"]
ContactMode: TypeAlias = Literal["opt_in", "soft_opt_in", "opt_out"]
OnStale: TypeAlias = Literal["use", "impute", "drop_messages", "rules"]


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing known of a customer: an attribute that an import sets, or a feature folded from events.

    Rules and models read both as `customer.<name>`; names are unique across both.
    """

    index: int
    name: str
    type: FactType
    kind: Literal["attribute", "feature"]
    owner: str
    version: int
    sensitivity: str  # "none", "personal" or "sensitive:<kind>"
    purposes: frozenset[str]
    minimum: float | None = None
    maximum: float | None = None
    values: tuple[str, ...] = ()  # of an enum, in the authored order
    max_length: int | None = None  # characters of a string
    max_age_s: int | None = None  # freshness contract; None: no contract
    on_stale: OnStale = "rules"
    default: Any = None
    doc: str = ""

    @property
    def path(self) -> str:
        """How rules and models name it."""
        return f"customer.{self.name}"


@dataclass(frozen=True, slots=True)
class ContextField:
    """What a caller may send with a request, read in rules as `context.<name>`."""

    name: str
    type: Literal["int", "float", "bool", "string", "enum", "region", "timezone", "language"]
    values: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    max_length: int | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One distinct CEL condition of the bundle. A conjunction `a && b` at the top of a rule becomes two rules, so
    that each is run once a request and an explanation can name the one that failed."""

    index: int
    source: str  # as authored, for explanations
    expression: Expression  # segments replaced by their rules
    impersonal: bool  # reads only context.* and facts of sensitivity `none`: may run without personalisation consent


@dataclass(frozen=True, slots=True)
class Variant:
    id: str
    subject: str | None
    weight: float  # > 0, relative


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    index: int
    id: str
    version: int
    placements: tuple[str, ...]
    category: str | None
    campaign: str | None
    purpose: str | None  # authored; None: the placement's
    risk: Literal["low", "normal", "high"]
    rules: tuple[int, ...]  # indexes into Bundle.rules; all must be true; empty: always eligible
    value: float
    lever: float
    context_weight: float | Expression  # a number, or CEL over context.*
    features: Mapping[str, float]  # what a model reads as message.<name>
    variants: tuple[Variant, ...]  # never empty
    template: str | None
    params: Mapping[str, Any]
    valid_from_ms: int | None  # inclusive, Unix milliseconds
    valid_until_ms: int | None  # exclusive
    reveals: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """`rolling`: the `seconds` before an instant. `calendar`: the day, week (from Monday) or month that holds it, in
    `zone` (an IANA name, or `customer` for the customer's own)."""

    kind: Literal["rolling", "calendar"]
    seconds: int = 0
    unit: Literal["", "day", "week", "month"] = ""
    zone: str = "customer"
    source: str = ""  # as shown to people: `rolling 7d`, `calendar day in customer`


@dataclass(frozen=True, slots=True, eq=False)
class Limit:
    """At most `at_most` contacts in the window, counted over contacts of `classes` that fit every entry of `match`.

    `match` keys: `channel`, `category`, `message`, `campaign`, `placement`. A limit binds a candidate only when the
    candidate itself is of `classes` and fits `match`.
    """

    index: int
    id: str
    classes: frozenset[str]
    match: Mapping[str, str]
    at_most: int
    window: Window


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model as the bundle sees it; the file itself is in the registry and checked against its manifest."""

    index: int
    id: str
    version: int
    predicts: str
    inputs: tuple[str, ...]  # customer.<fact> and message.<feature>, in the model's order
    purposes: frozenset[str]
    on_missing: Literal["nan", "default", "rules"]


@dataclass(frozen=True, slots=True)
class Region:
    """A row of the consent table: what suffices to contact and to personalise where nothing was said."""

    id: str
    contact: ContactMode
    personalisation: ContactMode
    restricted: frozenset[str] = frozenset()
    timezones: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A message in one placement."""

    message: Message
    limits: tuple[int, ...]  # indexes into Bundle.limits of those that bind it


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    index: int
    id: str
    channel: str
    klass: Class
    purpose: str  # contact consent that it needs
    budget_ms: int
    model: ModelRef | None
    min_confidence: float
    candidates: tuple[Candidate, ...]  # in the bundle's order, which also breaks ties
    default: int  # position in `candidates`
    rules_order: tuple[int, ...]  # positions in `candidates`, best approved first
    category_messages: Mapping[str, int]  # category → position in `candidates`
    rules: tuple[int, ...]  # every rule that some candidate holds
    customer_names: tuple[str, ...]  # facts its rules and weights read
    context_names: tuple[str, ...]
    contracts: tuple[Fact, ...]  # facts with a freshness contract that its rules or model read
    limits: tuple[int, ...]  # every limit that binds some candidate
    confirm: Literal["optional", "required"] = "optional"
    reserve_ttl_s: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """What a node serves. `digest` is `sha256:<hex>` of the canonical form of the authored files."""

    name: str
    owner: str
    currency: str
    digest: str
    facts: tuple[Fact, ...]
    context: Mapping[str, ContextField]
    rules: tuple[Rule, ...]
    messages: tuple[Message, ...]
    placements: Mapping[str, Placement]
    models: tuple[ModelRef, ...]
    limits: tuple[Limit, ...]
    purposes: tuple[str, ...]
    regions: Mapping[str, Region]  # always holds `default`
    ledger_retention_s: int
    profile_retention_s: int
    fact_by_name: Mapping[str, Fact]
    canonical: bytes  # the canonical form itself; stored beside records so that they stay readable
    not_in_force: tuple[str, ...] = ()  # authored parts that this release accepts and does not act on yet

    def region(self, code: str | None) -> Region | None:
        """The row for an ISO 3166 code, most specific first (`US-CA`, `US`, `default`); None where no region is
        known, because a permissive default must not apply to a person who may be anywhere."""
        if code is None:
            return None
        return self.regions.get(code) or self.regions.get(code[:2]) or self.regions["default"]
