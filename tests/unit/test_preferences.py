"""What a recipient may choose, and what is shown of how it stands: as decisions see it."""

from __future__ import annotations

import pytest

from app.core.preferences import Choice, Preferences, contacts_of, of_nobody, preferences, purposes_of
from policy.codes import SuppressionReason
from policy.facts import ConsentEntry, Suppression
from tests.support.contract import contract_bundle

NOW_MS = 1_795_514_400_000
BUNDLE = contract_bundle()


def said(purpose: str, state: str, channel: str = "email", at_ms: int = 1, ends_ms: int | None = None) -> ConsentEntry:
    return ConsentEntry(purpose, channel, state, "consent", "form", at_ms, ends_ms)  # type: ignore[arg-type]  # a state, as its text


def shown(*consent: ConsentEntry, region: str | None = "DE", stops: tuple[Suppression, ...] = ()) -> Preferences:
    return preferences(BUNDLE, "marketing", "email", consent, stops, region, NOW_MS)


def on(found: Preferences) -> set[str]:
    return {choice.purpose for choice in found.choices if choice.on}


def test_a_channel_offers_what_its_marketing_asks_for_the_link_s_own_first_and_personal_facts_last() -> None:
    assert purposes_of(BUNDLE, "marketing", "email") == ("marketing", "partners", "personalisation")
    assert purposes_of(BUNDLE, "partners", "email") == ("partners", "marketing", "personalisation")
    assert purposes_of(BUNDLE, "marketing", "sms") == ("marketing", "personalisation")


def test_a_purpose_that_the_bundle_has_lost_can_still_be_withdrawn() -> None:
    assert purposes_of(BUNDLE, "long_gone", "email")[0] == "long_gone"
    assert purposes_of(BUNDLE, "long_gone", "fax") == ("long_gone", "personalisation")


def test_use_of_personal_facts_is_no_message() -> None:
    assert contacts_of(("marketing", "personalisation", "partners")) == ("marketing", "partners")
    assert shown().choices[-1] == Choice("personalisation", False, False)


def test_what_was_granted_is_on_until_it_ends_or_is_denied() -> None:
    assert on(shown(said("marketing", "granted", "*"))) == {"marketing"}
    assert on(shown(said("marketing", "granted", ends_ms=NOW_MS))) == set()
    assert on(shown(said("marketing", "granted", "*"), said("marketing", "denied"))) == set()


def test_silence_is_on_where_the_law_lets_it_be() -> None:
    assert on(shown()) == set()
    assert on(shown(region="US")) == {"marketing", "partners", "personalisation"}
    assert on(shown(said("marketing", "denied"), region="US")) == {"partners", "personalisation"}


def test_who_may_be_anywhere_can_turn_off_what_is_sent_somewhere() -> None:
    assert on(shown(region=None)) == {"marketing", "partners", "personalisation"}
    assert on(shown(said("marketing", "denied"), region=None)) == {"partners", "personalisation"}


@pytest.mark.parametrize(("scope", "stopped"), [("email", True), ("*", True), ("sms", False)])
def test_a_suppression_of_the_channel_stops_all_of_it(scope: str, stopped: bool) -> None:
    stop = Suppression(scope, SuppressionReason.UNSUBSCRIBED, 1)
    assert shown(stops=(stop,)).stopped is stopped


def test_withdrawn_is_only_what_was_denied_on_this_channel_for_good() -> None:
    entries = (
        said("marketing", "denied"),
        said("partners", "denied", "*"),
        said("personalisation", "denied", ends_ms=NOW_MS + 1),
    )
    assert shown(*entries).refused == {"marketing"}


def test_of_nobody_all_is_off_and_the_erased_get_nothing() -> None:
    unknown, erased = (of_nobody(BUNDLE, "marketing", "email", gone) for gone in (False, True))
    assert (unknown.known, unknown.stopped, on(unknown)) == (False, False, set())
    assert (erased.known, erased.stopped) == (False, True)
