"""When something may be sent. Most of it stands in `policy/cases/hours.yaml`, where anybody can read and extend it."""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.core.decision.eligible import Pool
from app.core.decision.sending import SEND_WITHIN_MS, SendWindow, Windows, windows
from app.core.decision.situation import Situation, situation
from policy.bundle import Placement, QuietHours, Region, SendHours
from policy.durations import seconds
from policy.hours import Hours, choices, longest_wait_ms, minutes_of, next_opening
from policy.schema.rules import DAYS
from tests.support.contract import contract_bundle
from tests.support.deciding import HOUR_MS, NOW_MS, facts_of

CASES = Path(__file__).parents[3] / "policy" / "cases" / "hours.yaml"
TABLE = yaml.load(CASES.read_text(), yaml.BaseLoader)["cases"]
KNOWN = {
    "case", "quiet", "placement hours", "own hours", "message", "valid until", "zone", "country", "now", "answer",
    "because",
}  # fmt: skip
ANSWER = re.compile(r"(?:now|waits until (?P<start>\S+ \d\d:\d\d))(?:, (?:then )?until (?P<end>.+))?")
NIGHT = QuietHours(21 * 60, 8 * 60)


def instant_ms(text: str) -> int:
    return int(datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=UTC).timestamp() * 1000)


def quiet_of(text: str) -> QuietHours:
    hours, _, rest = text.removeprefix("the whole day ").partition(" for ")
    span, _, on = hours.partition("on ")
    found = minutes_of(span.strip()) if span.strip() else (0, 1440)
    assert found is not None, text
    days = {DAYS.index(each) for each in on.split(", ") if each in DAYS}  # type: ignore[arg-type]  # only a day is looked up
    dates = {date.fromisoformat(each) for each in on.split(", ") if each and each not in DAYS}
    narrowed = {each for each in rest.split(", ") if each}
    classes = frozenset(narrowed & {"marketing", "transactional"}) or frozenset({"marketing"})
    return QuietHours(*found, frozenset(days), frozenset(dates), frozenset(narrowed - classes), classes)


def asked(
    quiet: tuple[QuietHours, ...] = (),
    send_hours: SendHours | None = None,
    klass: Any = "marketing",
    channel: str = "email",
    valid_until_ms: tuple[int | None, ...] = (None,),
    **facts: Any,
) -> tuple[Placement, Situation, Pool]:
    """A placement with one candidate for each end of validity, and a customer; quiet hours hold everywhere."""
    bundle = contract_bundle()
    first = bundle.placements["weekly"].candidates[0]
    candidates = tuple(
        dataclasses.replace(first, message=dataclasses.replace(first.message, valid_until_ms=until))
        for until in valid_until_ms
    )
    placement = dataclasses.replace(
        bundle.placements["weekly"], klass=klass, channel=channel, send_hours=send_hours, candidates=candidates
    )
    rows = {code: Region(code, "opt_in", "opt_in", quiet=quiet) for code in ("default", "DE", "US")}
    bundle = dataclasses.replace(bundle, regions=rows)
    return placement, situation(bundle, facts_of(**facts), {}, seed=0), Pool([*range(len(candidates))], {}, [], {})


def found_for(case: dict[str, Any]) -> Windows:
    hours, _, wait = case.get("placement hours", "").partition(" within ")
    span = minutes_of(hours)
    klass, _, channel = case.get("message", "marketing by email").partition(" by ")
    valid_until = case.get("valid until")
    return windows(
        *asked(
            tuple(quiet_of(each) for each in case["quiet"]),
            None if span is None else SendHours(*span, seconds(wait or "24h")),
            klass,
            channel,
            (instant_ms(valid_until) if valid_until else None,),
            now_ms=instant_ms(case["now"]),
            timezone=None if case["zone"] == "none" else case["zone"],
            region=case.get("country"),
            best_hours=case.get("own hours"),
        )
    )


@pytest.mark.parametrize("case", TABLE, ids=[each["case"] for each in TABLE])
def test_hours(case: dict[str, Any]) -> None:
    assert set(case) <= KNOWN
    found = found_for(case)
    if case["answer"] == "never":
        assert found == Windows(None, {}, {}, found.excluded)
        assert found.excluded[0] == ("quiet_hours", ("never",))
        return
    parts = re.fullmatch(
        r"(?:now|waits until (?P<start>\S+ \d\d:\d\d))(?:, (?:then )?until (?P<end>.+))?", case["answer"]
    )
    assert parts is not None, case["answer"]
    if parts["start"]:
        assert (found.usual, found.own, found.excluded) == (None, {}, {})
        window, start_ms = found.waiting[0], instant_ms(parts["start"])
    else:
        assert (found.waiting, found.excluded) == ({}, {})
        window, start_ms = found.own.get(0, found.usual), instant_ms(case["now"])
    assert window is not None
    assert window.not_before_ms == start_ms
    end_ms = instant_ms(parts["end"]) if parts["end"] else start_ms + HOUR_MS
    last_ms = {end_ms - 1, end_ms} if end_ms == start_ms + HOUR_MS else {end_ms - 1}
    assert window.not_after_ms in last_ms
    assert window.basis == case.get("because", window.basis)


