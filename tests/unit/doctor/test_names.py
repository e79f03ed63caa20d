"""Names that are nearly alike."""

from __future__ import annotations

import pytest

from app.doctor.names import _pairs


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("order_completed", "orders_completed"),
        ("order_completed", "OrderCompleted"),
        ("zip_code", "zipcode"),
        ("favourite_category", "favorite_category"),
        ("product_viewed", "product_viwed"),
    ],
)
def test_a_name_that_was_written_another_way_is_found(one: str, other: str) -> None:
    assert list(_pairs([one, other])) == [tuple(sorted((one, other)))]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("mens", "womens"),
        ("spend_30d", "spend_90d"),
        ("product_views_1h", "product_views_7d"),
        ("product_added", "product_viewed"),
        ("class", "clas_"),
    ],
)
def test_siblings_are_left_alone(one: str, other: str) -> None:
    assert not list(_pairs([one, other]))
