"""What differs between two decisions of one request, and which rule made the difference.

Reasons are grouped, so they are said without what is one customer's own: no instants, no counts, no scores.
"""

from __future__ import annotations

from enum import StrEnum

from app.core.decision.answer import reason_text
from app.core.decision.arbitrate import Decision
from app.core.decision.exclusion import Excluded, say
from policy.bundle import Bundle, Message
from policy.codes import Action, Arm, Exclusion, Reason


class Change(StrEnum):
    """What became of a decision, the gravest first."""

    NEWLY_CONTACTED = "newly_contacted"
    NO_LONGER_CONTACTED = "no_longer_contacted"
    DEFERRED = "deferred"  # now told to ask again later
    NO_LONGER_DEFERRED = "no_longer_deferred"  # was told to ask again later, and is told nothing now
    OTHER_MESSAGE = "other_message"
    OTHER_VERSION = "other_version"
    OTHER_VARIANT = "other_variant"
    OTHER_WINDOW = "other_window"
    OTHER_REASON = "other_reason"  # nothing is sent, as before, and for another reason
    SAME = "same"


def change_of(before: Decision, after: Decision | None) -> Change:
    """What became of the decision; `after` is None where the placement is gone."""
    was, now = before.action, Action.SUPPRESS if after is None else after.action
    if now is not was:
        nothing = Change.NO_LONGER_CONTACTED if was is Action.SEND else Change.NO_LONGER_DEFERRED
        return {Action.SEND: Change.NEWLY_CONTACTED, Action.DEFER: Change.DEFERRED}.get(now, nothing)
    if after is not None and now is Action.SEND:
        return _among_sent(before, after)
    if after is not None and now is Action.DEFER and before.window != after.window:
        return Change.OTHER_WINDOW
    return Change.SAME if after is None or reason_text(before) == reason_text(after) else Change.OTHER_REASON


def _among_sent(before: Decision, after: Decision) -> Change:
    was, now = before.message, after.message
    if was is None or now is None or was.id != now.id:
        return Change.OTHER_MESSAGE
    if was.version != now.version:
        return Change.OTHER_VERSION
    if was.variants[before.variant].id != now.variants[after.variant].id:
        return Change.OTHER_VARIANT
    return Change.SAME if before.window == after.window else Change.OTHER_WINDOW


def why(change: Change, before: Decision, after: Decision | None, old: Bundle, new: Bundle) -> str:
    """The rule behind a change, as `code: words`, or the reason of the decision."""
    if after is None:
        return f"the placement `{before.placement.id}` is gone"
    match change:
        case Change.NEWLY_CONTACTED:
            rule = against(before, _id(after.message), old)
        case Change.NO_LONGER_CONTACTED:
            rule = against(after, _id(before.message), new)
        case Change.DEFERRED if before.action is Action.SEND:
            rule = against(after, _id(before.message), new)
        case Change.DEFERRED:
            rule = f"was {against(before, waiting(after), old)}"
        case Change.NO_LONGER_DEFERRED:
            rule = against(after, waiting(before), new)
        case Change.OTHER_MESSAGE:
            rule = _other_message(before, after, old, new)
        case Change.OTHER_REASON:
            rule = f"{reason_text(before)} → {reason_text(after)}"
        case _:
            rule = _detail(change, before, after)
    return rule


def _detail(change: Change, before: Decision, after: Decision) -> str:
    was, now = before.message, after.message
    if change is Change.OTHER_WINDOW or was is None or now is None:
        bases = [window.basis for window in (before.window, after.window) if window is not None]
        return " → ".join(dict.fromkeys(bases))
    if change is Change.OTHER_VERSION:
        return f"`{now.id}` {was.version} → {now.version}"
    return f"`{now.id}`: {was.variants[before.variant].id} → {now.variants[after.variant].id}"


def against(decision: Decision, message: str, bundle: Bundle) -> str:
    """What stood against sending a message in a decision that did not send it."""
    excluded = decision.excluded or {}
    position = _position(decision, message)
    if decision.reason is Reason.HOLDOUT or not (excluded or decision.admissible):
        return _reason(decision)
    if position is None:
        return f"`{message}` is no candidate" if message else _reason(decision)
    if position in excluded:
        return f"{excluded[position].code.value}: {rule_of(excluded[position], bundle)}"
    return _reason(decision)


