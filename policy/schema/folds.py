"""How a feature is folded from events: the folds that need more than the name of a property."""

from __future__ import annotations

from pydantic import Field, model_validator

from policy.durations import seconds
from policy.schema.types import Authored, Duration, Id, OneOrMany, PropertyName, refuse

MINUTE_S = 60


class Nothing(Authored):
    """An empty mapping: `count: {}`."""


class Affinity(Authored):
    """The keys a customer returns to most, each visit counting half after every `half_life`."""

    key: PropertyName = Field(description="event property whose values are ranked")
    half_life: Duration = Field(description="after this long an event counts half")
    top: int = Field(1, ge=1, le=20, description="how many keys views and exports show; the value is the first")


class Decayed(Authored):
    """Events, or the sum of a property, each counting half after every `half_life`."""

    half_life: Duration = Field(description="after this long an event counts half")
    sum: PropertyName | None = Field(None, description="event property that is summed; none: events are counted")


class Rate(Authored):
    """How many of one kind of event there were for each of another."""

    of: OneOrMany = Field(description="event or events that are counted")
    per: OneOrMany = Field(description="event or events that the count is divided by")


class Sessions(Authored):
    """Visits: events that follow each other within `gap` are one."""

    gap: Duration = Field(description="longest pause inside a session, in whole minutes")

    @model_validator(mode="after")
    def _coherent(self) -> Sessions:
        if seconds(self.gap) % MINUTE_S:
            raise refuse("out_of_range", f"a gap of `{self.gap}` is no whole number of minutes", "write `gap: 30m`")
        return self


class Hours(Authored):
    """The hours of the day in which a customer is active, and the best stretch of them."""

    span: int = Field(3, ge=1, le=12, description="length of the best stretch, in hours")
    at_least: int = Field(5, ge=1, description="with fewer events there is no best stretch")


class Funnel(Authored):
    """Whether one event happened and another did not follow."""

    after: Id = Field(description="event that opens the funnel")
    without: Id = Field(description="event that closes it")
    minutes: int = Field(ge=1, description="how long to wait for the second event")
