"""Pauses, exclusions, unconfirmed reservations and fatigue against oracles that look at one minute after the other and
know no cleverness; and what must hold whatever was sent: one more contact never makes anything admissible."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.decision.eligible import Pool
from app.core.decision.ids import base_of, id_at, pack_id
from app.core.decision.limits import limits
from app.core.decision.situation import situation
from policy.bundle import Bundle, Candidate, Cooldown, Fatigue, Limit, MutualExclusion, Placement, Window
from policy.confirmation import counting
from policy.cooldowns import pauses
from policy.exclusions import contacts_near, excluding
from policy.facts import Contact, ContactKind, PastOutcome
from policy.fatigue import fatigue_factors, fatigue_score
from policy.limits import reached_limits
from tests.support.cases import KINDS
from tests.support.contract import contract_bundle
from tests.support.deciding import facts_of

SETTINGS = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
MINUTE_MS = 60_000
#: Minutes of Unix time.
NOON = 29_925_240
MOMENTS = st.integers(NOON - 60, NOON + 60)
ALL_KINDS = sorted(KINDS.values(), key=lambda kind: kind.message)
TWO_KINDS = [KINDS["mens_email"], KINDS["womens_email"]]
LOOKED, RARELY, NOBODY = st.booleans(), st.sampled_from([False] * 9 + [True]), st.just(False)
MATCHES: list[dict[str, str]] = [
    {}, {"channel": "email"}, {"channel": "sms"}, {"category": "mens"}, {"message": "mens_email"},
    {"channel": "email", "category": "mens"}, {"placement": "marketing_email", "category": "womens"},
]  # fmt: skip
CLASSES = st.sampled_from([("marketing",), ("marketing",), ("transactional",), ("marketing", "transactional")])


@st.composite
def ledgers(draw: st.DrawFn, engaged: st.SearchStrategy[bool] = LOOKED, kinds: Any = ALL_KINDS) -> list[Contact]:
    """Contacts at whole minutes, in order of time; reserved shortly before they may go out."""
    found = []
    for number in range(draw(st.integers(0, 7))):
        first, length = draw(MOMENTS), draw(st.sampled_from([0, 0, 5, 30]))
        reserved = first - draw(st.sampled_from([0, 0, 7, 45]))
        packed = pack_id(id_at(base_of(1, reserved * MINUTE_MS, number), 0))
        flags = draw(st.booleans()), draw(engaged)
        kind = draw(st.sampled_from(kinds))
        found.append(Contact(packed, kind, first * MINUTE_MS, (first + length) * MINUTE_MS, *flags))
    return sorted(found, key=lambda each: each.not_before_ms)


def outcomes_of(kinds: Sequence[ContactKind], most: int = 4) -> st.SearchStrategy[list[PastOutcome]]:
    what = st.sampled_from(["converted", "converted", "complained", "opened"])
    when = MOMENTS.map(lambda minute: minute * MINUTE_MS)
    return st.lists(st.builds(PastOutcome, what, st.sampled_from([None, *kinds]), when), max_size=most)


OUTCOMES = outcomes_of(ALL_KINDS)


def of_class_and_match(classes: Sequence[str], match: dict[str, str], kind: ContactKind) -> bool:
    """As a person would check it, column by column."""
    rows = [("channel", kind.channel), ("category", kind.category), ("message", kind.message)]
    rows += [("campaign", kind.campaign), ("placement", kind.placement)]
    return kind.klass in classes and all(match.get(column, value) == value for column, value in rows)


def bound(**rules: Any) -> tuple[Bundle, Placement]:
    """A bundle with these rules and no others, and a placement that all of them bind."""
    indexes = {name: tuple(range(len(each))) for name, each in rules.items()}
    once = replace(contract_bundle().placements["once"], **{"limits": (), **indexes})
    return replace(contract_bundle(), **{"limits": (), "placements": {once.id: once}, **rules}), once


# Limits: which contacts count under which


@SETTINGS
@given(
    contacts=ledgers(),
    authored=st.lists(
        st.tuples(CLASSES, st.sampled_from(MATCHES), st.integers(1, 3), st.integers(1, 90)), min_size=1, max_size=3
    ),
    first=MOMENTS,
    wait=st.sampled_from([0, 30]),
)
def test_every_limit_is_reached_by_the_contacts_that_fit_it_and_no_others(
    contacts: list[Contact], authored: list[tuple[tuple[str, ...], dict[str, str], int, int]], first: int, wait: int
) -> None:
    rules = [
        Limit(index, f"limit_{index}", frozenset(classes), match, at_most, Window("rolling", seconds=length * 60))
        for index, (classes, match, at_most, length) in enumerate(authored)
    ]
    bundle, placement = bound(limits=tuple(rules))
    expected = {}
    for rule, (classes, match, at_most, length) in zip(rules, authored, strict=True):
        counted = [each for each in contacts if of_class_and_match(classes, match, each.kind)]
        for end in range(first, first + wait + length):  # every window that holds some minute of the new contact
            start_ms, end_ms = (end - length) * MINUTE_MS, end * MINUTE_MS
            inside = [each for each in counted if each.not_before_ms <= end_ms and each.not_after_ms > start_ms]
            if len(inside) >= at_most:
                expected[rule.index] = max(len(inside), expected.get(rule.index, 0))
    found = reached_limits(bundle, placement, contacts, first * MINUTE_MS, (first + wait) * MINUTE_MS, lambda: ("UTC",))
    assert {index: len(filling) for index, filling in found.items()} == expected


# Reservations that nobody confirmed


@SETTINGS
@given(contacts=ledgers(), ttl=st.integers(1, 60), now=MOMENTS)
def test_a_reservation_counts_for_as_long_as_a_walk_through_time_says(
    contacts: list[Contact], ttl: int, now: int
) -> None:
    once = replace(
        contract_bundle().placements["once"], id="marketing_email", confirm="required", reserve_ttl_s=ttl * 60
    )
    bundle = replace(contract_bundle(), placements={once.id: once})
    at_ms = {each.decision: int(each.decision.hex()[3:14], 16) for each in contacts}
    found = counting(bundle, contacts, now * MINUTE_MS, at_ms.__getitem__)
    for each in contacts:
        reserved = at_ms[each.decision] // MINUTE_MS
        held = set(range(NOON - 200, reserved + ttl)) | set(range(NOON - 200, each.not_after_ms // MINUTE_MS))
        asked = each.kind.placement == "marketing_email" and not (each.confirmed or each.engaged)
        assert (each in found) is (not asked or now in held)


# Exclusions


@SETTINGS
@given(
    contacts=ledgers(),
    group=st.sets(st.sampled_from(sorted(KINDS)), min_size=2),
    message=st.sampled_from(sorted(KINDS)),
    within=st.integers(1, 40),
    first=MOMENTS,
    wait=st.sampled_from([0, 0, 20]),
)
def test_a_message_is_kept_back_by_what_comes_within_minutes_of_it(
    contacts: list[Contact], group: set[str], message: str, within: int, first: int, wait: int
) -> None:
    bundle, placement = bound(exclusions=(MutualExclusion(0, "group", frozenset(group), within * 60, ""),))
    near = contacts_near(bundle, placement, contacts, first * MINUTE_MS, (first + wait) * MINUTE_MS)
    found = excluding(near.get(0, ()), message)
    mine = range(first, first + wait + 1)
    close = [
        each
        for each in contacts
        if each.kind.message in group - {message}
        and any(
            abs(one - other) <= within
            for one in mine
            for other in range(each.not_before_ms // MINUTE_MS, each.not_after_ms // MINUTE_MS + 1)
        )
    ]
    assert (found is not None) is bool(close)
    assert found is None or found in close


# Pauses


@SETTINGS
@given(
    outcomes=OUTCOMES,
    after=st.sampled_from(["converted", "complained"]),
    match=st.sampled_from(MATCHES),
    classes=CLASSES,
    length=st.integers(1, 60),
    now=MOMENTS,
)
def test_a_pause_holds_in_every_minute_after_an_outcome_that_fits(
    outcomes: list[PastOutcome], after: str, match: dict[str, str], classes: tuple[str, ...], length: int, now: int
) -> None:
    cooldown = Cooldown(0, "pause", after, 1, frozenset(classes), match, length * 60, "")
    bundle, placement = bound(cooldowns=(cooldown,))
    begun = pauses(bundle, placement, outcomes, (), now * MINUTE_MS)
    paused: set[int] = set()
    for what, kind, at_ms in outcomes:
        if what == after and (kind is None or of_class_and_match(classes, match, kind)):
            paused |= set(range(at_ms // MINUTE_MS, at_ms // MINUTE_MS + length))
    later = [minute for minute in paused if minute >= now]
    assert (0 in begun) is bool(later)
    if later:
        assert begun[0] == (max(later) + 1) * MINUTE_MS


@SETTINGS
@given(
    contacts=ledgers(RARELY, TWO_KINDS),
    outcomes=outcomes_of(TWO_KINDS, most=2),
    times=st.integers(1, 3),
    match=st.sampled_from([{}, {}, {"category": "mens"}]),
    length=st.integers(30, 200),
    now=MOMENTS,
)
def test_a_series_is_found_by_counting_back_from_now(
    contacts: list[Contact], outcomes: list[PastOutcome], times: int, match: dict[str, str], length: int, now: int
) -> None:
    cooldown = Cooldown(0, "pause", "ignored", times, frozenset({"marketing"}), match, length * 60, "")
    bundle, placement = bound(cooldowns=(cooldown,))
    found = pauses(bundle, placement, outcomes, contacts, now * MINUTE_MS).get(0)
    bought = [
        at_ms
        for what, kind, at_ms in outcomes
        if what == "converted" and (kind is None or of_class_and_match(("marketing",), match, kind))
    ]
    assert found == _series_by_hand(contacts, bought, times, match, length, now)


def _series_by_hand(
    contacts: list[Contact], bought: list[int], times: int, match: dict[str, str], length: int, now: int
) -> int | None:
    ignored: list[int] = []
    for minute in range(now + 31, NOON - 61, -1):  # a confirmed one may have a window that is not over
        for each in reversed(contacts):
            if each.not_after_ms != minute * MINUTE_MS or each.not_before_ms > now * MINUTE_MS:
                continue
            over = each.confirmed or minute < now
            if not over or not of_class_and_match(("marketing",), match, each.kind):
                continue
            if each.engaged:
                return None
            ignored.append(minute)
            if len(ignored) == times:
                if any(at_ms >= minute * MINUTE_MS for at_ms in bought):
                    return None
                end = ignored[0] + length
                return end * MINUTE_MS if end > now else None
    return None


# Fatigue

FATIGUE = st.builds(Fatigue, st.integers(60, 7200), st.floats(0, 5), st.floats(-5, 5), st.floats(0.01, 10))


@SETTINGS
@given(fatigue=FATIGUE, contacts=ledgers(), now=MOMENTS)
def test_the_score_is_the_sum_that_the_formula_says(fatigue: Fatigue, contacts: list[Contact], now: int) -> None:
    total = 0.0
    for each in contacts:
        if each.kind.klass == "marketing":
            age_s = max(0, now * 60 - each.not_before_ms / 1000)
            total += (fatigue.contact + fatigue.engagement * each.engaged) * 0.5 ** (age_s / fatigue.half_life_s)
    assert fatigue_score(fatigue, contacts, now * MINUTE_MS) == pytest.approx(max(0.0, total), abs=1e-7)


@SETTINGS
@given(fatigue=FATIGUE, contacts=ledgers(), now=MOMENTS, seed=st.integers(0, 100))
def test_the_order_of_contacts_makes_no_difference_to_the_last_bit(
    fatigue: Fatigue, contacts: list[Contact], now: int, seed: int
) -> None:
    shuffled = random.Random(seed).sample(contacts, len(contacts))
    assert fatigue_score(fatigue, contacts, now * MINUTE_MS) == fatigue_score(fatigue, shuffled, now * MINUTE_MS)


@SETTINGS
@given(fatigue=FATIGUE, contacts=ledgers(), now=MOMENTS)
def test_a_factor_comes_from_the_contacts_of_the_category_alone(
    fatigue: Fatigue, contacts: list[Contact], now: int
) -> None:
    names = sorted(KINDS)
    message = contract_bundle().messages[0]
    candidates = [Candidate(replace(message, id=name, category=KINDS[name].category or None), ()) for name in names]
    factors = fatigue_factors(fatigue, contacts, now * MINUTE_MS, candidates)
    for name, factor in zip(names, factors, strict=True):
        category = KINDS[name].category
        alike = [
            each for each in contacts if (each.kind.category == category if category else each.kind.message == name)
        ]
        score = fatigue_score(fatigue, alike, now * MINUTE_MS)
        assert factor == 1 / (1 + score / fatigue.limit)
        assert 0 < factor <= 1


# Everything together

COMPETING = ["mens_email", "womens_email", "mens_sms"]


@st.composite
def rule_books(draw: st.DrawFn) -> tuple[Bundle, Placement]:
    """A placement of three messages under some limits, exclusions, pauses and a fatigue."""
    windows = st.integers(1, 90).map(lambda minutes: Window("rolling", seconds=minutes * 60))
    days = st.sampled_from([Window("calendar", unit="day"), Window("calendar", unit="week", zone="UTC")])
    match = st.sampled_from(MATCHES)
    marketing = frozenset({"marketing"})
    rules = {
        "limits": tuple(
            Limit(index, f"l{index}", marketing, draw(match), draw(st.integers(1, 4)), draw(st.one_of(windows, days)))
            for index in range(draw(st.integers(0, 2)))
        ),
        "cooldowns": tuple(
            Cooldown(
                index,
                f"c{index}",
                draw(st.sampled_from(["ignored", "converted"])),
                draw(st.integers(1, 3)),
                marketing,
                draw(match),
                draw(st.integers(1, 120)) * 60,
                "",
            )
            for index in range(draw(st.integers(0, 2)))
        ),
        "exclusions": tuple(
            MutualExclusion(index, f"e{index}", frozenset(draw(st.sets(st.sampled_from(COMPETING), min_size=2))),
                            draw(st.integers(1, 40)) * 60, "")
            for index in range(draw(st.integers(0, 1)))
        ),
    }  # fmt: skip
    fatigue = draw(st.one_of(st.none(), FATIGUE))
    kinds = [KINDS[name] for name in COMPETING]
    message = contract_bundle().messages[0]
    indexes = {name: tuple(range(len(each))) for name, each in rules.items()}
    candidates = tuple(
        Candidate(
            replace(message, id=kind.message, category=kind.category or None),
            limits=tuple(r.index for r in rules["limits"] if of_class_and_match(("marketing",), dict(r.match), kind)),
            cooldowns=tuple(
                r.index for r in rules["cooldowns"] if of_class_and_match(("marketing",), dict(r.match), kind)
            ),
            exclusions=tuple(r.index for r in rules["exclusions"] if kind.message in r.messages),
        )
        for kind in kinds
    )
    once = replace(
        contract_bundle().placements["once"],
        id="marketing_email",
        candidates=candidates,
        fatigue=fatigue,
        reserve_ttl_s=draw(st.one_of(st.none(), st.integers(60, 3600))),
        **indexes,
    )
    return replace(contract_bundle(), placements={once.id: once}, fatigue=fatigue, **rules), once


def admissible(book: tuple[Bundle, Placement], contacts: Sequence[Contact], outcomes: Any, now: int) -> set[int]:
    bundle, placement = book
    facts = facts_of(now_ms=now * MINUTE_MS, contacts=tuple(contacts), outcomes=tuple(outcomes))
    pool = Pool(list(range(len(placement.candidates))), {}, [], {})
    found = limits(placement, situation(bundle, facts, {}, 0), pool, facts.contacts)
    assert {*found.positions} | {*found.excluded} == {*pool.positions}
    assert not {*found.positions} & {*found.excluded}
    return set(found.positions)


@SETTINGS
@given(book=rule_books(), contacts=ledgers(RARELY), more=ledgers(engaged=NOBODY), outcomes=OUTCOMES, now=MOMENTS)
def test_one_more_contact_never_makes_anything_admissible(
    book: tuple[Bundle, Placement], contacts: list[Contact], more: list[Contact], outcomes: list[PastOutcome], now: int
) -> None:
    """Nor does one less exclude anything. (A contact that was opened may: that is what engagement is for.)"""
    both = sorted([*contacts, *more], key=lambda each: each.not_before_ms)
    assert admissible(book, both, outcomes, now) <= admissible(book, contacts, outcomes, now)


@SETTINGS
@given(book=rule_books(), contacts=ledgers(), now=MOMENTS)
def test_without_rules_and_without_contacts_everything_is_admissible(
    book: tuple[Bundle, Placement], contacts: list[Contact], now: int
) -> None:
    assert admissible(book, (), (), now) == {0, 1, 2}
    bundle, placement = book
    free = tuple(Candidate(each.message, ()) for each in placement.candidates)
    unbound = replace(placement, candidates=free, limits=(), cooldowns=(), exclusions=(), fatigue=None)
    assert admissible((bundle, unbound), contacts, (), now) == {0, 1, 2}
