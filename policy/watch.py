"""What the deliverability watch makes of counted outcomes: rates, alerts, and which messages must stop. Pure.

Rules of the brake, in this file:

1. A rate means something from `at_least` mails on, and an alert from three people on: one or two are no rate.
2. A brake needs two things. The rate as counted is above the limit; and so many would be seen with a chance under 1 in
   100 if the true rate were only the one that alerts. So a healthy message is not stopped by bad luck, and a limit of
   0.3 % acts on some thousands of mails: on 5 of 1,200, 7 of 2,000, 16 of 5,000, and from there on as counted. Where
   no alert is set, the limit itself takes its place.
3. A brake looks at a message over all placements, since its switch stops it in all of them; in each class of
   mailboxes, since that is how providers judge, and in all classes together.
4. It never stops a message that a transactional placement may send: receipts and passwords go out, and alert.
5. It looks at what was sent since somebody lifted its last brake, and at nothing before: `app.core.deliverability`.

Falls open: what was not counted, or cannot be read, stops nothing. Consent and suppressions do not depend on it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from enum import StrEnum
from functools import reduce
from typing import TYPE_CHECKING, NamedTuple

from policy.mailboxes import MAILBOXES, class_of
from policy.rates import Measured, chance_of_so_many, measured

if TYPE_CHECKING:  # rules are handed in
    from policy.bundle import Bundle
    from policy.outcome_rules import Rate, Watch

#: Who turns messages off by itself.
WATCH = "deliverability_watch"
#: Domain → class, where a bundle does not say otherwise.
DEFAULT_DOMAINS = MAILBOXES
#: Stands for every placement, and every class, where counts of several are added up.
ALL = "*"
#: Fewer people than this raise no alert, however few mails there were.
PEOPLE_MIN = 3
#: How likely a brake is, at most, at each look while the true rate is the one that alerts.
CHANCE_MAX = 0.01


class Kind(StrEnum):
    """Rates that rules may be about. Closed; label values of metrics."""

    COMPLAINED = "complained"  # of delivered
    BOUNCED = "bounced"  # hard, of sent
    UNSUBSCRIBED = "unsubscribed"  # of delivered


_WORDS: Mapping[Kind, tuple[str, str]] = {
    Kind.COMPLAINED: ("complaint rate", "delivered"),
    Kind.BOUNCED: ("hard bounce rate", "sent"),
    Kind.UNSUBSCRIBED: ("unsubscribe rate", "delivered"),
}


class Cell(NamedTuple):
    """What outcomes are counted by."""

    placement: str
    message: str
    domain: str  # class of mailboxes


class Counts(NamedTuple):
    """Contacts by what is known of them; each is counted once under each."""

    sent: int = 0
    delivered: int = 0
    bounced: int = 0  # hard
    soft_bounced: int = 0
    complained: int = 0
    unsubscribed: int = 0

    def __add__(self, other: Counts) -> Counts:  # type: ignore[override]  # counts add up; nobody appends to them
        return Counts(*(one + two for one, two in zip(self, other, strict=True)))

    @property
    def tried(self) -> int:
        """Mails that a receiving server was offered. Several providers tell of no `sent`; what came of it shows it."""
        return max(self.sent, self.delivered + self.bounced + self.soft_bounced)

    @property
    def reached(self) -> int:
        """Mails that arrived; where a provider tells of no `delivered` (Iterable), those that did not bounce."""
        return self.delivered or max(self.tried - self.bounced - self.soft_bounced, 0)


class Row(NamedTuple):
    """What one line of the watch's table says."""

    cell: Cell
    counts: Counts
    alerts: tuple[Kind, ...]


class Brake(NamedTuple):
    """A message that must stop, and why, in words for whoever finds it off."""

    message: str
    why: str


def domain_class(address_or_domain: str, watch: Watch | None) -> str:
    """The class of an address's domain, such as `gmail`; `other` where no class names it, as with domains of companies
    and of people; `unknown` without one. Never the domain itself."""
    return class_of(address_or_domain, DEFAULT_DOMAINS if watch is None else watch.domains)


def rate_of(counts: Counts, kind: Kind) -> Measured:
    """One of the rates that rules are about."""
    of = counts.tried if kind is Kind.BOUNCED else counts.reached
    return measured(getattr(counts, kind.value), of)


