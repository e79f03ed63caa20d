"""What a decision earned: one number, from all that is known of what it sent when its window closes. Pure.

    reward = what was asked for (a click: 1; a conversion: 1; revenue: its sum), less the weights of an unsubscription
             and of a complaint; or none, where the message was never seen, so that nothing can be learnt from it

Rule 1: it follows from the *set* of what happened until the window closed, so it is the same in whatever order that was
told. Sums are exact (`math.fsum`), since floats that are added one by one depend on their order.
Rule 2: what happened later, or was told later, changes nothing: a reward is written once.
Rule 3: a message counts as seen where it was sent and nothing says that it did not arrive; not every provider tells
`delivered`. A decision of which nothing was ever told counts as not seen: nobody knows whether the caller sent it.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from math import fsum
from typing import Literal, NamedTuple, Protocol

from app.core.standing import Stage, Told, by_person, known, stage
from policy.codes import OutcomeType

#: Where the store keeps the reward, beside a decision's outcomes.
FIELD = b"$"


class Rule(Protocol):
    """The bundle's rule of a placement (`policy.outcome_rules.Reward`), as far as it is needed here."""

    @property
    def of(self) -> Literal["click", "conversion", "revenue"]: ...
    @property
    def unsubscribe(self) -> float: ...
    @property
    def complaint(self) -> float: ...


class Unexposed(StrEnum):
    """Why a message was not seen. Closed: files and answers say these words."""

    NOTHING_TOLD = "nothing_told"
    NOT_SENT = "not_sent"
    DROPPED = "dropped"
    BOUNCED = "bounced"


class Earned(NamedTuple):
    """What a decision earned, and what that is made of."""

    reward: float | None  # None: it was not seen
    unexposed: Unexposed | None = None
    clicked: bool = False
    converted: bool = False  # conversions less refunds are more than nothing
    revenue: float = 0.0  # in the bundle's currency, less refunds
    unsubscribed: bool = False
    complained: bool = False


_UNEXPOSED = {
    Stage.RESERVED: Unexposed.NOTHING_TOLD,
    Stage.NOT_SENT: Unexposed.NOT_SENT,
    Stage.DROPPED: Unexposed.DROPPED,
    Stage.BOUNCED: Unexposed.BOUNCED,
}


def earned(told: Iterable[Told], rule: Rule, closed_ms: int) -> Earned:
    """What a decision earned until its window closed (Unix ms)."""
    inside = [each for each in told if each.at_ms <= closed_ms]
    types = {each.type for each in inside}
    values = [each.value for each in inside if each.type == OutcomeType.CONVERTED]
    revenue = fsum(value for value in values if value is not None)
    found = Earned(
        None,
        unexposed(inside),
        _clicked(inside),
        revenue > 0 or (revenue == 0 and None in values),  # a conversion may have no value, and then no refund either
        revenue,
        OutcomeType.UNSUBSCRIBED in types,
        OutcomeType.COMPLAINED in types,
    )
    return found if found.unexposed is not None else found._replace(reward=_reward(found, rule))


def _reward(found: Earned, rule: Rule) -> float:
    asked_for = {"click": float(found.clicked), "conversion": float(found.converted), "revenue": found.revenue}
    return asked_for[rule.of] - rule.unsubscribe * found.unsubscribed - rule.complaint * found.complained


def _clicked(told: Iterable[Told]) -> bool:
    """Whether a person did. What a scanner clicked says nothing."""
    clicks = known(each for each in told if each.type in (OutcomeType.CLICKED, OutcomeType.DELIVERED))
    return by_person(clicks.responded_ms, clicks.delivered_ms)


def unexposed(told: Iterable[Told]) -> Unexposed | None:
    """Why what was sent was not seen; None: as far as is known, it was. As contacts stand (`app.core.standing`), but
    that whoever unsubscribes need not have seen it, and whoever complains has."""
    entries = list(told)
    if any(each.type == OutcomeType.COMPLAINED for each in entries):
        return None
    return _UNEXPOSED.get(stage(known(each for each in entries if each.type != OutcomeType.UNSUBSCRIBED)))


def kept_as(found: Earned) -> str:
    """How the store keeps it beside a decision's outcomes: `<reward>`, or `!<why it was not seen>`."""
    return f"!{found.unexposed}" if found.reward is None else repr(found.reward)


def reward_kept(kept: str) -> float | None:
    """The reward; None: the message was not seen."""
    return None if kept.startswith("!") else float(kept)
