"""What customers hold, added up one by one, and what is wrong with it. Pure.

No value of an attribute that says something of a person is kept or shown, beyond how many spellings there are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from app.doctor.finding import Finding, Severity, by_share
from policy.bundle import Bundle, Fact

if TYPE_CHECKING:
    from app.store.described import Profile

#: Distinct values of an attribute that are compared; an attribute with more of them is free text.
VALUES_MAX = 500
DAY_MS = 86_400_000


class Survey:
    """Adds customers up. `now_ms`: the store's clock."""

    def __init__(self, bundle: Bundle, now_ms: int) -> None:
        self._bundle = bundle
        self._now_ms = now_ms
        self._facts = {fact.name: fact for fact in bundle.facts if fact.kind == "attribute"}
        self._channels = tuple(dict.fromkeys(placement.channel for placement in bundle.placements.values()))
        self.seen = 0
        self._unreadable = 0
        self._set: Counter[str] = Counter()  # attribute → customers who have it
        self._stale: Counter[str] = Counter()
        self._undeclared: Counter[str] = Counter()
        self._undated: Counter[str] = Counter()  # owner → customers with attributes of it, and no time
        self._owned: Counter[str] = Counter()  # owner → customers with attributes of it
        self._oldest: dict[str, int] = {}  # owner → Unix ms
        self._newest: dict[str, int] = {}
        self._spellings: dict[str, dict[str, Counter[str]]] = defaultdict(dict)  # attribute → bare → as written
        self._silent: Counter[tuple[str, str]] = Counter()  # purpose, channel → customers who said nothing
        self._places: Counter[str] = Counter()  # `region`, `timezone` → customers without one

    def add(self, profile: Profile | None) -> None:
        """One customer; None: the profile cannot be read."""
        self.seen += 1
        if profile is None:
            self._unreadable += 1
            return
        self._places.update(["region"] * (profile.region is None) + ["timezone"] * (profile.timezone is None))
        owners = set()
        for name, value in profile.attributes.items():
            fact = self._facts.get(name)
            if fact is None:
                self._undeclared[name] += 1
                continue
            owners.add(fact.owner)
            self._set[name] += 1
            at_ms = profile.as_of_ms.get(fact.owner)
            if fact.max_age_s is not None and (at_ms is None or self._now_ms - at_ms > fact.max_age_s * 1000):
                self._stale[name] += 1
            if fact.type == "string" and isinstance(value, str):
                self._spell(name, value)
        for owner in owners:
            self._date(owner, profile.as_of_ms.get(owner))
        said = {(entry.purpose, entry.channel) for entry in profile.consent}
        for purpose in self._bundle.purposes:
            if (purpose, "*") not in said:
                self._silent.update((purpose, each) for each in self._channels if (purpose, each) not in said)

    def findings(self, *, sampled: bool) -> Iterator[Finding]:
        """What is wrong; `sampled`: not all customers were added."""
        for finding in self._all():
            yield replace(finding, sampled=sampled and finding.of > 0)

    def _all(self) -> Iterator[Finding]:
        if not self.seen:
            yield Finding(
                Severity.WARNING, "no_customers", "no customer is known", "import some: `nextbest import customers`"
            )
            return
        if self._unreadable:
            yield Finding(
                Severity.SEVERE,
                "unreadable",
                "profiles hold something that this version cannot read: their decisions end in `facts_unavailable`",
                "run the version that wrote them, on all nodes",
                self._unreadable,
                self.seen,
            )
        for name, fact in self._facts.items():
            yield from self._attribute(name, fact)
        for owner, customers in self._owned.items():
            if self._undated[owner]:
                yield Finding(
                    by_share(self._undated[owner], customers, warning=0.0, severe=0.5),
                    "missing_time",
                    f"attributes of `{owner}` have no time: nobody can tell how old they are, and those with a "
                    "`max_age` count as stale",
                    f"let `{owner}` write them again",
                    self._undated[owner],
                    customers,
                )
        for name, customers in self._undeclared.items():
            yield Finding(
                Severity.NOTE,
                "undeclared",
                f"attribute `{name}` is stored, and the bundle does not declare it",
                "declare it, or delete it with `null` in the next import",
                customers,
                self.seen,
            )
        yield from self._spelt()
        yield from self._consent()
        yield from self._placed()

    def _attribute(self, name: str, fact: Fact) -> Iterator[Finding]:
        customers, stale = self._set[name], self._stale[name]
        if not customers:
            yield Finding(
                Severity.WARNING,
                "never_set",
                f"attribute `{name}` is declared, and no customer has it: rules that read it hold for nobody",
                f"ask `{fact.owner}` to deliver it, or leave it out of the bundle",
                0,
                self.seen,
            )
        if stale:
            oldest = self._oldest.get(fact.owner)
            age = "" if oldest is None else f"; the oldest is {(self._now_ms - oldest) // DAY_MS} days old"
            yield Finding(
                by_share(stale, customers, warning=0.05, severe=0.5),
                "stale",
                f"attribute `{name}` is older than its `max_age`{age}",
                f"let `{fact.owner}` deliver it more often, or allow it a longer `max_age` in attributes.yaml",
                stale,
                customers,
            )

    def _spelt(self) -> Iterator[Finding]:
        for name, found in self._spellings.items():
            several = {bare: spellings for bare, spellings in found.items() if len(spellings) > 1}
            if several and len(found) < VALUES_MAX:
                rare = sum(spellings.total() - max(spellings.values()) for spellings in several.values())
                open_ = self._facts[name].sensitivity == "none"
                shown = [" / ".join(f"`{each}`" for each in sorted(spellings)) for spellings in several.values()][:3]
                yield Finding(
                    Severity.WARNING,
                    "spelt_differently",
                    f"{len(several)} values of attribute `{name}` are spelt in more than one way"
                    + (f": {'; '.join(shown)}" if open_ else ""),
                    "declare it as an enum, and let its owner write one spelling: rules compare text exactly",
                    rare,
                    self._set[name],
                )

    def _consent(self) -> Iterator[Finding]:
        for (purpose, channel), customers in sorted(self._silent.items()):
            yield Finding(
                by_share(customers, self.seen, warning=0.5),
                "consent_unknown",
                f"nothing was said of `{purpose}` on `{channel}`: where the region's row is `opt_in` they are refused",
                "import what they said: `nextbest import consent`",
                customers,
                self.seen,
            )

    def _placed(self) -> Iterator[Finding]:
        effects = {
            "region": "which law holds is unknown, so consent is refused unless the request says where they are",
            "timezone": "quiet hours and calendar limits are taken over every zone of their region",
        }
        for place, effect in effects.items():
            if customers := self._places[place]:
                yield Finding(
                    by_share(customers, self.seen, warning=0.05, severe=0.5 if place == "region" else 2.0),
                    f"{place}_unknown",
                    f"{place} is unknown: {effect}",
                    f"import it (`{place}`), or send it in each request's `context`",
                    customers,
                    self.seen,
                )

    def _date(self, owner: str, at_ms: int | None) -> None:
        self._owned[owner] += 1
        if at_ms is None:
            self._undated[owner] += 1
        else:
            self._oldest[owner] = min(at_ms, self._oldest.get(owner, at_ms))
            self._newest[owner] = max(at_ms, self._newest.get(owner, at_ms))

    def ages(self) -> dict[str, tuple[int, int]]:
        """Owner → Unix ms of its oldest and of its newest write."""
        return {owner: (oldest, self._newest[owner]) for owner, oldest in sorted(self._oldest.items())}

    def _spell(self, name: str, value: str) -> None:
        found = self._spellings[name]
        bare = " ".join(value.casefold().split())
        if bare in found or len(found) < VALUES_MAX:
            found.setdefault(bare, Counter())[value] += 1
