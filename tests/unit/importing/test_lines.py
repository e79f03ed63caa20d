"""Rows as lines of the API."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import Problem
from app.http.customer_bodies import Checker
from app.importing import cells
from app.importing.columns import What, mapped
from app.importing.lines import LineMaker, Said
from app.importing.trouble import Unfit
from tests.support.customers import BUNDLE

AT = "2026-01-01T00:00:00Z"


def line(row: dict[str, Any], what: What = What.CUSTOMERS, **said: Any) -> dict[str, Any]:
    made = LineMaker(what, mapped(row, what, BUNDLE, {}), BUNDLE, Said(**said)).line(row)
    found: dict[str, Any] = json.loads(made)
    return found


def refusal(row: dict[str, Any], what: What = What.CUSTOMERS, **said: Any) -> str:
    with pytest.raises(Unfit) as unfit:
        line(row, what, **said)
    return unfit.value.code


@pytest.mark.parametrize(
    ("name", "cell", "value"),
    [
        ("recency", "3", 3),
        ("recency", " 3.0 ", 3),
        ("recency", 3.0, 3),
        ("recency", True, 1),
        ("recency", Decimal("3"), 3),
        ("recency", "many", "many"),  # the check says what was expected
        ("history", "1e2", 100.0),
        ("history", "142,40", "142,40"),  # nothing is guessed
        ("member", "Yes", True),
        ("member", 0, False),
        ("zip_code", " Urban ", "Urban"),
        ("nickname", 4711, "4711"),
        ("nickname", date(2026, 1, 31), "2026-01-31"),
    ],
)
def test_cells_become_what_the_bundle_declares(name: str, cell: Any, value: Any) -> None:
    found = line({"customer": "c", name: cell})["attributes"][name]
    assert (found, type(found)) == (value, type(value))


def test_an_empty_cell_says_nothing_unless_it_is_told_to_delete() -> None:
    row = {"customer": "c", "recency": "", "history": float("nan"), "region": " ", "nickname": None}
    assert line(row) == {"customer": "c"}
    deleting = line(row, empty_is_null=True)
    assert deleting["attributes"] == {"recency": None, "history": None, "nickname": None}
    assert deleting["region"] is None


def test_an_address_in_clear_becomes_the_digest_that_every_other_route_knows() -> None:
    digest = sha256(b"reader@example.com").hexdigest()
    row = {"customer": "c", "email": " Reader@Example.com", "phone": "+49 30 1234567"}
    made = line(row)
    assert made["identities"] == {"email_sha256": digest, "phone_sha256": sha256(b"+49301234567").hexdigest()}
    assert "example" not in json.dumps(made)
    assert refusal({"customer": "c", "email": "none"}) == "invalid_request"
    assert refusal({"customer": "c", "phone": "030 1234567"}) == "invalid_request"


def test_a_row_without_a_key_is_about_its_strongest_identity() -> None:
    row = {"anonymous_id": "a", "user_id": 7, "email": "reader@example.com"}
    made = line(row)
    assert made["customer"] == {"user_id": "7"}
    assert sorted(made["identities"]) == ["anonymous_id", "email_sha256"]
    assert refusal({"recency": "3"}) == "no_customer"


def test_a_grant_without_a_time_is_refused_and_a_denial_without_one_is_taken() -> None:
    row = {"customer": "c", "consent.marketing.email": "yes"}
    assert refusal(row) == "consent_without_time"
    assert refusal({"customer": "c", "consent": [{"purpose": "marketing", "channel": "*", "state": "granted"}]}) == (
        "consent_without_time"
    )
    assert "at" not in line(row | {"consent.marketing.email": "no"})["consent"][0]
    assert line(row, as_of=AT)["consent"][0]["at"] == AT
    assert "at" not in line(row, undated_is_now=True)["consent"][0]
    assert line(row | {"as_of": AT}, as_of="2026-06-01T00:00:00Z")["consent"][0]["at"] == AT
    assert line(row | {"as_of": AT, "consent.marketing.email.at": "2025-01-01T00:00:00Z"})["consent"][0]["at"] == (
        "2025-01-01T00:00:00Z"
    )


def test_a_word_that_is_neither_a_grant_nor_a_denial_refuses_the_row() -> None:
    assert refusal({"customer": "c", "consent.marketing.email": "maybe", "as_of": AT}) == "invalid_request"


def test_a_consent_a_row() -> None:
    row = {"customer": "c", "purpose": "marketing", "state": "opted-out", "source": "form", "expires_at": ""}
    (entry,) = line(row, What.CONSENT, channel="email")["consent"]
    assert entry == {
        "purpose": "marketing", "channel": "email", "state": "denied", "source": "form", "basis": "consent",
    }  # fmt: skip
    assert refusal(row, What.CONSENT) == "invalid_request"
    assert refusal({"customer": "c", "purpose": "marketing"}, What.CONSENT) == "invalid_request"


def test_a_stop_a_row() -> None:
    row = {"email": "reader@example.com", "reason": "complaint", "at": "2026-01-01T00:00:00Z", "scope": ""}
    made = line(row, What.SUPPRESSIONS, scope="*", reason="manual", source="old_esp")
    assert made == {
        "customer": {"email_sha256": sha256(b"reader@example.com").hexdigest()},
        "scope": "*", "reason": "complaint", "source": "old_esp", "at": "2026-01-01T00:00:00Z",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("cell", "iso"),
    [
        ("2026-01-01T01:00:00+01:00", AT),
        ("1767225600", AT),
        (1_767_225_600_000, AT),
        (datetime(2026, 1, 1, tzinfo=UTC), AT),
        ("2026-01-01 01:00:00", "zone"),
        (date(2026, 1, 1), "zone"),
    ],
)
def test_times_have_a_zone_or_are_told_one(cell: Any, iso: str) -> None:
    if iso != "zone":
        assert cells.instant(cell, None) == iso
    else:
        with pytest.raises(Unfit, match="--zone"):
            cells.instant(cell, None)
        assert cells.instant(cell, ZoneInfo("Europe/Berlin")).startswith(("2026-01-01T00:00", "2025-12-31T23:00"))


@pytest.mark.parametrize("cell", ["soon", "2026-13-01T00:00:00Z", True, -1e30, float("inf"), 10**30, object()])
def test_what_is_no_time_is_refused(cell: Any) -> None:
    with pytest.raises(Unfit):
        cells.instant(cell, ZoneInfo("UTC"))


CELLS = st.none() | st.text(max_size=12) | st.integers() | st.floats() | st.booleans() | st.dates() | st.datetimes()
NAMES = (
    "customer", "email", "recency", "history", "member", "zip_code", "nickname", "region", "consent.marketing.email",
    "as_of", "why", "preferences.best_hours", "consent",
)  # fmt: skip
LISTS = st.lists(st.dictionaries(st.text(max_size=3), CELLS))


@given(st.dictionaries(st.sampled_from(NAMES), CELLS | LISTS, max_size=6))
def test_whatever_a_row_holds_it_is_a_line_or_refused(row: dict[str, Any]) -> None:
    maker = LineMaker(What.CUSTOMERS, mapped(row, What.CUSTOMERS, BUNDLE, {}), BUNDLE, Said(zone=ZoneInfo("UTC")))
    with contextlib.suppress(Unfit, Problem):
        Checker(BUNDLE, b"key").line(maker.line(row))
