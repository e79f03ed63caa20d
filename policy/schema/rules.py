"""What is permitted: limits, consent, experiments, the glossary, and how long data is kept."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from policy.schema.types import (
    Authored,
    ById,
    Condition,
    Duration,
    Id,
    Instant,
    LocalDate,
    Purpose,
    RegionCode,
    SensitiveKind,
    TimeOfDay,
    WindowZone,
    Zone,
    refuse,
)

ContactMode = Literal["opt_in", "soft_opt_in", "opt_out"]
Class = Literal["marketing", "transactional"]


DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
#: Outcomes after which a pause may begin; `ignored` is a series of contacts without an open, a click or a conversion.
CooldownOutcome = Literal[
    "sent", "delivered", "bounced_soft", "opened", "clicked", "converted", "complained", "unsubscribed", "ignored"
]
ArmName = Literal["treatment", "holdout", "baseline"]


class Window(Authored):
    """The time over which contacts are counted: rolling, or a calendar day, week (from Monday) or month."""

    rolling: Duration | None = Field(None, description="the time before each instant, such as `7d`")
    calendar: Literal["day", "week", "month"] | None = Field(None, description="the day, week or month of an instant")
    zone: WindowZone | None = Field(
        None, alias="in", description="of a calendar window: `customer` (default: their own zone) or an IANA zone"
    )

    @model_validator(mode="after")
    def _coherent(self) -> Window:
        if (self.rolling is None) == (self.calendar is None):
            remedy = "write `{rolling: 7d}` or `{calendar: day, in: customer}`"
            raise refuse("bad_window", "a window is either rolling or calendar", remedy)
        if self.rolling and self.zone:
            raise refuse("bad_window", "a rolling window has no zone", "remove `in`, or write `calendar: day`")
        return self


class Match(Authored):
    """Which contacts count: those that fit every entry."""

    channel: Id | None = Field(None, description="channel of the placement")
    category: Id | None = Field(None, description="category of the message")
    message: Id | None = Field(None, description="the message itself")
    campaign: Id | None = Field(None, description="campaign of the message")
    placement: Id | None = Field(None, description="the placement itself")


class Budget(Authored):
    """At most so many sends of a message to all customers together."""

    message: Id = Field(description="message whose sends are counted")
    at_most: int = Field(ge=0, description="sends in one window")
    window: Window = Field(description="when the count starts again: a calendar window in one zone")

    @model_validator(mode="after")
    def _one_zone(self) -> Budget:
        if self.window.calendar is None or self.window.zone in (None, "customer", "customer_timezone"):
            remedy = "write a calendar window in one zone, such as `{calendar: day, in: UTC}`"
            raise refuse("bad_window", "a budget over all customers starts again for all at once", remedy)
        return self


class Limit(Authored):
    """At most so many contacts of one customer in a window; or, with `budget`, of all customers together."""

    id: Id = Field(description="its name, shown in explanations")
    classes: list[Class] = Field(["marketing"], min_length=1, description="classes that count and are limited")
    match: Match = Field(Match(), description="which contacts count and are limited; `{}`: all")
    at_most: int | None = Field(None, ge=0, description="contacts in one window")
    window: Window | None = Field(None, description="time over which contacts are counted")
    budget: Budget | None = Field(None, description="limit over all customers instead of one")

    @model_validator(mode="after")
    def _coherent(self) -> Limit:
        per_customer = [self.at_most is not None, self.window is not None]
        if self.budget is None and not all(per_customer):
            raise refuse(
                "missing_field", "a limit needs `at_most` and `window`", "add `at_most: 3, window: {rolling: 7d}`"
            )
        if self.budget is not None and any(per_customer):
            raise refuse("misplaced_field", "a budget has its own `at_most` and `window`", "move them into `budget`")
        return self


class Cooldown(Authored):
    """A pause after an outcome."""

    id: Id = Field(description="its name, shown in explanations")
    after: CooldownOutcome = Field(description="outcome that starts the pause, such as `converted` or `ignored`")
    times: int = Field(1, ge=1, le=100, description="with `ignored`: after this many contacts in a row")
    classes: list[Class] = Field(["marketing"], min_length=1, description="classes that pause")
    match: Match = Field(Match(), description="after an outcome of which contacts which messages pause; `{}`: all")
    duration: Duration = Field(alias="for", description="length of the pause")

    @model_validator(mode="after")
    def _coherent(self) -> Cooldown:
        if self.times > 1 and self.after != "ignored":
            raise refuse("misplaced_field", "only `after: ignored` counts a series", "remove `times`")
        return self


class MutualExclusion(Authored):
    """Messages that exclude each other for a while."""

    id: Id = Field(description="its name, shown in explanations")
    messages: list[Id] = Field(min_length=2, description="at most one of these")
    within: Duration = Field(description="for this long")


class Fatigue(Authored):
    """A score that contacts raise and engagement lowers."""

    half_life: Duration = Field(description="after this long a contact counts half")
    contact: float = Field(1.0, ge=0, description="added by each contact")
    engagement: float = Field(-1.0, description="added by each contact that was opened or clicked")
    limit: float = Field(gt=0, description="no marketing at or above this score")


class LimitsFile(Authored):
    """limits.yaml: how often customers may be contacted."""

    limits: list[Limit] = Field([], description="limits")
    cooldowns: list[Cooldown] = Field([], description="pauses after an outcome")
    exclusions: list[MutualExclusion] = Field([], description="messages that exclude each other")
    fatigue: Fatigue | None = Field(None, description="a score that contacts raise and engagement lowers")


class Quiet(Authored):
    """Hours of the customer's day in which nothing is sent."""

    from_: TimeOfDay | None = Field(None, alias="from", description="first quiet minute, such as `21:00`")
    until: TimeOfDay | None = Field(None, description="end, not included, such as `08:00`; neither: the whole day")
    days: list[Day] = Field([], description="local days on which the quiet hours begin; default: every day")
    dates: list[LocalDate] = Field([], description="local dates on which they begin, such as `2026-12-25`")
    channels: list[Id] = Field([], description="channels that are quiet; default: every channel")
    classes: list[Class] = Field(["marketing"], min_length=1, description="classes that are quiet")

    @model_validator(mode="after")
    def _coherent(self) -> Quiet:
        if (self.from_ is None) != (self.until is None):
            raise refuse("bad_hours", "quiet hours have a beginning and an end", "write both `from` and `until`")
        if self.from_ is None and not (self.days or self.dates):
            raise refuse("bad_hours", "nothing could ever be sent", "write `from` and `until`, or `days` or `dates`")
        if self.from_ is not None and self.from_ == self.until:
            raise refuse("bad_hours", "quiet hours end where they begin", "leave out both for a whole day")
        return self


