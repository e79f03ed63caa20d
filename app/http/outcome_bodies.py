"""Outcomes on the wire: what callers may say happened, checked, and what they are answered."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, model_validator
from pydantic_core import PydanticCustomError

from app.core.heard import message_named
from app.core.outcomes import BY_MACHINES, EVERY_CHANNEL, SCOPED, Effect, Outcome
from app.http.customer_bodies import DIRECT_IN_TEXT, STRICT, WHY_MAX, At, unix_ms
from policy.codes import OutcomeType

#: Whose id of a mail is known when it is handed over, and names one mail alone: not so at Braze, Klaviyo and SparkPost.
Provider = Literal[
    "brevo", "customerio", "generic", "iterable", "mailersend", "mailgun", "mailjet", "mailtrap", "mandrill",
    "postmark", "resend", "sendgrid", "ses",
]  # fmt: skip


def _named_exactly(given: Any) -> Any:
    """Whether a bounce is final decides whether the customer is ever written to again: nobody may guess it."""
    if given == "bounced":
        raise PydanticCustomError("which_bounce", "say `bounced_hard` (final: suppresses) or `bounced_soft`")
    return given


class OutcomeBody(BaseModel):
    """What happened to a message."""

    model_config = STRICT

    type: Annotated[OutcomeType, BeforeValidator(_named_exactly)]
    at: At | None = None
    value: float | None = Field(
        None, description="Of a conversion, in the bundle's currency; negative: a refund.", examples=[12.5]
    )
    event_id: str | None = Field(
        None,
        pattern=r"^[\x21-\x7e]{1,255}$",
        description="Your own id of the event: a repeat is known by it, else by type and `at`. Only its hash is kept.",
    )
    machine: bool = Field(
        False, description="An `opened` or `clicked` of an image proxy or link scanner: it arrived, nobody looked."
    )
    scope: str | None = Field(
        None,
        pattern=r"^(all|\*|[a-z0-9_]{1,48})$",
        description="Of `unsubscribed` and `resubscribed`: a channel, or `all`. Absent: the message's channel.",
    )

    provider: Provider | None = Field(
        None, description="Who sends the mail, where their webhooks come here too. With `message_id`."
    )
    message_id: str | None = Field(
        None,
        pattern=r"^[\x21-\x7e]{1,500}$",
        description="The provider's id of the mail, as its API answered it: webhooks of that mail that carry no "
        "decision id are then this decision's. Only its hash is kept. With `provider`.",
    )
    reason: str | None = Field(
        None,
        max_length=2_000,
        description=f"In the sender's words, such as an SMTP reply. The first {WHY_MAX} characters are kept in the "
        "history of what it suppresses, and nothing of it where it names an address or a number.",
        examples=["550 5.1.1 no such user"],
    )

    @model_validator(mode="after")
    def _coherent(self) -> OutcomeBody:
        for name, said, types in (
            ("value", self.value is not None, (OutcomeType.CONVERTED,)),
            ("machine", self.machine, BY_MACHINES),
            ("scope", self.scope is not None, SCOPED),
        ):
            if said and self.type not in types:
                belongs = " and ".join(f"`{each}`" for each in OutcomeType if each in types)
                raise PydanticCustomError("misplaced", "`{name}` belongs to {belongs} only", _words(name, belongs))
        if (self.provider is None) != (self.message_id is None):
            raise PydanticCustomError("misplaced", "`provider` and `message_id` belong together: give both, or neither")
        return self

    def message(self) -> bytes | None:
        """The hash of the mail's id at its provider; None where it is not said."""
        return None if self.provider is None else message_named(self.provider, self.message_id)

    def outcome(self) -> Outcome:
        """As the core knows it."""
        scope = EVERY_CHANNEL if self.scope == "all" else self.scope
        return Outcome(
            self.type, unix_ms(self.at), self.value, self.event_id, self.machine, scope, _kept_reason(self.reason)
        )


class OutcomeAnswer(BaseModel):
    """What was made of it."""

    decision_id: str = Field(pattern=r"^dec_[0-9a-f]{28}$")
    type: OutcomeType
    at: datetime = Field(description="The time that counts: never before the decision, never after now.")
    applied: bool = Field(description="Something changed. Not, where later or stronger things were known already.")
    duplicate: bool = Field(description="It was known, and nothing was changed.")
    effects: list[Effect]


OUTCOME = TypeAdapter(OutcomeBody)


def _kept_reason(text: str | None) -> str | None:
    """What may be kept of a reason. Mail servers quote the address: a bounce must not be refused for that, so the
    reason goes and the bounce stays."""
    if text is None or DIRECT_IN_TEXT.search(text) or not text.isprintable():
        return None
    return text[:WHY_MAX]


def _words(name: str, belongs: str) -> dict[str, Any]:
    return {"name": name, "belongs": belongs}
