"""A compiled bundle: immutable, indexed, ready for the hot path.

Everything here is produced by `policy.compile` from authored YAML and is never changed afterwards. Indexes
(`Message.index`, `Limit.index`, …) are positions in the bundle's own tuples; decision records store them beside the
bundle's digest, which keeps a record small and still exact. Types with `eq=False` are compared by identity: one object
a bundle, so that they are cheap keys of caches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from policy.codes import Arm
from policy.event_rules import EventRules
from policy.expressions import Expression
from policy.feature_rules import FeatureRule
from policy.outcome_rules import OutcomeRules, Reward

FactType: TypeAlias = Literal["int", "float", "bool", "string", "enum"]
Class: TypeAlias = Literal["marketing", "transactional"]
ContactMode: TypeAlias = Literal["opt_in", "soft_opt_in", "opt_out"]
By: TypeAlias = Literal["customer", "region", "decision"]
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
    approval: str | None = None  # who allowed the use of a sensitive one
    told_by: str = ""  # of a feature: `events:` and the events that it depends on
    always: bool = False  # of a feature: it has a value where nothing happened

    @property
    def source(self) -> str:
        """Whose as-of time is this fact's: of an attribute its owner's, of a feature that of its events."""
        return self.told_by or self.owner

    @property
    def path(self) -> str:
        """How rules and models name it."""
        return f"customer.{self.name}"


@dataclass(frozen=True, slots=True, eq=False)
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
    sensitivity: str = "none"  # of its content
    owner: str = ""
    approval: str | None = None

    @property
    def sensitive(self) -> frozenset[str]:
        """What whoever sees that the customer got it learns of them: `sensitive:<kind>`, …"""
        own = (self.sensitivity,) if self.sensitivity.startswith("sensitive:") else ()
        return frozenset((*own, *self.reveals))


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


@dataclass(frozen=True, slots=True, eq=False)
class Cooldown:
    """A pause of `for_s` after an outcome of contacts of `classes` that fit `match`, for candidates that fit it too.

    An outcome that followed no known contact (a purchase in a shop) fits every `match`. `ignored` is no outcome of its
    own: `times` contacts in a row, sent and over, that the customer did not open, click or answer.
    """

    index: int
    id: str
    after: str  # of `OutcomeType`, or `ignored`
    times: int
    classes: frozenset[str]
    match: Mapping[str, str]
    for_s: int
    source: str  # as shown to people: `3d after converted`


@dataclass(frozen=True, slots=True, eq=False)
class MutualExclusion:
    """A contact with one of `messages` keeps the others from being sent within `within_s` of it."""

    index: int
    id: str
    messages: frozenset[str]
    within_s: int
    source: str  # as authored: `24h`


@dataclass(frozen=True, slots=True, eq=False)
class Fatigue:
    """A score over the marketing contacts of a customer: each adds `contact`, and `engagement` (usually negative) if
    it was opened or clicked; both count half after every `half_life_s`. At `limit` marketing stops."""

    half_life_s: int
    contact: float
    engagement: float
    limit: float


@dataclass(frozen=True, slots=True, eq=False)
class Budget:
    """At most `at_most` sends of a message to all customers together in one calendar window of one zone."""

    index: int
    id: str
    message: str
    at_most: int
    window: Window


@dataclass(frozen=True, slots=True, eq=False)
class Arms:
    """Who is held out of placements, or given what the business did before; sticky by a keyed hash."""

    index: int
    id: str
    salt: str
    by: By
    audience: tuple[int, ...]  # rules that must all hold; the others are treated
    shares: tuple[tuple[Arm, float], ...]  # adding up to 1
    assign: Mapping[str, Arm]  # region → its fixed arm

    @property
    def key(self) -> str:
        """How exposures name it: with another salt it is another trial."""
        return f"{self.id}/{self.salt}"


@dataclass(frozen=True, slots=True, eq=False)
class Experiment:
    """A comparison of variants inside one placement; sticky by a keyed hash."""

    index: int
    id: str
    salt: str
    by: By
    audience: tuple[int, ...]  # rules that must all hold
    shares: tuple[tuple[str, float], ...]  # adding up to 1
    variants: Mapping[str, str]  # arm → variant that is sent, of messages that have it

    @property
    def key(self) -> str:
        """How exposures name it: with another salt it is another trial."""
        return f"{self.id}/{self.salt}"


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
class QuietHours:
    """Hours of the local day in which nothing is sent. They may run over midnight: then `until_minute` is not after
    `from_minute`, and they end on the next day. A whole day is 0 to 1440."""

    from_minute: int  # of the local day
    until_minute: int  # not included
    days: frozenset[int] = frozenset()  # weekdays on which they begin, Monday is 0; with `dates` empty too: every day
    dates: frozenset[date] = frozenset()  # local dates on which they begin
    channels: frozenset[str] = frozenset()  # empty: every channel
    classes: frozenset[str] = frozenset({"marketing"})


@dataclass(frozen=True, slots=True)
class SendHours:
    """Hours of the local day in which a placement sends, over midnight where `until_minute` is not after
    `from_minute`; and how long an answer may ask the caller to wait for them."""

    from_minute: int
    until_minute: int  # not included
    max_wait_s: int


@dataclass(frozen=True, slots=True)
class Explore:
    """How a placement tries what it would not rank first. `temperature` is softmax's; the prior is thompson's."""

    method: Literal["epsilon", "softmax", "thompson"]
    epsilon: float = 0.0
    temperature: float = 1.0
    prior_alpha: float = 1.0
    prior_beta: float = 1.0


@dataclass(frozen=True, slots=True)
class TermRules:
    """How a score is made: `propensity^a × value^b × lever × context weight × fatigue`; a term may be switched off."""

    propensity: float = 1.0  # the exponent; 0 switches it off
    value: float = 1.0  # the exponent; 0 switches it off
    lever: bool = True
    context_weight: bool = True
    fatigue: bool = True


@dataclass(frozen=True, slots=True)
class Region:
    """A row of the consent table: what suffices to contact and to personalise where nothing was said."""

    id: str
    contact: ContactMode
    personalisation: ContactMode
    restricted: frozenset[str] = frozenset()
    timezones: tuple[str, ...] = ()
    quiet: tuple[QuietHours, ...] = ()
    gpc_denies: frozenset[str] = frozenset()  # purposes that a browser's Global Privacy Control denies here
    bases: frozenset[str] | None = None  # legal bases on which a grant suffices; None: by `contact`


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A message in one placement. The numbers are indexes into the bundle's tuples of those that bind it."""

    message: Message
    limits: tuple[int, ...]
    cooldowns: tuple[int, ...] = ()
    exclusions: tuple[int, ...] = ()
    budgets: tuple[int, ...] = ()
    sensitive: frozenset[str] = frozenset()  # classes that its rules read, or that receiving it reveals


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
    reserve_ttl_s: int | None = None  # a contact that no outcome confirms for so long no longer counts
    send_hours: SendHours | None = None
    explore: Explore | None = None  # None: always the best
    terms: TermRules = TermRules()
    baseline: int | None = None  # position in `candidates`; None: by `rules_order`
    arms: tuple[Arms, ...] = ()  # holdouts that hold here, in the bundle's order
    experiments: tuple[Experiment, ...] = ()
    cooldowns: tuple[int, ...] = ()  # every one that binds some candidate
    exclusions: tuple[int, ...] = ()
    budgets: tuple[int, ...] = ()
    fatigue: Fatigue | None = None  # None: not declared, or not for this class
    sensitive: frozenset[str] = frozenset()  # classes of sensitive facts that its rules or its model read
    counts_contacts: bool = True  # whether anything here depends on the ledger
    unsubscribe: bool = False  # whether answers carry an unsubscribe link where the caller says nothing of it
    reward: Reward | None = None  # what its decisions earn; None: nothing is written

    @property
    def marketing(self) -> bool:
        return self.klass == "marketing"


