"""Step `limits`: which code a candidate gets, in which order, and what a candidate that must wait is measured by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from app.core.decision import limits as step
from app.core.decision.eligible import Pool
from app.core.decision.exclusion import say
from app.core.decision.ids import base_of, id_at, pack_id, reserved_at_ms
from app.core.decision.limits import Admissible, SendWindow, counted_contacts, limits
from app.core.decision.record import decode
from app.core.decision.replay import replay
from app.core.decision.sending import NEVER, Windows
from app.core.decision.situation import Situation, situation
from policy.bundle import Bundle
from policy.codes import Exclusion
from policy.compile import load
from policy.control import NO_CONTROL, Control
from policy.facts import Contact, PastOutcome
from tests.support.contract import contract_bundle
from tests.support.deciding import DAY_MS, HOUR_MS, NOW_MS, decide, facts_of, kind

FILES = {
    "bundle.yaml": "{name: contacts, owner: growth, currency: EUR}",
    "placements.yaml": """
placements:
  - {id: offers, channel: email, default: mens}
  - {id: texts, channel: sms, default: mens}
  - {id: pledged, channel: push, default: plain, confirm: required, reserve_ttl: 2h}
  - {id: receipts, channel: email, class: transactional, default: receipt}
""",
    "messages.yaml": """
messages:
  - {id: mens, category: mens, placements: [offers, texts, pledged]}
  - {id: womens, category: womens, placements: [offers]}
  - {id: plain, placements: [offers, pledged]}
  - {id: receipt, placements: [receipts]}
""",
    "limits.yaml": """
limits:
  - {id: three_mails, match: {channel: email}, at_most: 3, window: {rolling: 7d}}
  - {id: one_pledge, match: {placement: pledged}, at_most: 1, window: {rolling: 7d}}
  - {id: one_mens_text, match: {channel: sms, category: mens}, at_most: 1, window: {calendar: day, in: customer}}
  - {id: all_mens, budget: {message: mens, at_most: 10, window: {calendar: day, in: UTC}}}
cooldowns:
  - {id: after_purchase, after: converted, match: {category: mens}, for: 3d}
exclusions:
  - {id: never_both, messages: [mens, womens], within: 24h}
