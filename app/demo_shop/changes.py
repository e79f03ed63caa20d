"""Why an answer changed, in words: what the features were and are, and the rule that began or ceased to hold. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from app.demo_shop.sight import Answer, Seen

PLACES = {"home_banner": "banner", "next_email": "e-mail"}
NOTHING = "nothing"
_SEGMENT = re.compile(r"segment\.(\w+)")


class Change(NamedTuple):
    """One answer that is another one now."""

    customer: str
    placement: str
    before: str
    after: str
    why: str  # the rule or reason that made it so
    moved: tuple[str, ...]  # features that changed: "product_views_1h 2 → 3"

    def sentence(self) -> str:
        because = "; ".join(part for part in (", ".join(self.moved), self.why) if part)
        return f"{self.customer}: {PLACES[self.placement]} {self.before} → {self.after}" + (
            f"  ({because})" if because else ""
        )


def changes(before: Seen, after: Seen) -> Iterator[Change]:
    """What changed of one customer's answers between two looks."""
    for placement, now in after.answers.items():
        was = before.answers[placement]
        if now.message == was.message and (now.message is not None or now.reason == was.reason):
            continue
        why = _why(was, now)
        yield Change(
            after.customer,
            placement,
            was.message or f"{NOTHING} ({was.reason})",
            now.message or f"{NOTHING} ({now.reason})",
            why,
            moved(before.features, after.features, why),
        )


def _why(was: Answer, now: Answer) -> str:
    """What ceased to hold for the old message, and what began to hold for the new one; where neither did, the answer's
    own reason."""
    parts = (
        _against(was.message, now, "no longer true", "stopped"),
        _against(now.message, was, "now true", "no longer stopped"),
    )
    return " · ".join(part for part in parts if part) or now.reason


def _against(message: str | None, answer: Answer, of_a_rule: str, of_others: str) -> str:
    """What kept a message out of an answer, after the fitting words; empty where another was merely ranked higher."""
    code, detail = answer.excluded.get(message or "", ("outranked", ""))
    if code == "outranked":
        return ""
    return f"{of_a_rule}: {detail}" if code == "not_eligible" else f"{of_others}: {code}, {detail}"


def moved(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, rule: str) -> tuple[str, ...]:
    """Features that changed; those that the rule names, or speaks of by a segment, where any of them did."""
    if before is None or after is None:
        return ()
    names = [name for name in {**before, **after} if name != "favourites" and before.get(name) != after.get(name)]
    behind = {name for segment in _SEGMENT.findall(rule) for name in OF_SEGMENT.get(segment, ())}
    told = [name for name in names if f"customer.{name}" in rule or name in behind]
    return tuple(f"{name} {_said(before.get(name))} → {_said(after.get(name))}" for name in (told or names)[:3])


#: Features behind the segments of the bundle's glossary.
OF_SEGMENT = {
    "looking_around": ("product_views_1h",),
    "vip": ("spend_90d",),
    "just_bought": ("minutes_since_order",),
    "lapsed": ("days_since_order",),
    "disappointed": ("refunds_90d",),
    "often_here": ("visits_30d",),
    "dear_taste": ("products_7d", "dearest_view_7d"),
    "decided": ("buys_per_view_30d",),
    "evening_person": ("active_hours",),
}


def _said(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
