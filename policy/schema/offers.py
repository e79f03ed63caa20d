"""What is offered and where: placements, messages, and the models that rank them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from policy import durations
from policy.schema.types import (
    Authored,
    Condition,
    Duration,
    Id,
    Instant,
    NumberOrRule,
    Purpose,
    SensitiveKind,
    Sensitivity,
    TimeOfDay,
    instant_ms,
    refuse,
)


class Prior(Authored):
    """A Beta distribution: as if so many responses, and so many sends without one, had been seen already."""

    alpha: float = Field(1.0, gt=0, le=1e6, description="responses")
    beta: float = Field(1.0, gt=0, le=1e6, description="sends without a response")


class Explore(Authored):
    """How a placement tries messages that it would not rank first."""

    method: Literal["epsilon", "softmax", "thompson"] = Field("epsilon", description="epsilon, softmax or thompson")
    epsilon: float = Field(0.0, ge=0, le=1, description="share of decisions that choose at random")
    temperature: float | None = Field(None, gt=0, description="of softmax: higher is more even")
    prior: Prior = Field(Prior(), description="of thompson: what is believed of a variant before any outcome")

    @model_validator(mode="after")
    def _coherent(self) -> Explore:
        if (self.method == "softmax") != (self.temperature is not None):
            remedy = "write `{method: softmax, temperature: 0.05}`; other methods have no temperature"
            raise refuse("bad_explore", "softmax needs a `temperature`, and only softmax has one", remedy)
        return self


class ArbitrationTerms(Authored):
    """How a message's score is made: propensity^a × value^b × lever × context weight × fatigue."""

    propensity: float = Field(1.0, ge=0, le=4, description="exponent of the probability of a response; 0 ignores it")
    value: float = Field(1.0, ge=0, le=4, description="exponent of the value; 0 ignores it")
    lever: bool = Field(True, description="whether levers count")
    context_weight: bool = Field(True, description="whether context weights count")
    fatigue: bool = Field(True, description="whether fatigue counts, where limits.yaml declares it")


#: Hours by days of the week come round within seven days, and what was known of a customer a week ago is no reason to
#: send: beyond that the caller had better ask when there is something to say.
MAX_WAIT_S = 7 * 86_400


def _wait(text: str) -> str:
    if durations.seconds(text) > MAX_WAIT_S:
        raise refuse("out_of_range", f"`{text}` is longer than seven days", "write at most `7d`")
    return text


#: What is known of a decision is kept for 35 days (`app.store.decisions`): windows close while it is there, with days
#: to spare for workers that are away.
REWARD_WINDOW_S_MAX = 30 * 86_400


def _reward_window(text: str) -> str:
    if not 3_600 <= durations.seconds(text) <= REWARD_WINDOW_S_MAX:
        raise refuse("out_of_range", f"`{text}` is not between an hour and 30 days", "write one such as `7d`")
    return text


class SendHours(Authored):
    """The hours of the customer's day in which this placement may send."""

    from_: TimeOfDay = Field(alias="from", description="first minute, such as `08:00`")
    until: TimeOfDay = Field(description="end, not included, such as `20:00`")
    max_wait: Annotated[Duration, AfterValidator(_wait)] = Field(
        "24h", description="longest wait for the next permitted hour, at most `7d`"
    )


class Reward(Authored):
    """What a decision earns, for training and for comparing: known once its window has closed."""

    of: Literal["click", "conversion", "revenue"] = Field(
        description="click or conversion: 1 where it happened; revenue: what conversions were worth, without refunds"
    )
    window: Annotated[Duration, AfterValidator(_reward_window)] = Field(
        "7d", description="how long after the decision outcomes count, `1h` to `30d`"
    )
    unsubscribe: float = Field(0.0, ge=0, le=1e6, description="subtracted where the customer unsubscribed")
    complaint: float = Field(0.0, ge=0, le=1e6, description="subtracted where the customer called it spam")