fatigue: {half_life: 7d, contact: 1.0, engagement: -1.0, limit: 4.0}
""",
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("contacts")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return load(folder)


def sent(bundle: Bundle, where: str, what: str, ago_ms: int, **more: Any) -> Contact:
    """A contact that was decided and sent so long ago."""
    at_ms = NOW_MS - ago_ms
    packed = pack_id(id_at(base_of(1, at_ms, ago_ms), 0))
    return Contact(packed, kind(bundle.placements[where], what), at_ms, at_ms, **more)


def seen(bundle: Bundle, control: Control = NO_CONTROL, **facts: Any) -> Situation:
    return situation(bundle, facts_of(**facts), {}, 0, control=control)


def check(bundle: Bundle, where: str, contacts: Sequence[Contact] = (), seeing: Situation | None = None) -> Admissible:
    placement = bundle.placements[where]
    pool = Pool(list(range(len(placement.candidates))), {}, [], {})
    return limits(placement, seeing or seen(bundle), pool, contacts)


def codes(bundle: Bundle, where: str, admissible: Admissible) -> dict[str, str]:
    ids = [candidate.message.id for candidate in bundle.placements[where].candidates]
    return {ids[position]: why.code.value for position, why in admissible.excluded.items()}


def test_with_nothing_against_it_every_candidate_is_admissible_at_once(bundle: Bundle) -> None:
    found = check(bundle, "offers", [sent(bundle, "offers", "plain", DAY_MS)])
    assert list(found.positions) == [0, 1, 2]
    assert found.excluded == {}
    assert found.window_of(0) == SendWindow(NOW_MS, NOW_MS + HOUR_MS, "immediate")


def test_a_reached_limit_names_itself_its_window_the_count_and_the_contacts(bundle: Bundle) -> None:
    ledger = [sent(bundle, "offers", "plain", days * DAY_MS) for days in (9, 5, 3, 1)]
    found = check(bundle, "offers", ledger)
    assert found.positions == []
    counted = tuple(contact.decision for contact in ledger[1:])
    assert found.excluded[2] == (Exclusion.LIMIT_REACHED, ("limit", 0, counted))
    assert say(found.excluded[2], bundle) == "three_mails: 3 of 3 in rolling 7d"


def test_a_pause_holds_only_what_it_is_about(bundle: Bundle) -> None:
    bought = PastOutcome("converted", kind(bundle.placements["offers"], "mens"), NOW_MS - DAY_MS)
    found = check(bundle, "offers", (), seen(bundle, outcomes=(bought,)))
    assert codes(bundle, "offers", found) == {"mens": "cooldown"}
    assert found.excluded[0].detail == ("cooldown", 0, NOW_MS + 2 * DAY_MS)
    assert say(found.excluded[0], bundle) == "after_purchase: 3d after converted, until 2026-11-26T10:00:00Z"


def test_what_excludes_a_message_is_named_with_its_contact(bundle: Bundle) -> None:
    other = sent(bundle, "offers", "womens", HOUR_MS)
    found = check(bundle, "texts", [other])
    assert found.excluded[0] == (Exclusion.EXCLUDED_BY, ("exclusion", 0, "womens", other.decision))
    assert say(found.excluded[0], bundle) == "never_both: womens within 24h"


def test_what_the_same_request_chose_before_excludes_too(bundle: Bundle) -> None:
    """Contacts of the request stand at the end of the ledger, with the window that they were given."""
    now = sent(bundle, "offers", "womens", 0)._replace(not_after_ms=NOW_MS + HOUR_MS)
    assert codes(bundle, "texts", check(bundle, "texts", [now])) == {"mens": "excluded_by"}


def test_fatigue_stops_all_marketing_and_no_transactional_mail(bundle: Bundle) -> None:
    ledger = [sent(bundle, "texts", "mens", minutes * 60_000) for minutes in (50, 40, 30, 20, 10)]
    assert set(codes(bundle, "pledged", check(bundle, "pledged", ledger)).values()) == {"fatigue"}
    assert check(bundle, "receipts", ledger).excluded == {}


def test_at_the_limit_fatigue_stops_and_just_under_it_does_not(bundle: Bundle) -> None:
    four = [sent(bundle, "texts", "mens", 0) for _ in range(4)]
    assert set(codes(bundle, "pledged", check(bundle, "pledged", four)).values()) == {"fatigue"}
    assert check(bundle, "pledged", [sent(bundle, "texts", "mens", 1000), *four[1:]]).excluded == {}


def test_a_limit_of_none_needs_no_contacts() -> None:
    never = contract_bundle()
    assert set(codes(never, "never", check(never, "never")).values()) == {"limit_reached"}


def test_a_spent_budget_stops_its_message_for_everybody(bundle: Bundle) -> None:
    spent = seen(bundle, Control(exhausted=frozenset({0})))
    found = check(bundle, "offers", (), spent)
    assert codes(bundle, "offers", found) == {"mens": "budget_exhausted"}
    assert found.excluded[0].detail == ("budget", 0)


def test_the_first_that_applies_is_the_code(bundle: Bundle) -> None:
    """Take away one reason after the other: limit, cooldown, exclusion, fatigue, budget."""
    texts, spent = bundle.placements["texts"], Control(exhausted=frozenset({0}))
    tiring = [sent(bundle, "pledged", "plain", minutes * 60_000) for minutes in (50, 40, 30, 20, 10)]
    other, full = sent(bundle, "offers", "womens", 9 * 60_000), sent(bundle, "texts", "mens", 8 * 60_000)
    bought = PastOutcome("converted", None, NOW_MS - HOUR_MS)
    expected = [
        ([*tiring, other, full], (bought,), "limit_reached"),
        ([*tiring, other], (bought,), "cooldown"),
        ([*tiring, other], (), "excluded_by"),
        (tiring, (), "fatigue"),
        ([], (), "budget_exhausted"),
    ]
    for contacts, outcomes, code in expected:
        found = check(bundle, texts.id, contacts, seen(bundle, spent, outcomes=outcomes))
        assert codes(bundle, texts.id, found) == {"mens": code}


@pytest.mark.parametrize(("hours", "confirmed", "room"), [(1, False, False), (3, False, True), (3, True, False)])
def test_a_reservation_that_nobody_confirmed_makes_room_again(
    bundle: Bundle, hours: int, confirmed: bool, room: bool
) -> None:
    reserved = sent(bundle, "pledged", "plain", hours * HOUR_MS, confirmed=confirmed)
    assert bool(check(bundle, "pledged", [reserved]).positions) is room


def test_elsewhere_a_reservation_counts_until_it_is_released(bundle: Bundle) -> None:
    ledger = [sent(bundle, "offers", "plain", days * DAY_MS) for days in (5, 3, 1)]
    assert counted_contacts(seen(bundle), ledger) == ledger
    assert check(bundle, "offers", ledger).positions == []


def test_the_time_of_a_reservation_is_read_from_its_id() -> None:
    for at_ms in (0, NOW_MS, 2**44 - 1):
        assert reserved_at_ms(pack_id(id_at(base_of(4095, at_ms, 2**48 - 1), 255))) == at_ms


def test_a_record_of_all_this_decides_again_to_the_same_bytes(bundle: Bundle) -> None:
    """Contacts with what became of them, outcomes, and the time in every id: all of it is in the record."""
    ledger = [
        sent(bundle, "pledged", "plain", 3 * HOUR_MS),
        sent(bundle, "offers", "womens", 2 * HOUR_MS, confirmed=True, engaged=True),
    ]
    bought = PastOutcome("converted", ledger[1].kind, NOW_MS - HOUR_MS)
    facts = facts_of(contacts=tuple(ledger), outcomes=(bought,))
    decided = decide(bundle, facts, ["texts", "offers", "pledged"])
    recorded = decode(decided.record, bundle)
    texts, offers, pledged = recorded.decisions
    assert texts.excluded == {0: (Exclusion.EXCLUDED_BY, ("exclusion", 0, "womens", ledger[1].decision))}
    assert offers.message is not None
    assert offers.message.id == "womens"
    assert pledged.excluded is not None
    assert pledged.excluded[0].detail[3] == pack_id(id_at(recorded.base, 1)), "what this request chose for `offers`"
    assert pledged.message is not None
    assert pledged.message.id == "plain", "whose earlier reservation nobody confirmed"
    assert all(again.same for again in replay(recorded))


# Waiting: measured by what will hold when it may be sent

LATER = SendWindow(NOW_MS + 10 * HOUR_MS, NOW_MS + 11 * HOUR_MS, "customer_hours")


@pytest.fixture
def everybody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    def windows(_: object, __: object, pool: Pool) -> Windows:
        return Windows(None, {}, dict.fromkeys(pool.positions, LATER), {})

    monkeypatch.setattr(step, "windows", windows)


@pytest.mark.usefixtures("everybody_waits")
def test_only_time_against_it_a_candidate_waits(bundle: Bundle) -> None:
    found = check(bundle, "offers", [sent(bundle, "offers", "plain", DAY_MS)])
    assert list(found.positions) == []
    assert dict(found.waiting) == {0: LATER, 1: LATER, 2: LATER}
    assert found.excluded[0] == (Exclusion.QUIET_HOURS, ("wait", LATER.not_before_ms))
    assert say(found.excluded[0], bundle) == "not before 2026-11-24T20:00:00Z"


@pytest.mark.usefixtures("everybody_waits")
def test_what_would_be_excluded_then_does_not_wait(bundle: Bundle) -> None:
    other = sent(bundle, "texts", "mens", -30 * HOUR_MS)  # reserved for the day after tomorrow
    found = check(bundle, "offers", [other])
    assert codes(bundle, "offers", found) == {"mens": "quiet_hours", "womens": "excluded_by", "plain": "quiet_hours"}
    assert set(found.waiting) == {0, 2}


@pytest.mark.usefixtures("everybody_waits")
def test_what_will_be_over_by_then_stands_in_nobodys_way(bundle: Bundle) -> None:
    outcomes = (PastOutcome("converted", None, NOW_MS - 3 * DAY_MS + 9 * HOUR_MS),)
    ledger = [sent(bundle, "offers", "plain", days * DAY_MS) for days in (3, 2)]
    ledger = [sent(bundle, "offers", "plain", 7 * DAY_MS - HOUR_MS), *ledger]
    found = check(bundle, "offers", ledger, seen(bundle, outcomes=outcomes))
    assert set(found.waiting) == {0, 1, 2}


@pytest.mark.usefixtures("everybody_waits")
@pytest.mark.parametrize(("late_ms", "waits"), [(0, True), (1, False)])
def test_a_pause_that_ends_when_sending_may_begin_is_over(bundle: Bundle, late_ms: int, waits: bool) -> None:
    bought = PastOutcome("converted", None, LATER.not_before_ms - 3 * DAY_MS + late_ms)
    found = check(bundle, "texts", (), seen(bundle, outcomes=(bought,)))
    assert (0 in found.waiting) is waits


@pytest.mark.usefixtures("everybody_waits")
def test_who_is_tired_now_is_measured_by_the_morning(bundle: Bundle) -> None:
    four = [sent(bundle, "texts", "mens", 1000 * number) for number in range(4)]
    tired = sent(bundle, "receipts", "receipt", 0)  # transactional: adds nothing
    assert set(check(bundle, "pledged", [tired, *four]).waiting) == {0, 1}


@pytest.mark.usefixtures("everybody_waits")
@pytest.mark.parametrize(("hours", "code"), [(10, "budget_exhausted"), (15, "quiet_hours")])
def test_a_budget_of_today_says_nothing_of_tomorrow(
    bundle: Bundle, hours: int, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is 10:00 in UTC, the zone of the budget: in ten hours it is still today."""
    later = SendWindow(NOW_MS + hours * HOUR_MS, NOW_MS + (hours + 1) * HOUR_MS, "placement_hours")
    monkeypatch.setattr(
        step, "windows", lambda _, __, pool: Windows(None, {}, dict.fromkeys(pool.positions, later), {})
    )
    found = check(bundle, "offers", (), seen(bundle, Control(exhausted=frozenset({0}))))
    assert codes(bundle, "offers", found)["mens"] == code


def test_what_may_never_be_sent_in_time_is_not_looked_at_further(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = SendWindow(NOW_MS, NOW_MS + HOUR_MS, "permitted_hours")
    monkeypatch.setattr(step, "windows", lambda *_: Windows(usual, {}, {}, {0: NEVER}))
    ledger = [sent(bundle, "offers", "plain", days * DAY_MS) for days in (5, 3, 1)]
    found = check(bundle, "offers", ledger)
    assert codes(bundle, "offers", found) == {
        "mens": "quiet_hours", "womens": "limit_reached", "plain": "limit_reached"
    }  # fmt: skip
    assert list(found.positions) == []
    with pytest.raises(KeyError):
        Admissible([], None, {}, {}).window_of(0)