@dataclass(frozen=True, slots=True)
class Handling:
    """What is done with one kind of personal datum on its way: a row of the PII matrix."""

    drop: bool = False  # never kept
    hash: bool = False  # only its keyed hash is kept
    never_shown: bool = False  # in no view and no export, whatever its sensitivity; and it leaves with no message
    delete_s: int | None = None  # after so long it is gone


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
    cooldowns: tuple[Cooldown, ...] = ()
    exclusions: tuple[MutualExclusion, ...] = ()
    budgets: tuple[Budget, ...] = ()
    fatigue: Fatigue | None = None
    arms: tuple[Arms, ...] = ()
    experiments: tuple[Experiment, ...] = ()
    unknown_transactional: Literal["generic", "suppress"] = "generic"  # what silence means for transactional mail
    decisions_retention_s: int | None = None  # None: the log is trimmed by size alone
    events_retention_s: int | None = None  # of the archive; None: for ever
    features_retention_s: int | None = None  # of what was folded from events; None: as the profile
    #: What is done with personal data on its way, by attribute or kind of identity (`email`, …): the PII matrix.
    handling: Mapping[str, Handling] = field(default_factory=lambda: MappingProxyType({}))
    not_in_force: tuple[str, ...] = ()  # authored parts that this release accepts and does not act on yet
    events: EventRules = field(default_factory=EventRules)  # what is collected
    features: tuple[FeatureRule, ...] = ()  # what is folded from it
    outcomes: OutcomeRules = field(default_factory=OutcomeRules)  # what is made of what happened after
    brand: str | None = None  # on the preference page
    purpose_labels: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: MappingProxyType({}))  # by language

    def region(self, code: str | None) -> Region | None:
        """The row for an ISO 3166 code, most specific first (`US-CA`, `US`, `default`); None where no region is
        known, because a permissive default must not apply to a person who may be anywhere."""
        if code is None:
            return None
        return self.regions.get(code) or self.regions.get(code[:2]) or self.regions["default"]
