"""A year of two shops, folded as it arrives, against the same features in SQL: equal to the last bit.

200 customers of Online Retail and of The Complete Journey, each asked at three random positions of the stream; events
come late, some of them days, and some come twice. `pytest -m long tests/unit/features` does the same with 1,000.
"""

from __future__ import annotations

import csv
import gzip
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from app.core.events.event import Event
from app.core.features.codec import encode, state_of
from app.core.features.fold import fold
from app.core.features.history import Arrival, vectors, without_repeats
from app.core.features.plan import FoldPlan
from app.core.features.read import read
from models.hillstrom import data_folder
from tests.support.folding import plan_of

SQL = Path(__file__).with_name("retail.sql").read_text()
FEATURES = """
lines_7d:        {on: bought, count: 1, window: 7d}
lines_30d:       {on: bought, count: 1, window: 30d}
lines_365d:      {on: bought, count: 1, window: 365d}
spend_90d:       {on: bought, sum: revenue, window: 90d}
returned_ever:   {on: returned, sum: revenue}
mean_30d:        {on: bought, mean: revenue, window: 30d}
cheapest_90d:    {on: bought, min: revenue, window: 90d}
most_365d:       {on: bought, max: quantity, window: 365d}
products_90d:    {on: bought, distinct: product, window: 90d}
last_product:    {on: bought, last: product}
since_days:      {on: bought, recency: days}
return_rate_30d: {rate: {of: returned, per: bought}, window: 30d}
fading_spend:    {on: bought, decayed: {half_life: 14d, sum: revenue}}
favourite:       {on: bought, affinity: {key: product, half_life: 30d}}
visits_30d:      {on: [bought, returned], sessions: {gap: 30m}, window: 30d}
kept_it:         {funnel: {after: bought, without: returned, minutes: 1440}}
hours:           {on: bought, hours: {}, window: 90d}
"""
LINE = "{properties: {revenue: {type: float}, quantity: {type: int}, product: {type: string}}}"
PLAN: FoldPlan = plan_of(FEATURES, f"bought: {LINE}\nreturned: {LINE}")
POSITIONS = 3
MINUTE_MS, DAY_MS = 60_000, 86_400_000


class Ask(NamedTuple):
    customer: str
    now_ms: int


class Shop(NamedTuple):
    """A file of lines of baskets, the column that names the customer, and what a row says."""

    file: str
    customer: str
    event: Callable[[int, dict[str, str]], Event]


def online_retail(number: int, row: dict[str, str]) -> Event:
    """A line that a known customer bought or gave back."""
    quantity = int(row["Quantity"])
    return line_of(number, row["InvoiceDate"], quantity * float(row["UnitPrice"]), quantity, row["Description"])


def complete_journey(number: int, row: dict[str, str]) -> Event:
    """What a household bought of a department; every hundredth line is made a return, as the data has none."""
    quantity = int(row["quantity"]) * (-1 if number % 100 == 0 else 1)
    return line_of(number, row["transaction_timestamp"], float(row["sales_value"]), quantity, row["department"])


SHOPS = {
    "online_retail": Shop("online_retail.csv.gz", "CustomerID", online_retail),
    "complete_journey": Shop("completejourney_baskets.csv.gz", "household_id", complete_journey),
}


def line_of(number: int, at: str, revenue: float, quantity: int, product: str) -> Event:
    at_ms = int(datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp()) * 1000
    properties = {"revenue": revenue, "quantity": quantity, "product": product}
    return Event("returned" if quantity < 0 else "bought", at_ms, properties, number.to_bytes(8, "big"))


def rows_of(shop: Shop) -> Iterator[tuple[str, int, list[str], list[str]]]:
    """Customer, number and fields of every row of somebody who is known, and the names of the fields."""
    file = data_folder() / shop.file
    if not file.exists():
        pytest.skip(f"{shop.file} is not there: set NEXTBEST_DATA to the folder that holds it")
    with gzip.open(file, "rt", encoding="utf-8", newline="") as opened:
        rows = csv.reader(opened)
        names = next(rows)
        place = names.index(shop.customer)
        for number, row in enumerate(rows):
            if row[place]:
                yield row[place], number, row, names


def events_of(shop: Shop, customers: int) -> dict[str, list[Event]]:
    """Of so many customers, chosen at random."""
    rows = list(rows_of(shop))
    chosen = random.Random(4).sample(sorted({each[0] for each in rows}), customers)
    by_customer: dict[str, list[Event]] = {customer: [] for customer in chosen}
    for customer, number, row, names in rows:
        if customer in by_customer:
            by_customer[customer].append(shop.event(number, dict(zip(names, row, strict=True))))
    return by_customer