def _one_or_more(value: object) -> object:
    """`null` stands in bundles of earlier releases."""
    if value is None:
        return []
    return [value] if isinstance(value, dict) else value


class Unknown(Authored):
    """What a contact consent that nobody gave or refused means for each class. Marketing is never sent on silence
    alone: a region's `opt_out` is the only other ground."""

    marketing: Literal["suppress"] = Field("suppress", description="always suppress")
    transactional: Literal["generic", "suppress"] = Field(
        "generic", description="generic: send what needs nothing personal; suppress: send nothing"
    )


class Region(Authored):
    """What suffices to contact and to personalise in a region where a customer said nothing."""

    contact: ContactMode = Field("opt_in", description="opt_in, soft_opt_in or opt_out")
    personalisation: ContactMode = Field("opt_in", description="opt_in, soft_opt_in or opt_out")
    bases: list[Id] | None = Field(
        None,
        min_length=1,
        description="legal bases on which a grant suffices here; default: by `contact`, see the docs",
    )
    quiet: Annotated[list[Quiet], BeforeValidator(_one_or_more, json_schema_input_type=Quiet | list[Quiet])] = Field(
        [], description="hours of the customer's day in which nothing is sent"
    )
    gpc_denies: list[Purpose] = Field([], description="purposes that a browser's Global Privacy Control denies")
    restricted: list[SensitiveKind] = Field([], description="sensitive facts that may not be used here")
    timezones: list[Zone] = Field([], description="the region's zones, for customers whose zone is unknown")


LanguageCode = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]
Label = Annotated[str, Field(min_length=1, max_length=80)]


class PreferencePage(Authored):
    """What the page behind an unsubscribe link says of its own."""

    brand: Label | None = Field(None, description="who writes to its readers, shown at the top")
    labels: dict[Purpose, dict[LanguageCode, Label]] = Field(
        {}, description="purpose → language → what it is called there; `en` stands in for languages that are not here"
    )


class ConsentFile(Authored):
    """consent.yaml: what customers can consent to, and what holds in each region where they said nothing."""

    purposes: list[Purpose] = Field(["marketing", "personalisation"], min_length=1, description="purposes of consent")
    unknown: Unknown = Field(Unknown(), description="what silence means for each class")
    regions: dict[Annotated[str, Field(pattern=r"^(default|[A-Z]{2}(-[A-Z0-9]{1,3})?)$")], Region] = Field(
        {"default": Region()}, description="rows by ISO 3166-1 code (`US`, `US-CA`); `default` holds everywhere else"
    )
    page: PreferencePage = Field(PreferencePage(), description="what the preference page says of its own")


