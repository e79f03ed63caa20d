"""Why an answer changed, in words: what the features were and are, and the rule that began or ceased to hold. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from app.demo_shop.sight import Answer, Seen

PLACES = {"home_banner": "banner", "next_email": "e-mail"}
NOTHING = "nothing"


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
    """The new message could not be sent before, or the old one no longer can; else the answer's own reason."""
    if now.message is not None:
        code, detail = was.excluded.get(now.message, ("", ""))
        if code and code != "outranked":
            return f"now true: {detail}" if code == "not_eligible" else f"no longer {code}"
    if was.message is not None:
        code, detail = now.excluded.get(was.message, ("", ""))
        if code and code != "outranked":
            return f"no longer true: {detail}" if code == "not_eligible" else f"{code}: {detail}"
    return now.reason


def moved(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, rule: str) -> tuple[str, ...]:
    """Features that changed; those that the rule names, or speaks of by a segment, where any of them did."""
    if before is None or after is None:
        return ()
    names = [name for name in {**before, **after} if name != "favourites" and before.get(name) != after.get(name)]
    told = [name for name in names if f"customer.{name}" in rule or name in OF_SEGMENT.get(_segment(rule), ())]
    return tuple(f"{name} {_said(before.get(name))} → {_said(after.get(name))}" for name in (told or names)[:3])


#: Features behind the segments of the bundle's glossary.
OF_SEGMENT = {
    "looking_around": ("product_views_1h",),
    "vip": ("spend_90d",),
    "just_bought": ("minutes_since_order",),
    "lapsed": ("days_since_order",),
    "disappointed": ("refunds_90d",),
}


def _segment(rule: str) -> str:
    return rule.partition("segment.")[2].partition(" ")[0].strip()


def _said(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
