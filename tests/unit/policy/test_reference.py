"""docs/policy.md: what a privacy reviewer reads is what runs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import pytest

from policy import reference
from policy.codes import Arm, Degraded, Exclusion, OutcomeType, Reason, Rung, Step, SuppressionReason, SwitchKind

PAGE = Path(__file__).parents[3] / "docs" / "policy.md"


@pytest.mark.parametrize(
    ("codes", "table"),
    [
        (Step, reference.STEPS),
        (Rung, reference.RUNGS),
        (Reason, reference.REASONS),
        (Exclusion, reference.EXCLUSIONS),
        (Degraded, reference.DEGRADATIONS),
        (SuppressionReason, reference.SUPPRESSIONS),
        (SwitchKind, reference.SWITCHES),
        (Arm, reference.ARMS),
        (OutcomeType, reference.OUTCOMES),
    ],
)
def test_every_code_has_a_meaning_in_the_order_of_the_code(codes: type[StrEnum], table: dict[StrEnum, str]) -> None:
    assert list(table) == list(codes)


def test_the_page_holds_every_table_as_the_code_has_it() -> None:
    page = PAGE.read_text("utf-8")
    assert reference.with_tables(page) == page, "run `python -m policy.reference docs/policy.md`"
    assert all(f"<!-- table: {name} -->" in page for name in reference.TABLES)
