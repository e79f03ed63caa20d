"""The customers nobody watches: they come, look around, put something into the cart, buy it or leave it.

All chance is drawn from the seed: the same seed gives the same shop.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from app.demo_shop.deeds import DAY_MS, Deed, Due, Past, adds, orders, person, sends_back, starts_checkout, views
from app.demo_shop.goods import CATEGORIES, PRODUCTS

#: Shares of those who granted both, granted contact only, refused contact.
CONSENT = (("granted", "granted", 0.86), ("granted", "denied", 0.08), ("denied", "granted", 0.06))
VISITS_BEFORE = (1, 6)
DAYS_BEFORE = 90
#: Between two visits of one customer: a busy hour, so that there is something to see.
PAUSE_S_MEAN = 2_400.0


class Shopper(NamedTuple):
    key: str
    likes: str  # the category of most visits


class Moment(NamedTuple):
    after_s: float  # since the visit began
    deed: Deed


def shoppers(count: int, chance: random.Random) -> list[Shopper]:
    return [Shopper(f"cus_{number:05d}", chance.choice(list(CATEGORIES))) for number in range(1, count + 1)]


def people(known: Sequence[Shopper], chance: random.Random) -> list[dict[str, Any]]:
    """Who they are: mostly of the shop's own country, mostly consenting."""
    found = []
    for each in known:
        marketing, personal, _ = chance.choices(CONSENT, [share for *_, share in CONSENT])[0]
        region = "GB" if chance.random() < 0.9 else "DE"
        found.append(person(each.key, marketing=marketing, personal=personal, region=region))
    return found


def visit(shopper: Shopper, chance: random.Random, order_id: str) -> Iterator[Moment]:
    """One visit: two to nine products, three in ten put something into the cart, six in ten of these buy it."""
    at_s = 0.0
    theme = shopper.likes if chance.random() < 0.7 else chance.choice(list(CATEGORIES))
    seen = [chance.choice(PRODUCTS[theme]) for _ in range(chance.randint(2, 9))]
    for product in seen:
        yield Moment(at_s, views(shopper.key, product))
        at_s += chance.uniform(8, 90)
    if chance.random() < 0.3:
        wanted = [product for product in seen if chance.random() < 0.5] or seen[:1]
        for product in wanted:
            yield Moment(at_s, adds(shopper.key, product))
            at_s += chance.uniform(5, 30)
        value = sum(product.price * chance.randint(1, 3) for product in wanted)
        if chance.random() < 0.75:
            yield Moment(at_s, starts_checkout(shopper.key, value))
            at_s += chance.uniform(30, 120)
            if chance.random() < 0.8:
                yield Moment(at_s, orders(shopper.key, order_id, value))
                if chance.random() < 0.05:
                    yield Moment(at_s + 60, sends_back(shopper.key, order_id, value))


def past(known: Sequence[Shopper], now_ms: int, chance: random.Random) -> list[Past]:
    """What they did in the last ninety days, more of it lately."""
    found = []
    for shopper in known:
        for number in range(chance.randint(*VISITS_BEFORE)):
            begun_ms = now_ms - int((0.005 + chance.random() ** 2) * DAYS_BEFORE * DAY_MS)
            for after_s, deed in visit(shopper, chance, f"{shopper.key}_h{number}"):
                at_ms = begun_ms + round(after_s * 1000)
                if at_ms < now_ms:
                    found.append(Past(at_ms, deed))
    return sorted(found, key=lambda each: each.at_ms)


def future(known: Sequence[Shopper], chance: random.Random) -> Iterator[Due]:
    """What they do from now on, without end. Empty where nobody is known."""
    numbers = itertools.count()
    coming = [(chance.uniform(0, PAUSE_S_MEAN), next(numbers), shopper) for shopper in known]
    heapq.heapify(coming)
    going: list[tuple[float, int, Deed]] = []  # of visits that have begun
    while coming:
        while coming[0][0] <= (going[0][0] if going else float("inf")):
            begun_s, number, shopper = coming[0]
            last_s = begun_s
            for after_s, deed in visit(shopper, chance, f"{shopper.key}_l{number}"):
                last_s = begun_s + after_s
                heapq.heappush(going, (last_s, next(numbers), deed))
            pause_s = chance.expovariate(1 / PAUSE_S_MEAN)
            heapq.heapreplace(coming, (last_s + pause_s, next(numbers), shopper))
        due_s, _, deed = heapq.heappop(going)
        yield Due(due_s, deed)
