"""Consent at the very edges: found by making small mistakes on purpose (`make mutate`)."""

from __future__ import annotations

from policy.bundle import Region
from policy.consent import contact_permission, merged, personalisation_permission
from tests.support.deciding import denied, granted

NOW_MS = 100
DE = Region("DE", "opt_in", "opt_in")


def test_a_refusal_of_every_channel_outlasts_an_older_grant_and_what_the_other_profile_granted_since() -> None:
    """The one profile withdrew all; that the other, on another device, said yes later is no answer of the first."""
    withdrew = (granted("marketing", "email", 1), denied("marketing", "*", 2))
    granted_later = (granted("marketing", "email", 3),)
    for one, other in ((withdrew, granted_later), (granted_later, withdrew)):
        found = contact_permission(merged(one, other), "marketing", "email", DE, NOW_MS)
        assert (found.permitted, found.state) == (False, "denied")


def test_who_says_nothing_of_a_signal_of_the_browser_means_that_none_came() -> None:
    heeded = Region("US", "opt_out", "opt_out", gpc_denies=frozenset({"marketing", "personalisation"}))
    said = (granted("marketing", "email", 1), granted("personalisation", "*", 1))
    for signal, permitted in (({}, True), ({"gpc": True}, False)):
        assert contact_permission(said, "marketing", "email", heeded, NOW_MS, **signal).permitted is permitted
        assert personalisation_permission(said, "email", heeded, NOW_MS, **signal).permitted is permitted