def test_every_case_has_a_sentence_of_its_own() -> None:
    sentences = [each["case"] for each in TABLE]
    assert len(sentences) == len(set(sentences))


# What the table does not say


def test_a_window_is_an_hour_at_most_and_ends_a_millisecond_before_what_ends_it() -> None:
    found = windows(
        *asked((QuietHours(0, 60),), valid_until_ms=(None, NOW_MS + HOUR_MS, NOW_MS + HOUR_MS + 1, NOW_MS + 5))
    )
    assert found.usual == SendWindow(NOW_MS, NOW_MS + SEND_WITHIN_MS, "permitted_hours")
    assert found.own == {
        1: SendWindow(NOW_MS, NOW_MS + HOUR_MS - 1, "permitted_hours"),
        3: SendWindow(NOW_MS, NOW_MS + 4, "permitted_hours"),
    }


@pytest.mark.parametrize("off_ms", [0, 1, 29_999, 59_999])
def test_a_window_begins_at_the_very_instant_of_the_question(off_ms: int) -> None:
    """What is looked up by the minute is exact to the millisecond."""
    placement, seen, pool = asked((NIGHT,), now_ms=NOW_MS + off_ms)
    assert windows(placement, seen, pool).usual == SendWindow(
        NOW_MS + off_ms, NOW_MS + off_ms + SEND_WITHIN_MS, "permitted_hours"
    )


@pytest.mark.parametrize(("off_ms", "waits"), [(-1, False), (0, True), (59_999, True)])
def test_the_longest_wait_is_exact_to_the_millisecond(off_ms: int, waits: bool) -> None:
    opens_ms = NOW_MS + 21 * HOUR_MS  # 08:00 in Berlin
    hours = SendHours(8 * 60, 9 * 60, max_wait_s=7200)
    found = windows(*asked(send_hours=hours, now_ms=opens_ms - 2 * HOUR_MS + off_ms))
    assert bool(found.waiting) is waits
    assert bool(found.excluded) is not waits


@pytest.mark.parametrize("last_ms", [1, 60_000])
def test_in_the_last_moment_a_window_is_short_and_never_empty(last_ms: int) -> None:
    night_ms = NOW_MS + 10 * HOUR_MS  # 21:00 in Berlin
    found = windows(*asked((NIGHT,), now_ms=night_ms - last_ms))
    assert found.usual == SendWindow(night_ms - last_ms, night_ms - 1, "permitted_hours")


def test_of_several_candidates_each_waits_for_itself() -> None:
    """At 22:00 in Berlin: valid for ever, until a minute after the night, until its end."""
    opens_ms = NOW_MS + 21 * HOUR_MS
    ends = (None, opens_ms + 60_000, opens_ms, opens_ms + 2 * HOUR_MS)
    found = windows(*asked((NIGHT,), valid_until_ms=ends, now_ms=NOW_MS + 11 * HOUR_MS))
    whole = SendWindow(opens_ms, opens_ms + SEND_WITHIN_MS, "permitted_hours")
    assert found.usual is None
    assert found.waiting == {0: whole, 1: whole._replace(not_after_ms=opens_ms + 59_999), 3: whole}
    assert list(found.excluded) == [2]


def test_a_message_that_is_about_to_end_does_not_make_the_others_ignore_the_customers_own_hours() -> None:
    """Own hours give way where they would leave nothing, not to let the most perishable message win."""
    found = windows(*asked(best_hours="18:00-21:00", valid_until_ms=(None, NOW_MS + HOUR_MS)))
    assert list(found.waiting) == [0]
    assert list(found.excluded) == [1]


def test_a_candidate_that_does_not_compete_has_no_window() -> None:
    placement, seen, _ = asked(valid_until_ms=(NOW_MS + 5, NOW_MS + 6, None))
    found = windows(placement, seen, Pool([1, 2], {}, [], {}))
    assert list(found.own) == [1]


