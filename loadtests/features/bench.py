"""The figures of `docs/features.md`: events folded a second, bytes a customer, microseconds a reading.

CPU time of this process, the best of several rounds: on a machine that does other things, the least disturbed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from app.core.events.event import Event, Scalar
from app.core.features.codec import encode, state_of
from app.core.features.fold import fold
from app.core.features.plan import FoldPlan, State, new_state
from app.core.features.read import read
from policy import source
from policy.feature_rules import feature_rules
from policy.schema import Documents

TWELVE = """
views_1h:     {on: viewed, count: 1, window: 1h}
views_7d:     {on: viewed, count: 1, window: 7d}
views_30d:    {on: viewed, count: 1, window: 30d}
spend_30d:    {on: bought, sum: revenue, window: 30d}
spend_365d:   {on: bought, sum: revenue, window: 365d}
mean_90d:     {on: bought, mean: revenue, window: 90d}
dearest:      {on: viewed, max: price, window: 30d}
products_7d:  {on: viewed, distinct: product, window: 7d}
fading:       {on: viewed, decayed: {half_life: 7d}}
favourite:    {on: [viewed, added], affinity: {key: category, half_life: 14d, top: 3}}
bought_rate:  {rate: {of: bought, per: viewed}, window: 30d}
visits_30d:   {on: [viewed, added, bought], sessions: {gap: 30m}, window: 30d}
"""
TWELVE_MORE = """
adds_7d:      {on: added, count: 1, window: 7d}
adds_30d:     {on: added, count: 1, window: 30d}
orders_30d:   {on: bought, count: 1, window: 30d}
orders_365d:  {on: bought, count: 1, window: 365d}
cheapest:     {on: viewed, min: price, window: 30d}
last_product: {on: viewed, last: product}
last_added:   {on: added, last: category}
since_view:   {on: viewed, recency: minutes}
since_order:  {on: bought, recency: days}
fading_spend: {on: bought, decayed: {half_life: 30d, sum: revenue}}
abandoned:    {funnel: {after: added, without: bought, minutes: 30}}
hours:        {on: viewed, hours: {}, window: 90d}
"""
EVENTS = """
viewed: {properties: {product: {type: string}, category: {type: string}, price: {type: float}}}
added:  {properties: {product: {type: string}, category: {type: string}, price: {type: float}}}
bought: {properties: {revenue: {type: float}, items: {type: int}}}
"""
NOW_MS = 1_795_507_140_000
DAY_MS = 86_400_000
CUSTOMERS, VISITS, ROUNDS = 400, 20, 7


def plan_of(features: str) -> FoldPlan:
    documents = Documents.model_validate(
        {
            "bundle": {"name": "shop", "owner": "growth", "currency": "EUR"},
            "placements": {"placements": []},
            "messages": {"messages": []},
            "features": {"features": source.read(features).data()},
            "events": {"events": source.read(EVENTS).data()},
        }
    )
    return FoldPlan.of_rules(feature_rules(documents))


def history(rng: random.Random) -> list[tuple[int, Event]]:
    """Twenty visits of seven events to each customer in sixty days, more of them lately, in order of time."""
    events = []
    for customer in range(CUSTOMERS):
        for _ in range(VISITS):
            at_ms = NOW_MS - int(rng.random() ** 2 * 60 * DAY_MS)
            for _ in range(rng.randint(2, 12)):
                at_ms += rng.randint(5_000, 200_000)
                events.append((customer, one(customer, at_ms, rng)))
    return sorted(events, key=lambda each: each[1].occurred_at_ms)


def one(customer: int, at_ms: int, rng: random.Random) -> Event:
    chance = rng.random()
    kind = "viewed" if chance < 0.8 else "added" if chance < 0.93 else "bought"
    properties: dict[str, Scalar] = {"revenue": round(rng.random() * 200, 2), "items": rng.randint(1, 5)}
    if kind != "bought":
        category = f"category-{customer % 5 + rng.randrange(4)}"
        price = round(rng.random() * 100, 2)
        properties = {"product": f"p{rng.randint(1, 2000)}", "category": category, "price": price}
    return Event(kind, at_ms, properties, b"")


def folded(plan: FoldPlan, events: list[tuple[int, Event]]) -> list[State]:
    states = [new_state(plan) for _ in range(CUSTOMERS)]
    for customer, event in events:
        fold(plan, states[customer], event)
    return states


def least_s(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


def stored(plan: FoldPlan, state: State) -> dict[str, bytes]:
    return {group.key: encode(group, held) for group, held in zip(plan.groups, state, strict=True) if held is not None}


def read_all(plan: FoldPlan, customers: list[dict[str, bytes]]) -> None:
    for each in customers:
        read(plan, state_of(plan, each), NOW_MS)


def parse_all(rows: list[list[bytes]], names: list[str]) -> None:
    """What reading as many stored numbers costs."""
    for row in rows:
        values = {}
        for name, text in zip(names, row, strict=True):
            values[name] = float(text) if b"." in text else int(text)


def report(title: str, plan: FoldPlan, rng: random.Random) -> None:
    events = history(rng)
    in_order_s = least_s(lambda: folded(plan, events), 3)
    shuffled = rng.sample(events, len(events))
    shuffled_s = least_s(lambda: folded(plan, shuffled), 3)
    customers = [stored(plan, state) for state in folded(plan, events)]
    sizes = [sum(map(len, each.values())) for each in customers]
    numbers = len(plan.features)
    names = [f"f{number}" for number in range(numbers)]
    rows = [[b"%.4f" % (rng.random() * 1000) if at % 2 else b"%d" % at for at in range(numbers)] for _ in customers]
    reading_us = least_s(lambda: read_all(plan, customers)) / CUSTOMERS * 1e6
    parsing_us = least_s(lambda: parse_all(rows, names)) / CUSTOMERS * 1e6
    print(f"{title}")
    print(f"  fold                {len(events) / in_order_s:8,.0f} events/s   {in_order_s / len(events) * 1e6:.1f} µs")
    print(f"  fold, shuffled      {len(events) / shuffled_s:8,.0f} events/s   {shuffled_s / len(events) * 1e6:.1f} µs")
    print(f"  stored              {sum(sizes) / len(sizes):8.0f} bytes a customer, at most {max(sizes)}")
    print(f"  decode and read     {reading_us:8.1f} µs; {numbers} stored numbers {parsing_us:.1f} µs")


def main() -> None:
    rng = random.Random(1)
    report("12 features over 3 events", plan_of(TWELVE), rng)
    report("24 features over 3 events", plan_of(TWELVE + TWELVE_MORE), rng)


if __name__ == "__main__":
    main()
