"""What happened after: conversions, soft bounces, and the deliverability watch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from policy.durations import seconds
from policy.schema.types import Authored, ById, Duration, Id, PropertyName, refuse

HOUR_S = 3_600
WINDOW_S_MAX = 90 * 86_400
#: Counters of the watch are kept for eight days: an hour at either end is only partly inside the window.
WATCH_WINDOW_S_MAX = 7 * 86_400


def _window(text: str) -> str:
    """Shorter than an hour, a provider that tells in batches would be too late; longer than 90 days, nobody remembers
    the message."""
    if not HOUR_S <= seconds(text) <= WINDOW_S_MAX:
        raise refuse("out_of_range", f"`{text}` is not between an hour and 90 days", "write one such as `7d`")
    return text


def _watch_window(text: str) -> str:
    if not HOUR_S <= seconds(text) <= WATCH_WINDOW_S_MAX:
        raise refuse("out_of_range", f"`{text}` is not between an hour and seven days", "write one such as `24h`")
    return text


OutcomeWindow = Annotated[Duration, AfterValidator(_window)]
WatchWindow = Annotated[Duration, AfterValidator(_watch_window)]
Share = Annotated[float, Field(gt=0, lt=1)]
Domain = Annotated[str, Field(pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)+$")]


class Conversion(Authored):
    """An event that says that a message did what it was for: a purchase, a booking, a sign-up."""

    id: Id = Field(description="its name")
    on: Id = Field(description="event that is the conversion")
    value: PropertyName | None = Field(None, description="property with its worth, in the bundle's currency")
    attribute: list[Literal["decision_id", "last_click", "last_open"]] = Field(
        ["decision_id", "last_click"],
        description="ways to the decision that gets it, tried in this order; `[]`: it counts for none",
    )
    window: OutcomeWindow = Field("7d", description="how long after the click or open, `1h` to `90d`")
    refund: Id | None = Field(None, description="event that takes it back; needs `order`")
    refund_value: PropertyName | None = Field(
        None, description="property of the refund that says what is given back; default: all that the order was worth"
    )
    order: PropertyName | None = Field(None, description="property that names the order, in both events")

    @model_validator(mode="after")
    def _coherent(self) -> Conversion:
        if self.refund and not self.order:
            remedy = "add `order:` with the property that both events carry, such as `order_id`"
            raise refuse("missing_field", "a refund is found by its order, and `order` is missing", remedy)
        if self.refund and not self.value:
            remedy = "add `value:` with the property that says what the order was worth"
            raise refuse("missing_field", "a refund takes back a value, and `value` is missing", remedy)
        if self.refund_value and not self.refund:
            raise refuse("misplaced_field", "no `refund` gives anything back", "add `refund:`, or remove it")
        if self.refund == self.on:
            raise refuse("bad_refund", f"`{self.on}` cannot take back itself", "name the event that takes it back")
        if len(set(self.attribute)) < len(self.attribute):
            raise refuse("duplicate_id", "one way stands twice in `attribute`", "remove one of the two")
        return self


class SoftBounces(Authored):
    """Temporary failures that add up to a channel that does not work."""

    suppress_at: int = Field(3, ge=1, le=100, description="so many suppress the channel")
    within: OutcomeWindow = Field("30d", description="within this time of each other, `1h` to `90d`")


class Rate(Authored):
    """Limits of one rate, as shares: `0.001` is 0.1 %."""

    alert: Share | None = Field(None, description="above it an alert is raised")
    brake: Share | None = Field(None, description="above it the message is switched off")

    @model_validator(mode="after")
    def _coherent(self) -> Rate:
        if self.alert is not None and self.brake is not None and self.brake < self.alert:
            raise refuse("bad_range", "`brake` is below `alert`", "write `brake` no lower than `alert`")
        return self


class Watch(Authored):
    """The deliverability watch. Limits of complaints are those of Gmail and Yahoo for senders of bulk mail
    (https://support.google.com/a/answer/81126, https://senders.yahooinc.com/best-practices/)."""

    enabled: bool = Field(True, description="whether rates are watched at all")
    window: WatchWindow = Field("24h", description="time over which mails are counted, `1h` to `7d`")
    at_least: int = Field(200, ge=1, description="mails before a rate means anything")
    complained: Rate = Field(Rate(alert=0.001, brake=0.003), description="complaints, of what was delivered")
    bounced: Rate = Field(Rate(alert=0.02, brake=0.05), description="hard bounces, of what was sent")
    unsubscribed: Rate = Field(Rate(alert=0.005), description="unsubscribes, of what was delivered")
    domains: dict[Id, list[Domain]] = Field(
        {}, description="class → domains of recipients, beside the large mailbox providers, which are known"
    )


class OutcomesFile(Authored):
    """outcomes.yaml: which events are conversions, and what outcomes lead to."""

    conversions: Annotated[list[Conversion], ById()] = Field([], description="conversions by name")
    soft_bounces: SoftBounces = Field(SoftBounces(), description="when temporary failures suppress a channel")
    match_within: OutcomeWindow = Field(
        "72h", description="an outcome that names no decision is that of the customer's only contact in this time"
    )
    watch: Watch = Field(Watch(), description="rates that alert, and stop a message")
