"""Events that do not come, shards that are behind, identities of several customers. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from app.doctor.finding import Finding, Severity
from policy.bundle import Bundle

if TYPE_CHECKING:
    from app.store.estate import Claimed, Streams

#: An event that did not come for so long has probably lost its sender.
SILENT_MS = 7 * 86_400_000
#: Lags that are seen by people, and by every decision that reads a feature.
BEHIND_MS, FAR_BEHIND_MS = 60_000, 600_000
#: Kinds that are one person's: what two customers share of these makes them probably one.
PERSONAL = {"email_sha256": "the hash of an e-mail address", "phone_sha256": "the hash of a telephone number"}


def silent(bundle: Bundle, streams: Streams) -> Iterator[Finding]:
    """Declared events that nobody sends."""
    for event in sorted({rule.id for rule in bundle.events.by_name.values()}):
        last_ms = streams.types_ms.get(event)
        if last_ms is None:
            what, severity = f"event `{event}` has never come", Severity.NOTE
        elif streams.now_ms - last_ms > SILENT_MS:
            days = (streams.now_ms - last_ms) // 86_400_000
            what, severity = f"event `{event}` came last {days} days ago", Severity.WARNING
        else:
            continue
        yield Finding(severity, "event_silent", what, "ask its owner whether it is still sent, and by which name", 1)


def behind(bundle: Bundle, streams: Streams) -> Iterator[Finding]:
    """Shards whose events are not worked off."""
    of = len(streams.applied_ms)
    never = sum(ms is None for ms in streams.applied_ms)
    if streams.collected and never == of:
        yield Finding(
            Severity.SEVERE if any(fact.kind == "feature" for fact in bundle.facts) else Severity.WARNING,
            "no_worker",
            f"{streams.collected:,} events are collected, and no worker has ever run: nothing is made of them",
            "start one: `nextbest worker` (`nextbest serve` starts one by itself)",
            never,
            of,
        )
        return
    lags = [streams.now_ms - ms for ms in streams.applied_ms if ms is not None]
    late = [lag for lag in lags if lag > BEHIND_MS]
    if late:
        yield Finding(
            Severity.SEVERE if max(late) > FAR_BEHIND_MS else Severity.WARNING,
            "shards_behind",
            f"shards are behind, the last one by {max(late) // 1000:,} s: features are as old",
            "start a worker (`nextbest worker`), or more of them: `nextbest_worker_lag_milliseconds` in `/metrics` "
            "shows how far they are",
            len(late),
            of,
        )


def letters(streams: Streams) -> Iterator[Finding]:
    """Events that could not be taken."""
    if streams.letters:
        yield Finding(
            Severity.WARNING,
            "dead_letters",
            f"{streams.letters:,} events could not be taken",
            "`nextbest deadletters list` says why; `nextbest deadletters redrive` judges them again",
            streams.letters,
        )


class Identities:
    """Adds identities up."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()
        self._several: Counter[str] = Counter()
        self._customers: dict[str, set[str]] = {}
        self.all = True  # whether all were added

    def add(self, claimed: Claimed) -> None:
        self._seen[claimed.kind] += 1
        if len(claimed.customers) > 1:
            self._several[claimed.kind] += 1
            self._customers.setdefault(claimed.kind, set()).update(claimed.customers)

    def findings(self) -> Iterator[Finding]:
        for kind, several in sorted(self._several.items()):
            if kind in PERSONAL:
                yield Finding(
                    Severity.WARNING,
                    "duplicates",
                    f"{len(self._customers[kind]):,} customers share {PERSONAL[kind]} with another: they may be one "
                    "person, whose limits are counted twice",
                    "look at one with `nextbest why CUSTOMER --identity`; `nextbest customers merge` makes two one",
                    several,
                    self._seen[kind],
                    not self.all,
                )
            else:
                yield Finding(
                    Severity.NOTE,
                    "shared_identity",
                    f"`{kind}` of several customers: a device that is shared, or an id that is not one person's",
                    "nothing, unless they are many: then see what the sender writes there",
                    several,
                    self._seen[kind],
                    not self.all,
                )
