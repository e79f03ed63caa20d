"""What callers were told was done, and what the store says was: counts of every kind are equal, or something is
lost."""

from __future__ import annotations

import time

import redis

from loadtests.events.visible import Visible
from loadtests.mix.findings import Findings
from loadtests.mix.samples import UNKNOWN
from loadtests.mix.schedule import Kind
from loadtests.mix.slo import Goal
from loadtests.mix.stage import Stage
from loadtests.mix.traffic import BATCH_LINES, SDK_MESSAGES, WEBHOOK_ITEMS

APPLIED_WITHIN_S = 60.0
LOOK_S = 0.2


def ever_added(store: redis.Redis, stream: str) -> int:
    """Entries that the streams of all shards ever got, trimmed ones included."""
    names = list(store.scan_iter(f"{{s*}}:{stream}", 1000))
    pipeline = store.pipeline(transaction=False)
    for name in names:
        pipeline.xinfo_stream(name)
    return sum(int(each["entries-added"]) for each in pipeline.execute())


def compare(on: Stage, found: Findings) -> list[Goal]:
    """Of a run that has ended, on a deployment that nobody else used."""
    counts, unknown = found.counts, _unknown(found)
    told = counts.get("events", 0)
    return [
        equal(
            "decisions answered = logged",
            counts.get("decisions", 0),
            ever_added(on.store, "decisions"),
            counts.get("decisions to repeat", 0) + unknown[Kind.DECIDE] + BATCH_LINES * unknown[Kind.BATCH],
        ),
        equal("events accepted = folded", told, _folded(on, told), SDK_MESSAGES * unknown[Kind.EVENTS]),
        equal(
            "outcomes told = noted",
            counts.get("outcomes", 0),
            ever_added(on.store, "outcomes"),
            WEBHOOK_ITEMS * unknown[Kind.WEBHOOKS],
        ),
    ]


def _unknown(found: Findings) -> dict[Kind, int]:
    """Requests of which nobody knows what became of them: each may have done all that it asked for. A 503 too may have
    done a part of it."""
    by_kind = {each.kind: sum(each.failures.get(what, 0) for what in UNKNOWN) for each in found.endpoints}
    return {kind: by_kind.get(kind, 0) for kind in Kind}


def equal(what: str, told: int, found: int, more_at_most: int) -> Goal:
    """`more_at_most`: what may have been done beyond what was told, because nobody knows what became of it. Nothing
    told is nothing shown."""
    wanted = f"{told:,}" + (f" … {told + more_at_most:,}" if more_at_most else "")
    return Goal(
        what=what, wanted=wanted, found=f"{found:,}", met=told <= found <= told + more_at_most if told else None
    )


def _folded(on: Stage, told: int) -> int:
    """Events that the features of all customers have counted, once that is as many as were told, or after a minute."""
    visible = Visible(on.store, on.bundle, on.customers)
    give_up_at = time.monotonic() + APPLIED_WITHIN_S
    while (found := visible.count()) < told and time.monotonic() < give_up_at:
        time.sleep(LOOK_S)
    return found
