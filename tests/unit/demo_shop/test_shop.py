"""The demo's shop: what its customers did and do, and that the bundle takes all of it."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from functools import cache

import pytest

from app.core.events.event import Collected, Event
from app.core.events.native import message
from app.core.events.quality import Found, Receipt, judge
from app.core.events.who import who_is_it
from app.core.features.history import Arrival, vectors
from app.core.features.plan import FoldPlan
from app.demo_shop import cast, crowd
from app.demo_shop.deeds import Deed, Past, told
from app.demo_shop.house import BUNDLE
from policy.bundle import Bundle
from policy.compile import load
from policy.lint import lint

NOW_MS = 1_796_083_200_000  # 2026-12-01T00:00:00Z


@cache
def bundle() -> Bundle:
    return load(BUNDLE)


def generated(seed: int = 7) -> tuple[list[Past], list[Deed]]:
    """The crowd's past, and the first thousand things it does."""
    chance = random.Random(seed)
    known = crowd.shoppers(30, chance)
    past = crowd.past(known, NOW_MS, chance)
    return past, [due.deed for due in itertools.islice(crowd.future(known, chance), 1_000)]


def features(customer: str, past: list[Past], at_ms: int) -> dict[str, object]:
    """What a customer's past comes to at an instant, by the code that live events are folded with."""
    arrivals = [
        Arrival(each.at_ms, Event(each.deed.event, each.at_ms, each.deed.properties, b"%d" % number))
        for number, each in enumerate(past)
        if each.deed.customer == customer
    ]
    return next(iter(vectors(FoldPlan.of(bundle()), arrivals, [at_ms])))


def test_the_shops_bundle_has_no_mistake() -> None:
    assert lint(BUNDLE).mistakes == ()


def test_the_same_seed_gives_the_same_shop() -> None:
    assert generated() == generated()
    assert generated() != generated(seed=8)


def test_the_past_comes_in_order_of_time_and_ends_before_now() -> None:
    times = [each.at_ms for each in generated()[0]]
    assert times == sorted(times)
    assert times[-1] < NOW_MS


def test_the_crowd_never_stops_and_its_deeds_come_in_order_of_time() -> None:
    chance = random.Random(1)
    due = list(itertools.islice(crowd.future(crowd.shoppers(3, chance), chance), 500))
    assert [each.after_s for each in due] == sorted(each.after_s for each in due)


def test_a_shop_without_a_crowd_has_the_watched_ones_alone() -> None:
    assert list(crowd.future([], random.Random(1))) == []


def everything_told() -> Iterator[dict[str, object]]:
    past, future = generated()
    for number, each in enumerate([*past, *cast.past(NOW_MS)]):
        yield told(each.deed, "first", number, each.at_ms)
    live = (deed for _, deed in itertools.islice(cast.live(), 200))
    for number, deed in enumerate([*future, *live]):
        yield told(deed, "second", number)


def test_an_order_of_another_opening_is_no_repeat() -> None:
    _, future = generated()
    order = next(deed for deed in future if deed.event == "order_completed")
    assert told(order, "a", 1)["properties"]["order_id"] != told(order, "b", 1)["properties"]["order_id"]


def test_the_bundle_takes_everything_that_the_demo_tells() -> None:
    receipt = Receipt(NOW_MS, "key_demo", b"01234567")
    for number, body in enumerate(everything_told()):
        arrived = message(body)
        who = who_is_it(arrived, frozenset())
        judged = judge(arrived, Found(who, str(body["customer"])), bundle().events, receipt, b"k" * 32, number)
        assert isinstance(judged.result, Collected), (body, judged)
        assert judged.properties_dropped == 0


@pytest.mark.parametrize(
    ("customer", "feature", "after_s"),
    [("cart_leaver", "cart_abandoned", cast.CART_IS_OLD_S), ("till_leaver", "checkout_abandoned", cast.TILL_IS_OLD_S)],
)
def test_a_cart_becomes_old_while_one_watches(customer: str, feature: str, after_s: int) -> None:
    past = cast.past(NOW_MS)
    assert features(customer, past, NOW_MS + (after_s - 1) * 1000)[feature] is False
    assert features(customer, past, NOW_MS + (after_s + 1) * 1000)[feature] is True


def test_the_regular_is_one_order_short_of_a_vip() -> None:
    past = cast.past(NOW_MS)
    bought = next(deed for _, deed in cast.live() if deed.event == "order_completed" and deed.customer == "regular")
    assert features("regular", past, NOW_MS)["spend_90d"] == 440.0
    after = features("regular", [*past, Past(NOW_MS + 15_000, bought)], NOW_MS + 16_000)
    assert after["spend_90d"] == 528.0


def test_the_window_shoppers_favourite_goes_from_one_to_the_other_and_back() -> None:
    seen: list[Past] = []
    favourites = []
    for at_s, deed in itertools.takewhile(lambda each: each[0] < 90, cast.live()):
        if deed.customer == "window_shopper":
            seen.append(Past(NOW_MS + round(at_s * 1000), deed))
            favourites.append(features("window_shopper", seen, seen[-1].at_ms)["favourite_category"])
    assert [name for name, _ in itertools.groupby(favourites)][:3] == ["bags", "lighting", "bags"]
