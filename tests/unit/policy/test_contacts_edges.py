"""What is counted of contacts, at the very edges: found by making small mistakes on purpose (`make mutate`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from policy.bundle import Candidate, Cooldown, Fatigue, MutualExclusion, Window
from policy.facts import Contact
from policy.fatigue import fatigue_factors, fatigue_score
from policy.limits import contact_matters, fullest_window
from tests.support.cases import KINDS
from tests.support.contract import contract_bundle
from tests.support.deciding import DAY_MS, NOW_MS, contact

MENS = KINDS["mens_email"]
#: A half-life of a second: every millisecond counts.
QUICK = Fatigue(half_life_s=1, contact=1.0, engagement=-1.0, limit=3.0)


def sent(at_ms: int, engaged: bool = False) -> Contact:
    return Contact(b"", MENS, at_ms, at_ms, True, engaged)


def factor(contacts: list[Contact], fatigue: Fatigue = QUICK) -> float:
    message = replace(contract_bundle().messages[0], id=MENS.message, category=MENS.category)
    (found,) = fatigue_factors(fatigue, contacts, NOW_MS, [Candidate(message, ())])
    return found


def test_who_was_sent_nothing_is_exactly_untired() -> None:
    for engagement in (-1.0, -0.5, 0.0):
        assert fatigue_score(replace(QUICK, engagement=engagement), (), NOW_MS) == 0.0
    assert factor([]) == 1.0


def test_a_contact_of_now_counts_exactly_once() -> None:
    assert fatigue_score(QUICK, [sent(NOW_MS)], NOW_MS) == 1.0
    assert factor([sent(NOW_MS)]) == 1.0 / (1.0 + 1.0 / 3.0)
    assert factor([sent(NOW_MS, engaged=True)]) == 1.0, "what was opened makes up for what was sent, to the last bit"


def test_ten_half_lives_leave_exactly_a_thousand_and_twenty_fourth() -> None:
    assert fatigue_score(QUICK, [sent(NOW_MS - 10_000)], NOW_MS) == 1 / 1024


def test_a_contact_fades_from_its_first_millisecond_on() -> None:
    assert fatigue_score(QUICK, [sent(NOW_MS - 1)], NOW_MS) < 1.0


def test_of_windows_that_are_equally_full_the_contacts_of_the_first_are_named() -> None:
    """So that a record names the same ones when it decides again."""
    first, second = contact(MENS, NOW_MS - 2 * DAY_MS, number=1), contact(MENS, NOW_MS + 5 * DAY_MS, number=2)
    week = Window("rolling", seconds=7 * 86_400)
    assert fullest_window(week, [first, second], NOW_MS, NOW_MS, ()) == (first,)
    day = Window("calendar", unit="day", zone="UTC")
    today, tomorrow = contact(MENS, NOW_MS, number=1), contact(MENS, NOW_MS + DAY_MS, number=2)
    assert fullest_window(day, [today, tomorrow], NOW_MS, NOW_MS + DAY_MS, ()) == (today,)


NOTHING_COUNTED = {"limits": (), "fatigue": None, "exclusions": (), "cooldowns": ()}
IGNORED = Cooldown(0, "pause", "ignored", 3, frozenset({"marketing"}), {}, 60, "1m after 3 ignored")
NEVER_BOTH = MutualExclusion(0, "never_both", frozenset({"mens_email", "womens_email"}), 60, "1m")


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ({}, []),
        ({"fatigue": QUICK}, ["mens_email", "bare_email"]),
        ({"exclusions": (NEVER_BOTH,)}, ["mens_email"]),
        ({"cooldowns": (IGNORED,)}, ["mens_email", "bare_email"]),
        ({"cooldowns": (replace(IGNORED, after="converted"),)}, []),
        ({"exclusions": (NEVER_BOTH,), "cooldowns": (IGNORED,)}, ["mens_email", "bare_email"]),
        ({"fatigue": QUICK, "exclusions": (replace(NEVER_BOTH, messages=frozenset({"receipt"})),)}, None),
    ],
)
def test_a_record_keeps_exactly_the_contacts_from_which_something_is_counted(
    rules: dict[str, Any], kept: list[str] | None
) -> None:
    """One too few and the record could not decide again; one too many is a fact that nobody needed."""
    bundle = replace(contract_bundle(), **(NOTHING_COUNTED | rules))
    names = ("mens_email", "bare_email", "receipt")
    assert [name for name in names if contact_matters(bundle, KINDS[name])] == (list(names) if kept is None else kept)
