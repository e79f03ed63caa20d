"""Which column is which field."""

from __future__ import annotations

import pytest

from app.importing.columns import What, mapped
from app.importing.trouble import Trouble
from tests.support.customers import BUNDLE


def fields(*names: str, what: What = What.CUSTOMERS, **told: str) -> list[str | None]:
    return [column.field for column in mapped(names, what, BUNDLE, told)]


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("customer", "customer"),
        ("Customer ID", "customer"),
        ("recency", "attributes.recency"),
        ("ZIP Code", "attributes.zip_code"),
        ("attributes.recency", "attributes.recency"),
        ("userId", "identities.user_id"),
        ("E-Mail", "email"),
        ("traits.email", "email"),
        ("email_sha256", "identities.email_sha256"),
        ("Country", "region"),
        ("consent.marketing.email", "consent.marketing.email"),
        ("consent.personalisation.*", "consent.personalisation.*"),
        ("consent.marketing.email.at", "consent.marketing.email.at"),
        ("preferences.frequency", "preferences.frequency"),
        ("as_of", "as_of"),
        ("consent", "consent"),
        # When a profile was changed is not when a consent in it was given.
        ("updated_at", None),
        ("consent.astrology.email", None),
        ("loyalty_tier", None),
    ],
)
def test_names_suggest_fields(name: str, field: str | None) -> None:
    assert fields(name) == [field]


def test_the_same_word_means_what_the_kind_of_list_means() -> None:
    assert fields("channel", "timestamp", "status", what=What.CONSENT) == ["channel", "at", "state"]
    assert fields("channel", "type", "timestamp", what=What.SUPPRESSIONS) == ["scope", "reason", "at"]


def test_what_is_told_wins_over_what_a_name_suggests() -> None:
    assert fields("recency", "R", recency="ignore", R="recency") == ["ignore", "attributes.recency"]
    assert fields("kdnr", kdnr="user_id") == ["identities.user_id"]


def test_an_unknown_column_comes_with_the_name_that_may_be_meant() -> None:
    (column,) = mapped(["recensy"], What.CUSTOMERS, BUNDLE, {})
    assert (column.field, column.nearest) == (None, "attributes.recency")


@pytest.mark.parametrize(
    ("names", "told", "says"),
    [
        (["a"], {"b": "customer"}, "no column `b`"),
        (["a"], {"a": "recensy"}, "did you mean `attributes.recency`"),
        (["recency", "Recency"], {}, "both `recency` and `Recency`"),
    ],
)
def test_mistakes_end_before_anything_is_sent(names: list[str], told: dict[str, str], says: str) -> None:
    with pytest.raises(Trouble, match=says):
        mapped(names, What.CUSTOMERS, BUNDLE, told)


def test_a_list_of_stops_has_no_attributes() -> None:
    assert fields("recency", "region", "reason", what=What.SUPPRESSIONS) == [None, None, "reason"]
