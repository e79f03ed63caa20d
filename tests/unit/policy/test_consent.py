"""Consent beyond the table in `policy/cases/consent.yaml`: what is laid down in code rather than in examples."""

from __future__ import annotations

from itertools import permutations

import pytest

from policy.bundle import Region
from policy.consent import contact_permission, entry_in_force, permission, personalisation_permission
from tests.support.deciding import denied, granted

US = Region("US", "opt_out", "opt_in")


def test_the_order_in_which_entries_were_stored_does_not_matter() -> None:
    entries = [
        granted("marketing", "email", 5),
        denied("marketing", "*", 6),
        granted("marketing", "sms", 7),
        denied("personalisation", "email", 9),
    ]
    found = {entry_in_force(order, "marketing", "email") for order in permutations(entries)}
    assert found == {denied("marketing", "*", 6)}


def test_contact_and_personalisation_are_asked_in_their_own_columns() -> None:
    assert contact_permission((), "marketing", "email", US).permitted
    assert not personalisation_permission((), "email", US).permitted


def test_personalisation_may_be_allowed_for_one_channel_only() -> None:
    entries = (granted("personalisation", "email"),)
    assert personalisation_permission(entries, "email", None).permitted
    assert not personalisation_permission(entries, "sms", None).permitted


def test_a_grant_gives_its_legal_basis_as_the_ground() -> None:
    entry = granted("marketing")._replace(basis="legitimate_interest")
    assert permission(entry, "opt_in", "DE").basis == "legitimate_interest"


@pytest.mark.parametrize("mode", ["opt_in", "soft_opt_in", None])
def test_silence_permits_nothing_but_under_opt_out(mode: str | None) -> None:
    found = permission(None, mode, "DE")  # type: ignore[arg-type]
    assert (found.permitted, found.state, found.basis) == (False, "unknown", "")


@pytest.mark.parametrize("mode", ["opt_in", "soft_opt_in", "opt_out", None])
def test_a_denial_holds_under_every_mode(mode: str | None) -> None:
    found = permission(denied("marketing"), mode, "US")  # type: ignore[arg-type]
    assert (found.permitted, found.state) == (False, "denied")