class Placement(Authored):
    """A slot that asks for a message."""

    # `default` is looked for by a check of our own, which can say what makes a good one; editors get it from here.
    model_config = ConfigDict(json_schema_extra={"required": ["id", "channel", "default"]})

    id: Id = Field(description="how callers name it")
    channel: Id = Field(description="email, sms, push, web, …: consents and limits are kept by channel")
    klass: Literal["marketing", "transactional"] = Field(
        "marketing", alias="class", description="decides which consents and limits apply"
    )
    purpose: Purpose | None = Field(None, description="contact consent that it needs; default: its class")
    budget_ms: int = Field(40, ge=5, le=2000, description="milliseconds to answer in, when the caller names none")
    model: Id | None = Field(None, description="model of models.yaml that ranks; none: rules only")
    min_confidence: float = Field(0.0, ge=0, le=1, description="under this probability: the category's message")
    arbitration: ArbitrationTerms = Field(ArbitrationTerms(), description="how a message's score is made")
    explore: Explore = Field(Explore(), description="how messages are tried that would not rank first")
    baseline: Id | None = Field(
        None, description="message of the `baseline` arm: what was sent before; default: by `rules_order`"
    )
    default: Id | None = Field(None, description="required: the generic message, which needs no personal fact")
    rules_order: list[Id] = Field(
        [], description="order without a model, best approved first; default: as in the bundle"
    )
    category_messages: dict[Id, Id] = Field({}, description="category → its message, when confidence is low")
    confirm: Literal["optional", "required"] = Field(
        "optional", description="whether a send must be confirmed to count"
    )
    reserve_ttl: Duration | None = Field(
        None, description="with `confirm: required`: an unconfirmed send stops counting"
    )
    send_hours: SendHours | None = Field(None, description="hours of the customer's day in which to send")
    unsubscribe: bool = Field(False, description="whether answers carry an unsubscribe link")
    reward: Reward | None = Field(None, description="what a decision earns; none: no reward is written")

    @model_validator(mode="after")
    def _coherent(self) -> Placement:
        if self.default is None:
            remedy = "add `default:` with a message of this placement that needs no personal fact"
            raise refuse("placement_without_default", f"placement `{self.id}` has no default message", remedy)
        if (self.confirm == "required") != (self.reserve_ttl is not None):
            remedy = "write both `confirm: required` and `reserve_ttl: 72h`, or neither"
            raise refuse("bad_confirm", "`confirm: required` and `reserve_ttl` belong together", remedy)
        return self


class Variant(Authored):
    """One wording of a message."""

    id: Id = Field(description="its name")
    subject: str | None = Field(None, description="subject line")
    weight: float = Field(1.0, gt=0, description="its share, relative to the other variants")


class Content(Authored):
    """What the sending tool needs to render the message."""

    template: str = Field(description="the sending tool's template")
    params: dict[str, Any] = Field({}, description="handed to the template as they are")


class Validity(Authored):
    """When a message may be sent: from the first instant, until just before the second."""

    from_: Instant | None = Field(None, alias="from", description="first instant, ISO 8601 with zone")
    until: Instant | None = Field(None, description="end, not included, ISO 8601 with zone")

    @model_validator(mode="after")
    def _coherent(self) -> Validity:
        if self.from_ and self.until and instant_ms(self.until) <= instant_ms(self.from_):
            raise refuse("bad_validity", "the message's validity ends before it starts", "write `until` after `from`")
        return self


class Message(Authored):
    """A candidate: an offer with its content, the rules of who may get it, and what it is worth."""

    id: Id = Field(description="its name")
    version: int = Field(1, ge=1, description="moves when the content or its meaning changes")
    owner: str | None = Field(None, description="team that answers for it; default: the bundle's owner")
    placements: list[Id] = Field(min_length=1, description="placements in which it may appear")
    category: Id | None = Field(None, description="what it is about; limits and the category fallback use it")
    campaign: Id | None = Field(None, description="campaign that it belongs to; limits may use it")
    purpose: Purpose | None = Field(None, description="contact consent that it needs; default: the placement's")
    risk: Literal["low", "normal", "high"] = Field("normal", description="only low-risk messages survive stale facts")
    eligible: Condition = Field("true", description="CEL rule of who may get it")
    value: float = Field(1.0, ge=0, description="worth of one response, in the bundle's currency")
    lever: float = Field(1.0, ge=0, description="factor to push (above 1) or hold back (under 1) a message")
    context_weight: NumberOrRule = Field("1.0", description="a number, or a CEL rule over context.* that gives one")
    features: dict[Id, float] = Field({}, description="numbers that a model may read as message.<name>")
    variants: list[Variant] = Field([], description="wordings; default: one, named `default`")
    content: Content | None = Field(None, description="what the sending tool needs to render it")
    valid: Validity = Field(Validity(), description="when it may be sent")
    sensitivity: Sensitivity = Field("none", description="of its content: none, personal, or sensitive:<kind>")
    reveals: list[SensitiveKind] = Field([], description="sensitive facts that receiving it would disclose")
    approval: str | None = Field(None, description="who allowed a message that is or reveals something sensitive")


class Model(Authored):
    """A model of the registry, and what it reads."""

    id: Id = Field(description="folder of the registry")
    version: int = Field(ge=1, description="version in the registry")
    predicts: Id = Field("response", description="what its probability is of")
    inputs: list[Annotated[str, Field(pattern=r"^(customer|message)\.[a-z0-9_]{1,48}$")]] = Field(
        min_length=1, description="customer.<fact> and message.<feature>, in the model's order"
    )
    purposes: list[Purpose] = Field(["personalisation"], min_length=1, description="what it is used for")
    on_missing: Literal["nan", "default", "rules"] = Field("nan", description="what a missing input becomes")
    approval: str | None = Field(None, description="who allowed a model that reads something sensitive")


class PlacementsFile(Authored):
    """placements.yaml: the slots that ask for messages."""

    placements: list[Placement] = Field(description="placements, one at least", json_schema_extra={"minItems": 1})


class MessagesFile(Authored):
    """messages.yaml: everything that may be sent, in the order that breaks ties."""

    messages: list[Message] = Field(description="messages, one at least", json_schema_extra={"minItems": 1})


class ModelsFile(Authored):
    """models.yaml: the models that rank."""

    models: list[Model] = Field([], description="models")