def _reason(decision: Decision) -> str:
    detail = decision.detail if decision.reason is not Reason.SUPPRESSED else ""
    return f"{reason_text(decision)}: {detail}" if detail else reason_text(decision)


def rule_of(excluded: Excluded, bundle: Bundle) -> str:
    """The rule that excluded a candidate, in the words that explanations use, the same for all whom it concerns."""
    match excluded.detail:
        case ("limit", index, _):
            limit = bundle.limits[index]
            return f"{limit.id}: {limit.at_most} in {limit.window.source}"
        case ("cooldown", index, _):
            return f"{bundle.cooldowns[index].id}: {bundle.cooldowns[index].source}"
        case ("fatigue", _):
            return f"the limit of {bundle.fatigue.limit:g}" if bundle.fatigue else "the limit"
        case ("wait", _):
            return "not at this time of day"
        case ("default",) | ("personal",):
            return f"no leave to personalise ({say(excluded, bundle)})"
    return say(excluded, bundle)


def limits_hit(decision: Decision, bundle: Bundle) -> set[str]:
    """Names of the limits, pauses, exclusions and budgets that stood against some candidate."""
    found = set()
    for excluded in (decision.excluded or {}).values():
        match excluded.detail:
            case ("limit", index, _):
                found.add(bundle.limits[index].id)
            case ("cooldown", index, _):
                found.add(bundle.cooldowns[index].id)
            case ("exclusion", index, _, _):
                found.add(bundle.exclusions[index].id)
            case ("budget", index):
                found.add(bundle.budgets[index].id)
            case ("fatigue", _):
                found.add(Exclusion.FATIGUE.value)
    return found


def waiting(decision: Decision) -> str:
    """The message that a deferred decision would have: the first that may be sent."""
    times = [
        (excluded.detail[1], position)
        for position, excluded in (decision.excluded or {}).items()
        if excluded.detail[:1] == ("wait",)
    ]
    return decision.placement.candidates[min(times)[1]].message.id if times else ""


def _other_message(before: Decision, after: Decision, old: Bundle, new: Bundle) -> str:
    """Why another message: the old one may not be sent, or the new one might not; else what ranks them otherwise."""
    was, now = _id(before.message), _id(after.message)
    lost, gained = _position(after, was), _position(before, now)
    if lost is None:
        return f"`{was}` is no candidate any more"
    if lost in (after.excluded or {}):
        excluded = (after.excluded or {})[lost]
        return f"`{was}` {excluded.code.value}: {rule_of(excluded, new)}"
    if gained is None:
        return f"`{now}` is a new candidate"
    if gained in (before.excluded or {}):
        excluded = (before.excluded or {})[gained]
        return f"`{now}` no longer {excluded.code.value}: {rule_of(excluded, old)}"
    return _ranked_otherwise(before, after)


def _ranked_otherwise(before: Decision, after: Decision) -> str:
    if before.arm is not after.arm and Arm.BASELINE in (before.arm, after.arm):
        return f"arm {before.arm.value} → {after.arm.value}"
    if before.rung is not after.rung:
        lacks = [what.value for what in after.degraded if what not in before.degraded]
        return f"rung {before.rung.value} → {after.rung.value}" + (f" ({', '.join(lacks)})" if lacks else "")
    if Reason.EXPLORED in (before.reason, after.reason):
        return "another one is tried"
    changed = _worth_changed(before, after, (after.message, before.message))
    return changed or "ranked otherwise"


def _worth_changed(before: Decision, after: Decision, messages: tuple[Message | None, ...]) -> str:
    """Which authored part of the worth of the two messages is another one now."""
    for message in messages:
        at = _position(before, _id(message)), _position(after, _id(message))
        if message is None or at[0] is None or at[1] is None:
            continue
        was, now = before.placement.candidates[at[0]].message, after.placement.candidates[at[1]].message
        for name in ("value", "lever", "context_weight"):
            old, new = getattr(was, name), getattr(now, name)
            if old != new:
                return f"`{message.id}` {name} {_shown(old)} → {_shown(new)}"
    return ""


def _shown(number: object) -> str:
    return f"{number:g}" if isinstance(number, float) else getattr(number, "source", str(number))


def _position(decision: Decision, message: str) -> int | None:
    candidates = decision.placement.candidates
    return next((at for at, candidate in enumerate(candidates) if candidate.message.id == message), None)


def _id(message: Message | None) -> str:
    return "" if message is None else message.id
