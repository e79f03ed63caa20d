"""What `/v1/decide` answers, described for the OpenAPI document only: our own answers are not validated again."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from policy.codes import Arm, Degraded, Exclusion

Action = Literal["send", "suppress", "defer"]
RungName = Literal["model", "rules", "category", "generic", "suppress"]


class MessageAnswer(BaseModel):
    """What to send."""

    id: str
    version: int
    variant: str
    template: str | None
    subject: str | None
    params: dict[str, Any]


class SendWindowAnswer(BaseModel):
    """When it may be sent."""

    not_before: datetime
    not_after: datetime
    timezone: str | None = Field(description="The customer's; null where it is not known.")
    basis: str


class FunnelAnswer(BaseModel):
    """How many candidates were left after which step."""

    candidates: int
    eligible: int
    scored: int
    admissible: int


class ExcludedAnswer(BaseModel):
    """Why a candidate was not chosen."""

    message: str
    code: Exclusion
    detail: str
    contacts: list[str] | None = Field(None, description="Decisions whose contacts were counted against it.")


class DecisionAnswer(BaseModel):
    """One placement."""

    decision_id: str = Field(pattern=r"^dec_[0-9a-f]{28}$")
    placement: str
    action: Action
    rung: RungName
    reason: str = Field(description="A reason, with its own after a colon: `suppressed:hard_bounce`.")
    message: MessageAnswer | None
    send_window: SendWindowAnswer | None
    score: float | None = Field(description="Expected value of the message, where a model ranked.")
    propensity: float | None = Field(description="Probability of this choice among the admissible messages.")
    arm: Arm = Field(description="What is done with the customer here, to measure what deciding is worth.")
    degraded: list[Degraded]
    funnel: FunnelAnswer
    retryable: bool = Field(description="Asking again may help; no repeat of an idempotency key gets this answer.")
    experiments: dict[str, str] | None = Field(
        None, description="The customer's arm in each experiment that mattered here; absent where none did."
    )
    detail: str | None = Field(None, description="On what ground silence was taken for a permission.")
    list_unsubscribe: dict[Literal["List-Unsubscribe", "List-Unsubscribe-Post"], str] | None = Field(
        None,
        description="Headers for the mail, where asked for by `unsubscribe` or the placement. Not part of what an "
        "idempotency key repeats to the byte.",
    )
    excluded: list[ExcludedAnswer] | None = Field(None, description="With `explain` only.")


class DecideAnswer(BaseModel):
    """One decision for each placement, in the order asked for."""

    request_id: str
    customer: str
    decisions: list[DecisionAnswer]
    release: str
    bundle: str
    budget_ms: int
    elapsed_ms: float


class DecisionRecord(DecisionAnswer):
    """A decision with all that explains it."""

    customer: str
    decided_at: datetime
    aborted: bool = Field(description="Logged, never answered, and taken back.")
    request: dict[str, Any]
    gate: dict[str, Any] = Field(description="Which consents permitted or stopped; whether personal facts were read.")
    would_have_been: dict[str, Any] | None = Field(
        description="Message and send window that a holdout withheld; null otherwise."
    )
    variant_propensity: float | None = Field(
        description="Probability of the variant, once its message was chosen; null where it has only one."
    )
    exposures: list[dict[str, Any]] = Field(description="Trials that the customer met here, with the arm.")
    candidates: list[dict[str, Any]] = Field(
        description="Every scored candidate: response, score, the terms whose product it is, and admissibility."
    )
    facts: dict[str, Any] = Field(description="What was known; values of personal facts are masked.")
    control: dict[str, Any] | None = Field(
        description="Kill switches, spent budgets and what variants had earned, as far as they mattered."
    )
    outcomes: dict[str, Any] | None = Field(
        description="What happened to what was sent: how far it has come (`stage`), when, and once its window closed "
        "the `reward` (null: it was not seen, `unexposed` says why). Null where nothing was sent."
    )
    seed: str
    bundle: str
    release: str
    elapsed_ms: float
    trace_id: str | None


EXAMPLE: dict[str, Any] = {
    "request_id": "req_1255fccb41c078d7ac5ed40c",
    "customer": "cus_000001",
    "decisions": [
        {
            "decision_id": "dec_0861a20bb2b1d33ba1e912237e00",
            "placement": "weekly_offer",
            "action": "send",
            "rung": "model",
            "reason": "model_ranked",
            "message": {
                "id": "mens_email",
                "version": 3,
                "variant": "plain",
                "template": "weekly_mens",
                "subject": "New in men's",
                "params": {"hero": "spring"},
            },
            "send_window": {
                "not_before": "2026-11-24T08:00:00Z",
                "not_after": "2026-11-24T09:00:00Z",
                "timezone": "America/New_York",
                "basis": "immediate",
            },
            "score": 0.218,
            "propensity": 1.0,
            "arm": "treatment",
            "degraded": [],
            "funnel": {"candidates": 2, "eligible": 2, "scored": 2, "admissible": 2},
            "retryable": False,
            "excluded": [{"message": "womens_email", "code": "outranked", "detail": "by mens_email, by 0.0711395"}],
        }
    ],
    "release": "rel_557e5aa413e53e19",
    "bundle": "sha256:557e5aa413e53e194f550a116a9ea58237503c476738c4bd2611635aadee0ec0",
    "budget_ms": 40,
    "elapsed_ms": 2.164,
}