class Arms(Authored):
    """A share of customers held out of placements, or given what the business did before."""

    id: Id = Field(description="its name")
    placements: list[Annotated[str, Field(pattern=r"^(\*|[a-z0-9_]{1,48})$")]] = Field(
        min_length=1, description="placements, or `*` for all marketing ones"
    )
    salt: str = Field(min_length=1, description="changes who falls into which arm")
    by: Literal["customer", "region"] = Field("customer", description="what is assigned to an arm")
    audience: Condition = Field("true", description="CEL rule of who takes part; the others are treated")
    arms: dict[ArmName, Annotated[float, Field(ge=0, le=1)]] = Field(description="arm → share; shares add up to 1")
    assign: dict[RegionCode, ArmName] = Field({}, description="regions whose arm is fixed, with `by: region`")

    @model_validator(mode="after")
    def _coherent(self) -> Arms:
        check_shares({str(arm): share for arm, share in self.arms.items()})
        if self.assign and self.by != "region":
            raise refuse("misplaced_field", "only `by: region` has fixed arms", "add `by: region`, or remove `assign`")
        return self


class Choice(Authored):
    """What an arm changes."""

    variant: Id = Field(description="variant that is sent, of messages that have it")


class Experiment(Authored):
    """A comparison inside one placement."""

    id: Id = Field(description="its name")
    placement: Id = Field(description="placement that it runs in")
    salt: str = Field(min_length=1, description="changes who falls into which arm")
    by: Literal["customer", "region", "decision"] = Field("customer", description="what is assigned to an arm")
    audience: Condition = Field("true", description="CEL rule of who takes part")
    arms: dict[Id, Annotated[float, Field(ge=0, le=1)]] = Field(description="arm → share; shares add up to 1")
    choices: dict[Id, Choice] = Field({}, alias="set", description="what each arm changes")

    @model_validator(mode="after")
    def _coherent(self) -> Experiment:
        check_shares(self.arms)
        return self


def check_shares(arms: dict[str, float]) -> None:
    total = math.fsum(arms.values())
    if abs(total - 1.0) > 1e-9:
        raise refuse("bad_shares", f"the arms' shares add up to {total:g}", "write shares that add up to 1")


class ExperimentsFile(Authored):
    """experiments.yaml: holdouts and experiments."""

    arms: list[Arms] = Field([], description="holdouts")
    experiments: list[Experiment] = Field([], description="experiments")


class Segment(Authored):
    """A group of customers, defined once and used in rules as `segment.<name>`."""

    id: Id = Field(description="how rules name it, after `segment.`")
    owner: str | None = Field(None, description="team that answers for it; default: the bundle's owner")
    rule: Condition = Field(description="CEL rule of who belongs to it")
    doc: str = Field("", description="what it means, for readers")


class GlossaryFile(Authored):
    """glossary.yaml: segments, defined once."""

    segments: Annotated[list[Segment], ById()] = Field([], description="segments by name")


class Retention(Authored):
    """How long data is kept."""

    profile: Duration = Field("400d", description="a customer's profile after the last write")
    features: Duration | None = Field(None, description="facts folded from events")
    ledger: Duration = Field("90d", description="contacts; at least as long as the longest limit's window")
    decisions: Duration | None = Field(None, description="decision records")
    events: Duration | None = Field(None, description="events")


class Handling(Authored):
    """What is done with one personal datum on its way."""

    collect: Literal["keep", "hash", "drop"] | None = Field(None, description="on arrival")
    store: Literal["keep", "hash", "drop"] | None = Field(None, description="in the store")
    transform: Literal["none", "hash", "truncate", "generalise"] | None = Field(None, description="before use")
    activate: Literal["never", "late", "always"] | None = Field(
        None, description="when it may leave for a sending tool"
    )
    delete: Duration | None = Field(None, description="after this long")


class Approval(Authored):
    """A decision that allowed the use of sensitive data; `approval:` elsewhere refers to it."""

    id: str = Field(min_length=1, max_length=64, description="the reference, such as `PR-12`")
    by: str = Field(min_length=1, description="who allowed it: a role, not a name")
    why: str = Field("", description="what was weighed")
    until: Instant | None = Field(None, description="until when it holds; default: until it is removed")


class DataFile(Authored):
    """data.yaml: what is done with personal data, and for how long it is kept."""

    approvals: Annotated[list[Approval], ById()] = Field(
        [], description="decisions that allowed the use of sensitive data, by reference"
    )
    retention: Retention = Field(Retention(), description="how long data is kept")
    data: dict[Id, Handling] = Field({}, description="personal data by name")
