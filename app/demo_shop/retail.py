"""A real shop instead of the invented one: the file of Online Retail (Chen, D., 2015, UCI Machine Learning Repository,
DOI 10.24432/C5BW33, CC BY 4.0), as CSV, gzipped or not.

Its days are moved by whole weeks, so that weekdays and hours stay: the present lies a few days before the file's end.
What came before is the past; what comes after happens live. The file holds orders and cancellations only: that a
product was looked at and put into the cart some minutes before it was ordered is made up here.
"""

from __future__ import annotations

import csv
import gzip
import heapq
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import IO, NamedTuple

from app.demo_shop.deeds import (
    DAY_MS,
    Deed,
    Due,
    Past,
    Shop,
    adds,
    orders,
    person,
    sends_back,
    starts_checkout,
    views,
)
from app.demo_shop.goods import Product

COLUMNS = ("Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
WEEK_MS = 7 * DAY_MS
#: What is left of the file after the present is at least so much: three days at 60 times the speed last over an hour.
LIVE_MS = 3 * DAY_MS
#: Older orders change no feature of the bundle by more than a count.
PAST_MS = 365 * DAY_MS
REGIONS = {"United Kingdom": "GB", "Germany": "DE"}
WATCHED = 8
LINES_SHOWN = 4  # of an order: each is a product that was looked at
#: Words of a description → the shop's category; the first that fits. What fits none has no category.
WORDS = {
    "christmas": ("CHRISTMAS", "XMAS", "ADVENT", "SNOW", "REINDEER", "BAUBLE", "WREATH"),
    "bags": ("BAG", "PURSE", "SUITCASE", "SHOPPER", "WALLET"),
    "lighting": ("LIGHT", "LANTERN", "CANDLE", "LAMP"),
    "kitchen": ("CAKE", "MUG", "TEA", "COFFEE", "KITCHEN", "APRON", "BAKING", "BOWL", "PLATE", "CUP", "JAR", "TIN"),
    "garden": ("GARDEN", "PLANT", "FLOWER", "BIRD", "BUNTING", "PARASOL", "PICNIC"),
}


class CannotRead(Exception):
    """The file is not what it should be; the message says what is missing."""


class Basket(NamedTuple):
    """One order, or one cancellation."""

    customer: str
    at_ms: int  # in the file's own days, as if its clock were UTC
    region: str
    total: float  # pounds; negative: a cancellation
    products: tuple[Product, ...]


def shop(file: Path, now_ms: int, customers: int) -> Shop:
    """The shop of the file: its `customers` who order soonest, and most. Raises CannotRead."""
    baskets = sorted(_baskets(file), key=lambda each: each.at_ms)
    if not baskets:
        raise CannotRead(f"`{file}` holds no order of a known customer")
    shift_ms = _shift_ms(baskets[-1].at_ms, now_ms)
    chosen = _chosen(baskets, now_ms - shift_ms, customers)
    mine = [each for each in baskets if each.customer in chosen]
    past, future = [], []
    for number, basket in enumerate(mine):
        at_ms = basket.at_ms + shift_ms
        if at_ms <= now_ms - PAST_MS:
            continue
        for deed_at_ms, deed in _deeds(basket, at_ms, number):
            if deed_at_ms < now_ms:
                past.append(Past(deed_at_ms, deed))
            else:
                future.append(Due((deed_at_ms - now_ms) / 1000, deed))
    regions = {each.customer: each.region for each in mine}
    return Shop(
        [person(customer, region=region) for customer, region in regions.items()],
        sorted(past, key=itemgetter(0)),
        (),
        iter(sorted(future, key=itemgetter(0))),
        list(chosen)[:WATCHED],
    )


def _shift_ms(last_ms: int, now_ms: int) -> int:
    """Whole weeks, such that the file ends `LIVE_MS` or a little more after now."""
    return -(-(now_ms + LIVE_MS - last_ms) // WEEK_MS) * WEEK_MS


def _chosen(baskets: Sequence[Basket], present_ms: int, count: int) -> dict[str, None]:
    """Those with the next orders first, then those with most orders."""
    often: dict[str, int] = defaultdict(int)
    soon: dict[str, None] = {}
    for each in baskets:
        often[each.customer] += 1
        if each.at_ms >= present_ms and each.total > 0:
            soon.setdefault(each.customer)
    return dict.fromkeys([*soon, *heapq.nlargest(count, often, key=often.__getitem__)][:count])


def _deeds(basket: Basket, at_ms: int, number: int) -> Iterator[tuple[int, Deed]]:
    customer, order_id = basket.customer, f"or_{number}"
    if basket.total < 0:
        yield at_ms, sends_back(customer, order_id, -basket.total)
        return
    for place, product in enumerate(basket.products):
        yield at_ms - (8 - place) * 60_000, views(customer, product)
        if place % 2 == 0:
            yield at_ms - (8 - place) * 60_000 + 30_000, adds(customer, product)
    yield at_ms - 90_000, starts_checkout(customer, basket.total)
    yield at_ms, orders(customer, order_id, basket.total)


def _baskets(file: Path) -> Iterator[Basket]:
    """A basket is what one customer bought (or sent back) at one minute. Raises CannotRead."""
    lines: dict[tuple[str, str, bool], list[Mapping[str, str]]] = defaultdict(list)
    with _readable(file), _opened(file) as text:
        table = csv.DictReader(text)
        missing = [name for name in COLUMNS if name not in (table.fieldnames or ())]
        if missing:
            raise CannotRead(f"`{file}` is not Online Retail: it has no column {', '.join(missing)}")
        for line in table:
            if line["CustomerID"]:
                lines[line["CustomerID"], line["InvoiceDate"], line["Quantity"].startswith("-")].append(line)
    for (customer, date, _), bought in lines.items():
        total = sum(int(line["Quantity"]) * float(line["UnitPrice"]) for line in bought)
        if total:
            at_ms = round(datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp() * 1000)
            region = REGIONS.get(bought[0]["Country"], "GB")
            products = tuple(_product(line) for line in bought[:LINES_SHOWN])
            yield Basket(f"cus_{customer.partition('.')[0]}", at_ms, region, total, products)


def _product(line: Mapping[str, str]) -> Product:
    words = line["Description"].upper()
    name = "_".join(words.lower().split())[:48]
    category = next((each for each, marks in WORDS.items() if any(mark in words for mark in marks)), "other")
    return Product(name or "unnamed", category, float(line["UnitPrice"]))


def _opened(file: Path) -> IO[str]:
    if file.suffix == ".gz":
        return gzip.open(file, "rt", encoding="utf-8", newline="")
    return file.open(encoding="utf-8", newline="")


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise CannotRead(
            f"`{file}` cannot be read ({type(error).__name__}): is it the CSV, or the CSV gzipped?"
        ) from error