def table(counted: Mapping[Cell, Counts], watch: Watch) -> list[Row]:
    """Every line, with totals, the ones with the most mails first."""
    cells = with_totals(counted)
    rows = [Row(cell, counts, tuple(_alerts(counts, watch))) for cell, counts in cells.items()]
    return sorted(rows, key=lambda row: (-row.counts.tried, row.cell))


def with_totals(counted: Mapping[Cell, Counts]) -> dict[Cell, Counts]:
    """Counts, and their sums over classes, over placements and over both, where there are several to add up."""
    sums = _sums(counted, domain=ALL) | _sums(counted, placement=ALL) | _sums(counted, placement=ALL, domain=ALL)
    return {**counted, **sums}


def _sums(counted: Mapping[Cell, Counts], **over: str) -> dict[Cell, Counts]:
    """Sums over some members of a cell, where each of them has several values."""
    parts: dict[Cell, list[Cell]] = {}
    for cell in counted:
        parts.setdefault(cell._replace(**over), []).append(cell)
    return {
        total: reduce(Counts.__add__, [counted[cell] for cell in cells])
        for total, cells in parts.items()
        if all(len({getattr(cell, name) for cell in cells}) > 1 for name in over)
    }


def never_braked(bundle: Bundle) -> frozenset[str]:
    """The messages that some transactional placement may send: a switch would stop them there too."""
    transactional = [placement for placement in bundle.placements.values() if not placement.marketing]
    return frozenset(candidate.message.id for placement in transactional for candidate in placement.candidates)


def brakes(evidence: Mapping[Cell, Counts], watch: Watch, spared: Collection[str] = ()) -> list[Brake]:
    """The messages that must stop, by what was counted since the last brake of each was lifted."""
    everywhere: dict[Cell, Counts] = {}
    for cell, counts in evidence.items():
        if cell.message in spared:
            continue
        wide = cell._replace(placement=ALL)
        everywhere[wide] = everywhere.get(wide, Counts()) + counts
    worst: dict[str, tuple[float, str]] = {}
    for cell, counts in (everywhere | _sums(everywhere, domain=ALL)).items():
        for excess, why in _excesses(cell, counts, watch):
            worst[cell.message] = max(worst.get(cell.message, (0.0, "")), (excess, why))
    return [Brake(message, why) for message, (_, why) in sorted(worst.items())]


def _alerts(counts: Counts, watch: Watch) -> Iterator[Kind]:
    for kind, limits in _limits(watch):
        found = rate_of(counts, kind)
        if limits.alert is not None and _means_something(found, watch) and found.rate > limits.alert:
            yield kind


def _excesses(cell: Cell, counts: Counts, watch: Watch) -> Iterator[tuple[float, str]]:
    """How many times its limit each rate is that must stop the message, and that in words."""
    for kind, limits in _limits(watch):
        found, limit = rate_of(counts, kind), limits.brake
        if limit is None or not _means_something(found, watch) or found.rate <= limit:
            continue
        healthy = limit if limits.alert is None else min(limits.alert, limit)
        if chance_of_so_many(found.seen, found.of, healthy) < CHANCE_MAX:
            yield found.rate / limit if limit else float(found.seen), _why(cell, kind, found, limit, watch)


def _means_something(found: Measured, watch: Watch) -> bool:
    return found.of >= watch.at_least and found.seen >= PEOPLE_MIN


def _limits(watch: Watch) -> Iterable[tuple[Kind, Rate]]:
    return [(kind, watch.rates[kind]) for kind in Kind if kind in watch.rates]


def _why(cell: Cell, kind: Kind, found: Measured, limit: float, watch: Watch) -> str:
    what, of = _WORDS[kind]
    to = "" if cell.domain == ALL else f" to {cell.domain}"
    interval = f"[{found.low * 100:.2f}–{found.high * 100:.2f} %]"
    return (
        f"{what} {found.rate * 100:.2f} % {interval} of {found.of:,} {of}{to} in {_span(watch.window_ms)}, limit "
        f"{limit * 100:.2f} %; lifted by whoever holds `admin`: PUT /v1/switches/message/{cell.message}"
    )


def _span(window_ms: int) -> str:
    hours = window_ms / 3_600_000
    return f"{hours:g} h" if hours < 72 or hours % 24 else f"{hours / 24:g} d"
