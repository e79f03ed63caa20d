"""Consent beyond the table in `policy/cases/consent.yaml`: what is laid down in code rather than in examples."""

from __future__ import annotations

from itertools import permutations

import pytest

from policy.bundle import ContactMode, Region
from policy.codes import SuppressionReason
from policy.consent import (
    SOFT_BASES,
    WEAKER_BASES,
    contact_permission,
    entry_in_force,
    merged,
    merged_suppressions,
    permission,
    personalisation_permission,
    suffices,
    unknown_region,
)
from policy.facts import Suppression
from tests.support.deciding import denied, granted

NOW_MS = 100
MODES: tuple[ContactMode, ...] = ("opt_in", "soft_opt_in", "opt_out")
US = Region("US", "opt_out", "opt_in")
DE = Region("DE", "opt_in", "opt_in")


def test_the_order_in_which_entries_were_stored_does_not_matter() -> None:
    entries = [
        granted("marketing", "email", 5),
        denied("marketing", "*", 6),
        granted("marketing", "sms", 7),
        denied("personalisation", "email", 9),
    ]
    found = {entry_in_force(order, "marketing", "email", NOW_MS) for order in permutations(entries)}
    assert found == {denied("marketing", "*", 6)}


def test_contact_and_personalisation_are_asked_in_their_own_columns() -> None:
    assert contact_permission((), "marketing", "email", US, NOW_MS).permitted
    assert not personalisation_permission((), "email", US, NOW_MS).permitted


def test_each_column_has_its_own_say_on_bases() -> None:
    entries = (granted("marketing")._replace(basis="implied"), granted("personalisation")._replace(basis="implied"))
    assert contact_permission(entries, "marketing", "email", US, NOW_MS).permitted
    assert not personalisation_permission(entries, "email", US, NOW_MS).permitted


def test_personalisation_may_be_allowed_for_one_channel_only() -> None:
    entries = (granted("personalisation", "email"),)
    assert personalisation_permission(entries, "email", DE, NOW_MS).permitted
    assert not personalisation_permission(entries, "sms", DE, NOW_MS).permitted


@pytest.mark.parametrize("mode", ["opt_in", "soft_opt_in"])
def test_silence_permits_nothing_but_under_opt_out(mode: ContactMode) -> None:
    found = permission(None, mode, DE)
    assert (found.permitted, found.state, found.basis) == (False, "unknown", "")


@pytest.mark.parametrize("mode", MODES)
def test_a_denial_holds_under_every_mode(mode: ContactMode) -> None:
    found = permission(denied("marketing"), mode, US)
    assert (found.permitted, found.state) == (False, "denied")


@pytest.mark.parametrize("expires_ms", [NOW_MS - 1, NOW_MS])
def test_an_entry_says_nothing_from_the_instant_of_its_end(expires_ms: int) -> None:
    ended = granted("marketing", "email")._replace(expires_ms=expires_ms)
    assert entry_in_force([ended], "marketing", "email", NOW_MS) is None
    assert entry_in_force([ended], "marketing", "email", expires_ms - 1) == ended


@pytest.mark.parametrize("basis", sorted(WEAKER_BASES))
def test_which_of_the_weaker_bases_suffice_where(basis: str) -> None:
    assert [suffices(basis, mode, None) for mode in MODES] == [False, basis in SOFT_BASES, True]


@pytest.mark.parametrize("mode", MODES)
def test_a_list_of_bases_is_the_whole_list(mode: ContactMode) -> None:
    assert suffices("double_opt_in", mode, frozenset({"double_opt_in"}))
    assert not suffices("consent", mode, frozenset({"double_opt_in"}))


def test_the_law_where_nobody_knows_the_region_restricts_and_permits_nothing() -> None:
    rows = {
        "default": Region(
            "default", "opt_out", "opt_out", gpc_denies=frozenset({"care"}), bases=frozenset({"consent"})
        ),
        "FR": Region("FR", "opt_in", "opt_in", frozenset({"sensitive:health"}), gpc_denies=frozenset({"marketing"})),
        "IT": Region("IT", "opt_in", "opt_in", frozenset({"sensitive:family"})),
    }
    law = unknown_region(rows)
    assert (law.contact, law.personalisation) == ("opt_in", "opt_in")
    assert law.restricted == {"sensitive:health", "sensitive:family"}
    assert (law.gpc_denies, law.bases) == (frozenset({"care"}), frozenset({"consent"}))


def test_a_denial_of_either_profile_is_kept() -> None:
    assert merged([granted("marketing", "email", 9)], [denied("marketing", "email", 2)]) == (
        denied("marketing", "email", 2),
    )


def test_a_grant_stays_where_the_other_profile_says_nothing() -> None:
    assert merged([granted("marketing", "email", 9)], [granted("care", "sms", 2)]) == (
        granted("care", "sms", 2),
        granted("marketing", "email", 9),
    )


def test_a_denial_of_every_channel_reaches_the_channels_that_only_the_other_profile_names() -> None:
    """Also where it is older than the grant: that was given by somebody who had refused nothing yet."""
    assert merged([granted("marketing", "email", 9)], [denied("marketing", "*", 2)]) == (
        denied("marketing", "*", 2),
        denied("marketing", "email", 2),
    )


def test_a_grant_for_the_channel_that_came_after_a_denial_of_every_channel_stays() -> None:
    mine = (denied("marketing", "*", 2), granted("marketing", "email", 9))
    assert merged(mine, ()) == mine


def test_of_two_denials_the_one_that_lasts_longer_holds() -> None:
    brief, endless = denied("marketing", "email", 9)._replace(expires_ms=50), denied("marketing", "email", 2)
    assert merged([brief], [endless]) == (brief._replace(expires_ms=None),)
    longer = endless._replace(expires_ms=60)
    assert merged([brief], [longer]) == (brief._replace(expires_ms=60),)


def test_a_denial_of_the_channel_outlasts_a_newer_one_of_every_channel() -> None:
    brief, endless = denied("marketing", "*", 9)._replace(expires_ms=50), denied("marketing", "email", 2)
    assert merged([brief, endless], ()) == (brief, denied("marketing", "email", 9))


def test_of_two_grants_the_later_one_is_kept_and_the_earlier_end() -> None:
    old = granted("marketing", "email", 2)._replace(expires_ms=50, basis="existing_customer")
    new = granted("marketing", "email", 9)
    assert merged([old], [new]) == merged([new], [old]) == (new._replace(expires_ms=50),)


def test_every_suppression_of_either_profile_is_kept_since_it_was_last_said() -> None:
    complaint, manual = SuppressionReason.COMPLAINT, SuppressionReason.MANUAL
    mine = [Suppression("email", complaint, 5), Suppression("*", manual, 7)]
    theirs = [Suppression("email", complaint, 3), Suppression("sms", complaint, 1)]
    assert merged_suppressions(mine, theirs) == (
        Suppression("*", manual, 7),
        Suppression("email", complaint, 5),
        Suppression("sms", complaint, 1),
    )
