"""The eight who are watched. Each plays a part that shows one thing, within the first two minutes.

Their windows are the real ones: whose cart becomes half an hour old while you watch put something into it half an hour
ago, less so many seconds. What they do live is set in seconds of the wall clock, whatever the speed of the crowd.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Iterator
from typing import Any

from app.demo_shop.deeds import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    Deed,
    Past,
    adds,
    orders,
    person,
    sends_back,
    starts_checkout,
    views,
)
from app.demo_shop.goods import PRODUCTS

PARTS = {
    "window_shopper": "looks at bags, then at lights, then at bags",
    "cart_leaver": "left a cart half an hour ago, comes back and buys",
    "till_leaver": "stopped at the till ten minutes ago",
    "regular": "one order short of being a VIP",
    "long_gone": "has not ordered for 200 days, comes back",
    "sender_back": "a VIP who sends a second order back",
    "private": "does not want to be known: gets what everybody gets",
    "refuser": "does not want to be contacted: gets nothing",
}
#: Seconds after the demo's first moment at which a thing becomes true by itself. The past has been loaded by then.
CART_IS_OLD_S = 20
TILL_IS_OLD_S = 32


def people() -> list[dict[str, Any]]:
    return [
        person(
            key,
            marketing="denied" if key == "refuser" else "granted",
            personal="denied" if key == "private" else "granted",
        )
        for key in PARTS
    ]


def past(now_ms: int) -> list[Past]:
    """What they did before, in order of time."""
    chance = random.Random(5)

    def product(category: str) -> Any:
        return chance.choice(PRODUCTS[category])

    found = [
        Past(now_ms - 30 * MINUTE_MS + CART_IS_OLD_S * 1000, adds("cart_leaver", product("kitchen"))),
        Past(now_ms - 10 * MINUTE_MS + TILL_IS_OLD_S * 1000, starts_checkout("till_leaver", 61.5)),
        Past(now_ms - 11 * MINUTE_MS, adds("till_leaver", product("garden"))),
        Past(now_ms - 200 * DAY_MS, orders("long_gone", "lg_1", 82.0)),
        Past(now_ms - 60 * DAY_MS, orders("sender_back", "sb_1", 340.0)),
        Past(now_ms - 30 * DAY_MS, orders("sender_back", "sb_2", 280.0)),
        Past(now_ms - 12 * DAY_MS, orders("sender_back", "sb_3", 95.0)),
        Past(now_ms - 25 * DAY_MS, sends_back("sender_back", "sb_2", 280.0)),
        *(
            Past(now_ms - days * DAY_MS, orders("regular", f"re_{days}", revenue))
            for days, revenue in ((70, 120.0), (41, 155.0), (9, 165.0))
        ),
        *(Past(now_ms - 3 * HOUR_MS + minute * MINUTE_MS, views("private", product("bags"))) for minute in range(6)),
        *(Past(now_ms - 5 * HOUR_MS + minute * MINUTE_MS, views("refuser", product("garden"))) for minute in range(4)),
        *(
            Past(now_ms - 26 * HOUR_MS + minute * MINUTE_MS, views("regular", product("kitchen")))
            for minute in range(5)
        ),
        *(Past(now_ms - 31 * MINUTE_MS, views("cart_leaver", product("kitchen"))) for _ in range(2)),
    ]
    return sorted(found, key=lambda each: each.at_ms)


def live() -> Iterator[tuple[float, Deed]]:
    """What they do while you watch: seconds of the wall clock, and the deed; without end, in order of time."""
    return iter(heapq.merge(*(part() for part in _LIVE), key=lambda each: each[0]))


def _window_shopper() -> Iterator[tuple[float, Deed]]:
    """Looks at one category until it leads by one, then at the other."""
    seen = dict.fromkeys(("bags", "lighting"), 0)
    at_s = 4.0
    for theme, other in itertools.cycle((("bags", "lighting"), ("lighting", "bags"))):
        while seen[theme] <= seen[other] or seen[theme] < 3:
            yield at_s, views("window_shopper", PRODUCTS[theme][seen[theme] % len(PRODUCTS[theme])])
            seen[theme] += 1
            at_s += 2.5
        at_s += 9.0


def _cart_leaver() -> Iterator[tuple[float, Deed]]:
    yield 48.0, views("cart_leaver", PRODUCTS["kitchen"][3])
    yield 52.0, orders("cart_leaver", "cl_1", 37.4)
    for number in itertools.count(2):
        yield 52.0 + 60 * number, views("cart_leaver", PRODUCTS["christmas"][number % 30])


def _till_leaver() -> Iterator[tuple[float, Deed]]:
    yield 75.0, orders("till_leaver", "tl_1", 61.5)


def _regular() -> Iterator[tuple[float, Deed]]:
    yield 12.0, adds("regular", PRODUCTS["kitchen"][0])
    yield 15.0, orders("regular", "re_live", 88.0)


def _long_gone() -> Iterator[tuple[float, Deed]]:
    for number in range(5):
        yield 26.0 + 5 * number, views("long_gone", PRODUCTS["garden"][number])


def _sender_back() -> Iterator[tuple[float, Deed]]:
    yield 40.0, sends_back("sender_back", "sb_3", 95.0)


def _private() -> Iterator[tuple[float, Deed]]:
    for number in itertools.count():
        yield 9.0 + 7 * number, views("private", PRODUCTS["bags"][number % 30])


def _refuser() -> Iterator[tuple[float, Deed]]:
    for number in itertools.count():
        yield 11.0 + 13 * number, views("refuser", PRODUCTS["garden"][number % 30])


_LIVE = (_window_shopper, _cart_leaver, _till_leaver, _regular, _long_gone, _sender_back, _private, _refuser)
