"""What a decision looks at: one customer's facts, one request, one bundle; the same for all placements of a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from policy.bundle import Bundle, Placement, Region
from policy.calendar import Zone
from policy.control import NO_CONTROL, Control
from policy.facts import Facts
from policy.limits import customer_zones


class Situation(NamedTuple):
    """Facts and request together, with region, zone and language resolved: the profile's beat the caller's."""

    bundle: Bundle
    facts: Facts
    context: Mapping[str, Any]  # as sent, declared attributes only
    region_code: str | None
    region: Region | None  # None: nothing is known of where the customer is
    timezone: str | None
    language: str | None
    seed: int  # 64 bits; fresh per request, kept over retries
    customer: str = ""  # the key: who is held out is a hash of it
    gpc: bool = False  # the caller passed on a browser's Global Privacy Control
    control: Control = NO_CONTROL

    @property
    def now_ms(self) -> int:
        return self.facts.now_ms

    def zones(self) -> tuple[Zone, ...]:
        """The zones that the customer may be in."""
        return customer_zones(self.timezone, self.region_code, self.region)

    def context_values(self, names: Sequence[str]) -> dict[str, Any]:
        """`context.*` as rules see it, for the names that they refer to; an absent one has no entry."""
        values = {}
        for name in names:
            value = getattr(self, _RESOLVED[name]) if name in _RESOLVED else self.context.get(name)
            if value is not None:
                values[name] = value
        return values


#: Context attributes that the customer's profile may know better.
_RESOLVED = {"region": "region_code", "timezone": "timezone", "language": "language"}


def situation(
    bundle: Bundle,
    facts: Facts,
    context: Mapping[str, Any],
    seed: int,
    customer: str = "",
    gpc: bool = False,
    control: Control = NO_CONTROL,
) -> Situation:
    """Resolve region, zone and language (DESIGN section 10, Rules and Consent)."""
    code = facts.region or context.get("region")
    return Situation(  # by position: names would take half as long again
        bundle,
        facts,
        context,
        code,
        bundle.region(code),
        facts.timezone or context.get("timezone"),
        facts.language or context.get("language"),
        seed,
        customer,
        gpc,
        control,
    )


@lru_cache(maxsize=1024)
def facts_read(placement: Placement) -> tuple[str, ...]:
    """Names of the customer facts that the placement's rules, weights, contracts or model may read, sorted."""
    names = {*placement.customer_names, *(fact.name for fact in placement.contracts)}
    if placement.model is not None:
        names |= {path.removeprefix("customer.") for path in placement.model.inputs if path.startswith("customer.")}
    return tuple(sorted(names))
