"""Why a candidate was not chosen, as data. Words are made only when somebody asks (`answer`, `view`)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

from policy.bundle import Bundle
from policy.codes import Exclusion


class Excluded(NamedTuple):
    """`detail` depends on the code and holds only what MessagePack can:

    - `not_eligible`: `("rule", index)`, `("missing", index, fact)`, `("failed", index)`, `("personal",)`,
      `("default",)`, `("purpose", purpose, state)`
    - `limit_reached`: `("limit", index, (packed decision id, …))`
    - `stale_feature`: `("stale", fact)`
    - `chosen_elsewhere`: `("placement", id)`
    - `not_valid_now`: `("from", ms)` or `("until", ms)`
    """

    code: Exclusion
    detail: tuple[Any, ...] = ()


def say(excluded: Excluded, bundle: Bundle) -> str:
    """The detail in words, for a person who knows the bundle."""
    code, detail = excluded
    words: str
    match detail:
        case ("rule" | "missing" | "failed" as why, index, *facts):
            words = bundle.rules[index].source + _RULE_NOTES[why].format(*facts)
        case ("limit", index, contacts):
            limit = bundle.limits[index]
            words = f"{limit.id}: {len(contacts)} of {limit.at_most} in {limit.window.source}"
        case ("from" | "until" as edge, instant_ms):
            words = f"valid {edge} {datetime.fromtimestamp(instant_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
        case ("purpose", purpose, state):
            words = f"consent for {purpose} is {state}"
        case (why, *rest):
            words = _SAYINGS[why].format(*rest)
        case _:
            words = code.value
    return words


_RULE_NOTES = {"rule": "", "missing": " (`{}` is missing)", "failed": " (the rule failed)"}
_SAYINGS = {
    "personal": "needs personal facts, which may not be read",
    "default": "only the placement's default is considered",
    "stale": "`{}` is older than its contract allows",
    "placement": "chosen for {}",
}