def test_without_candidates_nothing_is_found() -> None:
    placement, seen, _ = asked((NIGHT,), best_hours="22:00-23:00", now_ms=NOW_MS + 11 * HOUR_MS)
    found = windows(placement, seen, Pool([], {}, [], {}))
    assert (found.own, found.waiting, found.excluded) == ({}, {}, {})


def test_the_most_specific_row_of_the_table_speaks_alone() -> None:
    placement, seen, pool = asked((NIGHT,), now_ms=NOW_MS + 11 * HOUR_MS)
    rows = {**seen.bundle.regions, "DE": Region("DE", "opt_in", "opt_in")}
    seen = situation(dataclasses.replace(seen.bundle, regions=rows), seen.facts, {}, seed=0)
    assert windows(placement, seen, pool).usual is not None, (
        "Germany says nothing of quiet hours, though `default` does"
    )


def test_a_regions_own_zones_stand_for_a_zone_that_is_not_known() -> None:
    placement, seen, pool = asked((NIGHT,), timezone=None, region="US", now_ms=NOW_MS + 5 * HOUR_MS)
    eastern = dataclasses.replace(seen.bundle.regions["US"], timezones=("America/New_York",))
    rows = {**seen.bundle.regions, "US": eastern}
    assert windows(placement, seen, pool).usual is None, "15:00 UTC is before eight in Honolulu"
    seen = situation(dataclasses.replace(seen.bundle, regions=rows), seen.facts, {}, seed=0)
    assert windows(placement, seen, pool).usual is not None


def test_what_a_bundle_does_not_use_is_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("nothing binds here")

    monkeypatch.setattr("app.core.decision.sending.next_opening", never)
    monkeypatch.setattr("policy.hours._choices", never)
    placement, seen, pool = asked()
    assert windows(placement, seen, pool).usual == SendWindow(NOW_MS, NOW_MS + SEND_WITHIN_MS, "immediate")


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("18:00-21:00", (1080, 1260)),
        ("22:30-06:15", (1350, 375)),
        ("18:00-00:00", (1080, 0)),
        ("00:00-00:00", (0, 0)),
        (None, None),
        ("", None),
        ("evenings", None),
        ("18-21", None),
        ("18:00-21:00 ", None),
        ("24:00-08:00", None),
        ("18:00-24:00", None),
        ("18:60-21:00", None),
    ],
)
def test_own_hours_are_read_or_there_are_none(text: str | None, minutes: tuple[int, int] | None) -> None:
    assert minutes_of(text) == minutes


def test_hours_may_last_until_midnight_or_the_whole_day() -> None:
    day = date(2026, 11, 24)
    assert Hours("customer_hours", (), minutes_of("18:00-00:00")).open_on(day) == [(1080, 1440)]
    assert Hours("customer_hours", (), minutes_of("08:00-08:00")).open_on(day) == [(0, 1440)], "as long as a day"


def test_a_day_may_have_several_openings_or_none() -> None:
    day = date(2026, 11, 24)
    lunch, rest = QuietHours(720, 840), QuietHours(0, 1440, dates=frozenset({day}))
    assert Hours("permitted_hours", (NIGHT, lunch)).open_on(day) == [(480, 720), (840, 1260)]
    assert Hours("permitted_hours", (NIGHT, lunch, rest)).open_on(day) == []


def test_the_wait_is_a_day_where_the_placement_says_nothing() -> None:
    placement = contract_bundle().placements["weekly"]
    assert longest_wait_ms(placement) == 24 * HOUR_MS
    assert longest_wait_ms(dataclasses.replace(placement, send_hours=SendHours(0, 0, 60))) == 60_000


def test_the_same_hours_are_one_object_so_that_what_follows_is_looked_up() -> None:
    placement, seen, _ = asked((NIGHT,))
    first = choices(seen.bundle, placement, seen.region, "18:00-21:00")
    assert [each.basis for each in first] == ["customer_hours", "permitted_hours"]
    assert choices(seen.bundle, placement, seen.region, "18:00-21:00") is first


def test_a_very_long_wait_finds_the_first_opening() -> None:
    closed = QuietHours(0, 1440, dates=frozenset(date(2026, 12, day) for day in range(1, 31)))
    hours = Hours("permitted_hours", (closed,))
    now_ms = instant_ms("2026-12-01 12:00")
    assert next_opening(hours, ("UTC",), now_ms, 40 * 24 * HOUR_MS, HOUR_MS) == (
        instant_ms("2026-12-31 00:00"), instant_ms("2027-01-01 00:00"),
    )  # fmt: skip
    assert next_opening(hours, ("UTC",), now_ms, 29 * 24 * HOUR_MS, HOUR_MS) is None
