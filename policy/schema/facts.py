"""What may be known of a customer or of a moment: attributes, context, features, and the events behind features."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import BeforeValidator, Field, model_validator

from policy.durations import seconds
from policy.schema.folds import Affinity, Decayed, Funnel, Hours, Nothing, Rate, Sessions
from policy.schema.types import (
    Authored,
    ById,
    Duration,
    Id,
    OneOrMany,
    PropertyName,
    Purpose,
    Range,
    Sensitivity,
    check_range,
    refuse,
)

#: A stored string value may take this many bytes: one longer and Redis leaves its compact encoding of the whole
#: customer, which then takes several times the memory.
STRING_BYTES_MAX = 64


def check_kind(kind: str, bounds: list[float] | None, values: list[str] | None, max_length: int | None) -> None:
    """`range` belongs to numbers, `values` to an enum, `max_length` to a string. Raises a mistake otherwise."""
    check_range(bounds)
    if bounds is not None and kind not in ("int", "float"):
        raise refuse("misplaced_field", f"a {kind} has no `range`", "remove `range`, or make the type int or float")
    if values is not None and kind != "enum":
        raise refuse("misplaced_field", f"a {kind} has no `values`", "remove `values`, or make the type enum")
    if values is None and kind == "enum":
        raise refuse("missing_field", "an enum needs `values`", "add `values: [first, second]`")
    if max_length is not None and kind != "string":
        raise refuse("misplaced_field", f"a {kind} has no `max_length`", "remove `max_length`, or make the type string")


def fits(value: Any, kind: str, bounds: list[float] | None, values: list[str] | None) -> bool:
    """Whether a value is of a declared type and inside its range or list."""
    if kind in ("string", "enum"):
        return isinstance(value, str) and (values is None or value in values)
    if kind == "bool":
        return isinstance(value, bool)
    number = isinstance(value, int) if kind == "int" else isinstance(value, int | float)
    return number and not isinstance(value, bool) and (bounds is None or bounds[0] <= value <= bounds[1])


class Attribute(Authored):
    """Something that an import may set on a customer, read in rules and models as `customer.<name>`."""

    id: Id = Field(description="how rules and models name it, after `customer.`")
    type: Literal["int", "float", "bool", "string", "enum"] = Field(description="what its values are")
    range: Range | None = Field(None, description="smallest and largest number accepted, both included")
    values: list[str] | None = Field(None, min_length=1, description="the values of an enum")
    max_length: int | None = Field(None, ge=1, le=STRING_BYTES_MAX, description="longest string, in bytes (at most 64)")
    owner: str | None = Field(None, description="team that answers for it; default: the bundle's owner")
    version: int = Field(1, ge=1, description="moves when its meaning changes")
    sensitivity: Sensitivity = Field("personal", description="none, personal, or sensitive:<kind>")
    purposes: list[Purpose] = Field(["personalisation"], min_length=1, description="what it may be used for")
    approval: str | None = Field(None, description="who allowed a sensitive attribute: a reference to the decision")
    max_age: Duration | None = Field(None, description="older values count as stale")
    default: Any = Field(None, description="value used where the customer has none; null: none is used")
    doc: str = Field("", description="what it means, for readers")

    @model_validator(mode="after")
    def _coherent(self) -> Attribute:
        check_kind(self.type, self.range, self.values, self.max_length)
        check_sensitive(self.sensitivity, self.approval)
        if self.default is not None and not fits(self.default, self.type, self.range, self.values):
            raise refuse(
                "bad_default", "the default does not fit the type", f"write a default that is a valid {self.type}"
            )
        if self.values and max(len(value.encode()) for value in self.values) > STRING_BYTES_MAX:
            raise refuse("out_of_range", "an enum value is longer than 64 bytes", "shorten it")
        return self


def check_sensitive(sensitivity: str, approval: str | None) -> None:
    if sensitivity.startswith("sensitive:") and not approval:
        remedy = "add `approval:` with the reference of who allowed its use"
        raise refuse("missing_approval", f"`{sensitivity}` facts need an approval", remedy)


class ContextAttribute(Authored):
    """Something that a caller may send with a request, read in rules as `context.<name>`."""

    id: Id = Field(description="how rules name it, after `context.`")
    type: Literal["int", "float", "bool", "string", "enum", "region", "timezone", "language"] = Field(
        description="what its values are; region is ISO 3166-1 (`US`, `US-CA`), timezone IANA, language BCP 47"
    )
    range: Range | None = Field(None, description="smallest and largest number accepted, both included")
    values: list[str] | None = Field(None, min_length=1, description="the values of an enum")
    max_length: int | None = Field(None, ge=1, le=1024, description="longest string, in bytes")
    doc: str = Field("", description="what it means, for readers")

    @model_validator(mode="after")
    def _coherent(self) -> ContextAttribute:
        check_kind(self.type, self.range, self.values, self.max_length)
        if self.id in ("region", "timezone", "language") and self.type != self.id:
            raise refuse("wrong_type", f"`context.{self.id}` is always of type {self.id}", f"write `type: {self.id}`")
        return self


def _count(value: Any) -> Any:
    return {} if value == 1 and not isinstance(value, bool) else value


class Feature(Authored):
    """A fact folded from events, read in rules and models as `customer.<name>`. Exactly one fold is named."""

    id: Id = Field(description="how rules and models name it, after `customer.`")
    owner: str | None = Field(None, description="team that answers for it; default: the bundle's owner")
    version: int = Field(1, ge=1, description="moves when its meaning changes")
    layer: Id | None = Field(None, description="behaviour, commercial, …: where it belongs in the catalogue")
    on: OneOrMany | None = Field(None, description="event or events that it is folded from")
    count: Annotated[Nothing | None, BeforeValidator(_count, json_schema_input_type=Nothing | Literal[1] | None)] = (
        Field(None, description="fold: how many events (`{}` or `1`)")
    )
    sum: PropertyName | None = Field(None, description="fold: the sum of this event property")
    affinity: Affinity | None = Field(None, description="fold: the keys a customer returns to most")
    recency: Literal["minutes", "hours", "days"] | None = Field(None, description="fold: time since the last event")
    funnel: Funnel | None = Field(None, description="fold: whether one event happened and another did not follow")
    mean: PropertyName | None = Field(None, description="fold: the mean of this event property")
    min: PropertyName | None = Field(None, description="fold: the smallest value of this event property")
    max: PropertyName | None = Field(None, description="fold: the largest value of this event property")
    distinct: PropertyName | None = Field(None, description="fold: how many different values, approximately")
    last: PropertyName | None = Field(None, description="fold: the value of the newest event that has the property")
    decayed: Decayed | None = Field(None, description="fold: a count or sum that fades with time")
    rate: Rate | None = Field(None, description="fold: how many of one event for each of another")
    sessions: Sessions | None = Field(None, description="fold: how many visits; needs a window of at most 90 days")
    hours: Hours | None = Field(None, description="fold: the customer's best hours of the day, in UTC")
    decimals: int | None = Field(
        None, ge=0, le=6, description="decimal places that are kept of a number; default: 4, and 0 for an int property"
    )
    window: Duration | None = Field(None, description="only events of this long ago count; at least a minute")
    max_lag: Duration | None = Field(None, description="older values count as stale")
    on_stale: Literal["use", "impute", "drop_messages", "rules"] = Field(
        "rules", description="what to do with stale ones"
    )
    sensitivity: Sensitivity | None = Field(None, description="none, personal (default), or sensitive:<kind>")
    pii: Sensitivity | None = Field(None, description="another spelling of `sensitivity`")
    purposes: list[Purpose] = Field(["personalisation"], min_length=1, description="what it may be used for")
    approval: str | None = Field(None, description="who allowed a sensitive feature: a reference to the decision")
    default: float | int | bool | str | None = Field(None, description="value used where the customer has none")
    doc: str = Field("", description="what it means, for readers")

    @property
    def fold(self) -> FoldName:
        """Name of the fold."""
        return next(name for name in FOLDS if getattr(self, name) is not None)

    @property
    def events(self) -> tuple[str, ...]:
        """Every event that it is folded from, as named: those of `on`, of a funnel and of a rate."""
        funnel = (self.funnel.after, self.funnel.without) if self.funnel else ()
        rate = (*self.rate.of, *self.rate.per) if self.rate else ()
        return tuple(dict.fromkeys((*(self.on or ()), *funnel, *rate)))

    @property
    def property_name(self) -> str | None:
        """The event property that it is folded from; None where events alone count."""
        if self.affinity or self.decayed:
            return self.affinity.key if self.affinity else self.decayed.sum if self.decayed else None
        return self.sum or self.mean or self.min or self.max or self.distinct or self.last

    @property
    def class_of_sensitivity(self) -> str:
        return self.sensitivity or self.pii or "personal"

    @model_validator(mode="after")
    def _coherent(self) -> Feature:
        folds = [name for name in FOLDS if getattr(self, name) is not None]
        if len(folds) != 1:
            remedy = f"name exactly one of {', '.join(FOLDS)}"
            raise refuse("bad_fold", f"a feature has one fold, this has {len(folds)}", remedy)
        if self.on is None and self.funnel is None and self.rate is None:
            raise refuse("missing_field", "a feature needs the event it is folded from", "add `on:`")
        if self.on is not None and self.rate is not None:
            raise refuse("misplaced_field", "a rate names its events in `of` and `per`", "remove `on`")
        self._check_window()
        numeric = folds[0] in NUMERIC_FOLDS or (self.decayed is not None and self.decayed.sum is not None)
        if self.decimals is not None and not numeric:
            raise refuse("misplaced_field", f"`{folds[0]}` keeps no number of a property", "remove `decimals`")
        if self.sensitivity and self.pii:
            raise refuse("misplaced_field", "`pii` and `sensitivity` say the same", "remove `pii`")
        check_sensitive(self.class_of_sensitivity, self.approval)
        return self

    def _check_window(self) -> None:
        """Buckets are whole minutes; and visits are kept one by one, so that their window has an end."""
        length_s = seconds(self.window) if self.window else None
        if length_s is not None and length_s < 60:
            raise refuse("out_of_range", f"a window of `{self.window}` is shorter than a minute", "write `window: 1m`")
        if self.sessions is not None and (length_s is None or length_s > SESSIONS_WINDOW_S_MAX):
            raise refuse("missing_field", "`sessions` need a window of at most 90 days", "add `window: 30d`")


FoldName: TypeAlias = Literal[
    "count",
    "sum",
    "affinity",
    "recency",
    "funnel",
    "mean",
    "min",
    "max",
    "distinct",
    "last",
    "decayed",
    "rate",
    "sessions",
    "hours",
]
FOLDS: tuple[FoldName, ...] = get_args(FoldName)
#: Folds that compute with the numbers of a property.
NUMERIC_FOLDS = frozenset({"sum", "mean", "min", "max"})
SESSIONS_WINDOW_S_MAX = 90 * 86_400


class Property(Authored):
    """A property that an event may carry."""

    id: PropertyName = Field(description="its name in the event")
    type: Literal["int", "float", "bool", "string", "enum"] = Field(description="what its values are")
    range: Range | None = Field(None, description="smallest and largest number accepted, both included")
    values: list[str] | None = Field(None, min_length=1, description="the values of an enum")
    max_length: int | None = Field(None, ge=1, le=4096, description="longest string, in bytes")
    required: bool = Field(False, description="an event without it is refused")
    sensitivity: Sensitivity | None = Field(
        None, description="none, personal, or sensitive:<kind>; default: the event's"
    )

    @model_validator(mode="after")
    def _coherent(self) -> Property:
        check_kind(self.type, self.range, self.values, self.max_length)
        return self


class EarlierEvent(Authored):
    """A version of an event that some senders still send; what is not said here is as in the version in force."""

    version: int = Field(ge=1, description="its number, below that of the version in force")
    undeclared: Literal["drop", "refuse"] = Field("drop", description="what to do with undeclared properties")
    properties: Annotated[list[Property], ById()] = Field([], description="what it may carry")


class Event(Authored):
    """An event that sites and systems may send."""

    id: Id = Field(description="its name")
    version: int = Field(1, ge=1, description="moves when its meaning changes")
    owner: str | None = Field(None, description="team that answers for it; default: the bundle's owner")
    aliases: list[str] = Field([], description="other names under which it arrives")
    sensitivity: Sensitivity = Field("personal", description="none, personal, or sensitive:<kind>")
    purposes: list[Purpose] = Field(["personalisation"], min_length=1, description="what it may be used for")
    undeclared: Literal["drop", "refuse"] = Field("drop", description="what to do with undeclared properties")
    allowed_lateness: Duration = Field("72h", description="events older than this on arrival are refused")
    once_per: PropertyName | None = Field(None, description="property that identifies repeats of the same event")
    properties: Annotated[list[Property], ById()] = Field([], description="what it may carry")
    earlier: list[EarlierEvent] = Field([], description="versions that senders may still name, side by side with this")

    @model_validator(mode="after")
    def _coherent(self) -> Event:
        versions = [each.version for each in self.earlier]
        if len(set(versions)) < len(versions) or any(each >= self.version for each in versions):
            remedy = f"give each of `earlier` a number of its own, below {self.version}"
            raise refuse("bad_version", "earlier versions have lower numbers, each its own", remedy)
        return self


class AttributesFile(Authored):
    """attributes.yaml: what an import may set on a customer."""

    attributes: Annotated[list[Attribute], ById()] = Field([], description="attributes by name")


class ContextFile(Authored):
    """context.yaml: what a caller may send with a request. Region, timezone and language are always there."""

    context: Annotated[
        list[ContextAttribute],
        ById(),
    ] = Field([], description="context attributes by name")


class FeaturesFile(Authored):
    """features.yaml: facts folded from events."""

    features: Annotated[list[Feature], ById()] = Field([], description="features by name")


class EventsFile(Authored):
    """events.yaml: the events that sites and systems may send."""

    events: Annotated[list[Event], ById()] = Field([], description="events by name")