@pytest.fixture(scope="module", params=[200, pytest.param(1_000, marks=pytest.mark.long)])
def customers(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module", params=SHOPS)
def arrivals(request: pytest.FixtureRequest, customers: int) -> dict[str, list[Arrival]]:
    """What so many customers did, in the order in which it arrived."""
    rng = random.Random(4)
    events = events_of(SHOPS[request.param], customers)
    return {name: sorted(delivered(each, rng), key=lambda arrival: arrival.at_ms) for name, each in events.items()}


def delivered(events: list[Event], rng: random.Random) -> Iterator[Arrival]:
    for event in events:
        late_ms = rng.randrange(3 * DAY_MS) if rng.random() < 0.1 else rng.randrange(5 * MINUTE_MS)
        yield Arrival(event.occurred_at_ms + late_ms, event)
        if rng.random() < 0.05:
            yield Arrival(event.occurred_at_ms + late_ms + rng.randrange(DAY_MS), event)


@pytest.fixture(scope="module")
def asks(arrivals: dict[str, list[Arrival]]) -> list[Ask]:
    """Random positions of each customer's stream, right at an arrival or some time after it."""
    rng = random.Random(5)
    asked = []
    for customer, stream in arrivals.items():
        instants = [rng.choice(stream).at_ms + rng.choice([0, rng.randrange(60 * DAY_MS)]) for _ in range(POSITIONS)]
        asked += [Ask(customer, now_ms) for now_ms in sorted(instants)]
    return asked


@pytest.fixture(scope="module")
def offline(arrivals: dict[str, list[Arrival]], asks: list[Ask]) -> list[dict[str, Any]]:
    """Training rows."""
    instants: dict[str, list[int]] = defaultdict(list)
    for ask in asks:
        instants[ask.customer].append(ask.now_ms)
    return [row for customer in arrivals for row in vectors(PLAN, arrivals[customer], instants[customer])]


def test_what_is_served_is_what_models_are_trained_on(
    arrivals: dict[str, list[Arrival]], asks: list[Ask], offline: list[dict[str, Any]]
) -> None:
    """Online: state is taken from where it is stored and put back there, every few events and before it is read."""
    rng = random.Random(6)
    instants: dict[str, list[int]] = defaultdict(list)
    for ask in asks:
        instants[ask.customer].append(ask.now_ms)
    served = []
    for customer, stream in arrivals.items():
        stored: dict[str, bytes] = {}
        waiting = list(without_repeats(stream))
        for now_ms in instants[customer]:
            while waiting and waiting[0].at_ms <= now_ms:
                arrived = sum(each.at_ms <= now_ms for each in waiting[: rng.randint(1, 20)])
                apply(stored, [each.event for each in waiting[:arrived]])
                del waiting[:arrived]
            served.append(read(PLAN, state_of(PLAN, stored), now_ms))
    assert served == offline


def apply(stored: dict[str, bytes], events: list[Event]) -> None:
    state = state_of(PLAN, stored)
    for index in {index for event in events for index in fold(PLAN, state, event)}:
        held = state[index]
        assert held is not None
        stored[PLAN.groups[index].key] = encode(PLAN.groups[index], held)


def test_sql_over_all_events_finds_the_same(
    arrivals: dict[str, list[Arrival]], asks: list[Ask], offline: list[dict[str, Any]], tmp_path: Path
) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    events, asked = tmp_path / "arrivals.csv", tmp_path / "asks.csv"
    write(events, (columns(customer, each) for customer, stream in arrivals.items() for each in stream))
    write(asked, ((number, *ask) for number, ask in enumerate(asks)))
    with duckdb.connect() as connection:
        connection.execute("SET threads TO 1")
        connection.execute(
            "CREATE TABLE arrivals (customer VARCHAR, occurred BIGINT, arrived BIGINT, message VARCHAR, type VARCHAR,"
            " revenue DOUBLE, quantity BIGINT, product VARCHAR, slot BIGINT, hash UBIGINT)"
        )
        connection.execute("CREATE TABLE asks (ask BIGINT, customer VARCHAR, now BIGINT)")
        # A department without a name is text too, not NULL.
        connection.execute(f"COPY arrivals FROM '{events}' (HEADER false, NULLSTR 'none')")
        connection.execute(f"COPY asks FROM '{asked}' (HEADER false)")
        found = connection.execute(SQL)
        names = [column[0] for column in found.description]
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    assert len(rows) == len(offline) == len(arrivals) * POSITIONS
    for row, ours in zip(rows, offline, strict=True):
        row["fading_spend"] = int(row["fading_spend"]) / (2**32 * 10**4)
        assert {name: value for name, value in row.items() if name != "ask" and value is not None} == ours


def columns(customer: str, arrival: Arrival) -> tuple[Any, ...]:
    event = arrival.event
    product = event.properties["product"]
    digest = blake2b(str(product).encode(), digest_size=8).digest()
    return (
        *(customer, event.occurred_at_ms, arrival.at_ms, event.message_id.hex(), event.type),
        *(event.properties["revenue"], event.properties["quantity"], product),
        *(digest[-1], int.from_bytes(digest, "big")),
    )


def write(path: Path, rows: Iterable[tuple[Any, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as opened:
        csv.writer(opened, quoting=csv.QUOTE_NONNUMERIC).writerows(rows)
