"""Online Retail as a shop: its days are moved, its weekdays stay."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.demo_shop import retail

HEAD = "Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
NOW = datetime(2026, 11, 24, 13, 0, tzinfo=UTC)  # a Tuesday
NOW_MS = round(NOW.timestamp() * 1000)
LINES = (
    "RED RETROSPOT MUG,6,2011-11-29 12:00:00,2.55,17850,United Kingdom\n"
    "JUMBO BAG,2,2011-11-29 12:00:00,2.00,17850,United Kingdom\n"
    "JUMBO BAG,-2,2011-12-02 10:00:00,2.00,17850,United Kingdom\n"
    "GLASS LANTERN,1,2011-12-06 13:30:00,4.25,12662,Germany\n"
    "POSTAGE,1,2011-12-08 09:00:00,18.00,,France\n"
    "GLASS LANTERN,1,2011-12-09 12:50:00,4.25,17850,United Kingdom\n"
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "online_retail.csv.gz"
    path.write_bytes(gzip.compress((HEAD + LINES).encode()))
    return path


def test_a_basket_is_an_order_that_was_looked_at_before(file: Path) -> None:
    past = [each for each in retail.shop(file, NOW_MS, 10).past if each.deed.customer == "cus_17850"]
    order = next(each for each in past if each.deed.event == "order_completed")
    assert order.deed.properties["revenue"] == 19.30
    before = [each.deed for each in past if each.at_ms < order.at_ms]
    assert [deed.event for deed in before] == ["product_viewed", "product_added", "product_viewed", "checkout_started"]
    assert [deed.properties.get("category") for deed in before[:3]] == ["kitchen", "kitchen", "bags"]


def test_a_cancellation_is_a_refund(file: Path) -> None:
    deeds = [each.deed for each in retail.shop(file, NOW_MS, 10).future]
    refund = next(deed for deed in deeds if deed.event == "order_refunded")
    assert refund.properties["total"] == 4.0


def test_days_move_by_whole_weeks_and_the_present_lies_three_days_or_more_before_the_end(file: Path) -> None:
    shop = retail.shop(file, NOW_MS, 10)
    order = next(each for each in shop.past if each.deed.event == "order_completed")
    moved = datetime.fromtimestamp(order.at_ms / 1000, UTC) - datetime(2011, 11, 29, 12, 0, tzinfo=UTC)
    assert moved.total_seconds() % (7 * 86_400) == 0
    assert list(shop.future)[-1].after_s >= retail.LIVE_MS / 1000
    assert shop.past[-1].at_ms < NOW_MS


def test_who_orders_next_is_watched_first(file: Path) -> None:
    shop = retail.shop(file, NOW_MS, 1)
    assert shop.watched == ["cus_12662"]
    assert [each["region"] for each in shop.customers] == ["DE"]


def test_lines_without_a_customer_are_nobodys(file: Path) -> None:
    assert {each["customer"] for each in retail.shop(file, NOW_MS, 10).customers} == {"cus_17850", "cus_12662"}


def test_a_file_of_something_else_is_refused_with_what_it_lacks(tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("CustomerID,Country\n1,DE\n")
    with pytest.raises(retail.CannotRead, match="no column Description, Quantity, InvoiceDate, UnitPrice"):
        retail.shop(other, NOW_MS, 1)


def test_a_file_that_is_no_gzip_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "online_retail.csv.gz"
    broken.write_text(HEAD + LINES)
    with pytest.raises(retail.CannotRead, match="cannot be read"):
        retail.shop(broken, NOW_MS, 1)


def test_a_file_without_orders_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "online_retail.csv"
    empty.write_text(HEAD)
    with pytest.raises(retail.CannotRead, match="holds no order"):
        retail.shop(empty, NOW_MS, 1)
