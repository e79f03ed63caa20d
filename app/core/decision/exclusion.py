"""Why a candidate was not chosen, as data. Words are made only when somebody asks (`answer`, `view`)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

from policy.bundle import Bundle
from policy.codes import Exclusion


class Excluded(NamedTuple):
    """`detail` depends on the code and holds only what MessagePack can:

    - `not_eligible`: `("rule", index)`, `("missing", index, fact)`, `("not_filled", index, fact)`, `("failed", index)`,
      `("personal",)`, `("default",)`, `("purpose", purpose, state)`
    - `limit_reached`: `("limit", index, (packed decision id, …))`
    - `stale_feature`: `("stale", fact)`, `("lacking", fact)`
    - `chosen_elsewhere`: `("placement", id)`
    - `cooldown`: `("cooldown", index, until ms)`
    - `excluded_by`: `("exclusion", index, message id, packed decision id)`
    - `fatigue`: `("fatigue", score)`
    - `budget_exhausted`: `("budget", index)`
    - `quiet_hours`: `("wait", not before ms)`, or `("never",)` within the placement's longest wait
    - `switched_off`: `("switch", kind, name)`
    - `sensitive_in_region`: `("restricted", class, region)`
    - `sensitive_message`: `("sensitive", class)`
    - `not_valid_now`: `("from", ms)` or `("until", ms)`
    """

    code: Exclusion
    detail: tuple[Any, ...] = ()


def say(excluded: Excluded, bundle: Bundle) -> str:
    """The detail in words, for a person who knows the bundle."""
    code, detail = excluded
    words: str
    match detail:
        case ("rule" | "missing" | "not_filled" | "failed" as why, index, *facts):
            words = bundle.rules[index].source + _RULE_NOTES[why].format(*facts)
        case ("limit", index, contacts):
            limit = bundle.limits[index]
            words = f"{limit.id}: {len(contacts)} of {limit.at_most} in {limit.window.source}"
        case ("from" | "until" as edge, instant_ms):
            words = f"valid {edge} {_instant(instant_ms)}"
        case ("cooldown", index, until_ms):
            cooldown = bundle.cooldowns[index]
            words = f"{cooldown.id}: {cooldown.source}, until {_instant(until_ms)}"
        case ("exclusion", index, message, _):
            exclusion = bundle.exclusions[index]
            words = f"{exclusion.id}: {message} within {exclusion.source}"
        case ("fatigue", score):
            words = f"fatigue {score:.2f} of {bundle.fatigue.limit:g}" if bundle.fatigue else f"fatigue {score:.2f}"
        case ("budget", index):
            budget = bundle.budgets[index]
            words = f"{budget.id}: {budget.at_most} of {budget.at_most} in {budget.window.source}, all customers"
        case ("wait", not_before_ms):
            words = f"not before {_instant(not_before_ms)}"
        case ("purpose", purpose, state):
            words = f"consent for {purpose} is {state}"
        case (why, *rest):
            words = _SAYINGS[why].format(*rest)
        case _:
            words = code.value
    return words


def _instant(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


_RULE_NOTES = {
    "rule": "",
    "missing": " (`{}` is missing)",
    "not_filled": " (`{}` is not_filled: it lacks events that passed)",
    "failed": " (the rule failed)",
}
_SAYINGS = {
    "personal": "needs personal facts, which may not be read",
    "default": "only the placement's default is considered",
    "stale": "`{}` is older than its contract allows",
    "lacking": "`{}` is not_filled: it lacks events that passed",
    "placement": "chosen for {}",
    "never": "no permitted time within the placement's longest wait",
    "switch": "{} {} is switched off",
    "restricted": "{} may not be used in {}",
    "sensitive": "its selection would reveal {}, without an explicit consent",
}
