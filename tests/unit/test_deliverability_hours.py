"""Hours of counts, and since when they are evidence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from app.core.deliverability import (
    HOUR_MS,
    Judgement,
    Since,
    Turn,
    cells_of,
    document,
    evidence,
    hours_of,
    judgement_of,
    lifts,
    raised,
    whole,
)
from app.core.deliverability_view import NEVER, STALE, Braked, view
from app.telemetry.deliverability import ROWS_MAX, render
from policy.codes import SwitchKind
from policy.watch import WATCH, Cell, Counts, Kind, Row
from tests.support.watching import DAY_MS, NOW_MS, numbers

HOUR = NOW_MS // HOUR_MS
CELL = Cell("weekly", "mens", "gmail")
LIMITS: dict[str, tuple[float | None, float | None]] = {"complained": (0.001, 0.003), "bounced": (0.02, None)}


def off(name: str, at_ms: int = 1, by: str = WATCH, key: str = "") -> Turn:
    return Turn(SwitchKind.MESSAGE, name, True, by, key, at_ms)


def on(name: str, at_ms: int, kind: SwitchKind = SwitchKind.MESSAGE) -> Turn:
    return Turn(kind, name, False, "crm_oncall", "key_1", at_ms)


def judged(*rows: Row, **more: Any) -> Judgement:
    return Judgement(NOW_MS, DAY_MS, 200, LIMITS, rows, 0, {})._replace(**more)


def test_a_window_is_the_hours_that_it_touches() -> None:
    assert list(hours_of(NOW_MS, HOUR_MS)) == [HOUR - 1, HOUR]
    assert len(hours_of(NOW_MS, DAY_MS)) == 25


def test_names_that_nobody_can_read_are_passed_over() -> None:
    spoilt = {
        "": 5,
        "weekly/mens:s": 5,
        "weekly/mens/gmail": 5,
        "weekly/mens/gmail:x": 5,
        "a/b/c/d:s": 5,
        "a/b/c:sd": 5,
    }
    assert cells_of({**spoilt, **numbers(sent=3, bounced=1)}) == {CELL: Counts(sent=3, bounced=1)}
    assert cells_of({"weekly/mens/:s": 4}) == {CELL._replace(domain="unknown"): Counts(sent=4)}


# Lifts


def test_a_lift_is_whatever_ends_a_brake() -> None:
    assert lifts([off("mens", 1), on("mens", 5)]) == {"mens": 5}
    assert lifts([off("mens", 1), on("mens", 5), off("mens", 6), on("mens", 9)]) == {"mens": 9}
    assert lifts([off("mens", 1)]) == {}


def test_whoever_turns_a_braked_message_off_in_their_own_name_lifts_it_in_the_end() -> None:
    assert lifts([off("mens", 1), off("mens", 2, by="crm", key="key_1"), on("mens", 5)]) == {"mens": 5}


def test_a_message_that_somebody_else_turned_off_and_on_was_not_lifted() -> None:
    assert lifts([off("mens", 1, by="crm", key="key_1"), on("mens", 5)]) == {}
    assert lifts([off("mens", 1, key="key_1"), on("mens", 5)]) == {}, "who uses the watch's name is not the watch"
    assert lifts([off("mens", 1), on("mens", 5, SwitchKind.PLACEMENT)]) == {}


# Evidence


def test_what_was_counted_before_a_lift_is_no_evidence_any_more() -> None:
    hours = {HOUR - 1: numbers(sent=500, bounced=100), HOUR: numbers(sent=70, bounced=20)}
    since = raised({}, {"mens": NOW_MS}, hours, NOW_MS)
    assert evidence(hours, {})[CELL] == Counts(sent=570, bounced=120)
    assert evidence(hours, since) == {}
    later = {**hours, HOUR: numbers(sent=90, bounced=21), HOUR + 1: numbers(sent=5)}
    assert evidence(later, since)[CELL] == Counts(sent=25, bounced=1)


def test_a_lift_concerns_its_own_message_alone() -> None:
    hours = {HOUR: {**numbers(sent=9), **numbers("weekly/womens/gmail", sent=8)}}
    since = raised({}, {"mens": NOW_MS}, hours, NOW_MS)
    assert evidence(hours, since) == {Cell("weekly", "womens", "gmail"): Counts(sent=8)}


def test_a_lift_that_is_first_heard_of_in_a_later_hour_leaves_its_own_hour_out() -> None:
    hours = {HOUR - 1: numbers(sent=9), HOUR: numbers(sent=8)}
    since = raised({}, {"mens": NOW_MS - HOUR_MS}, hours, NOW_MS)
    assert since == {"mens": Since(NOW_MS - HOUR_MS, None)}
    assert evidence(hours, since)[CELL] == Counts(sent=8)


def test_what_a_lift_began_with_is_not_looked_at_again() -> None:
    hours = {HOUR: numbers(sent=9)}
    first = raised({}, {"mens": NOW_MS}, hours, NOW_MS)
    assert raised(first, {"mens": NOW_MS}, {HOUR: numbers(sent=99)}, NOW_MS + 10_000) == first
    anew = raised(first, {"mens": NOW_MS + 5}, {HOUR: numbers(sent=99)}, NOW_MS + 10_000)
    assert anew["mens"].before == numbers(sent=99)


def test_a_lift_is_forgotten_once_it_lies_before_the_window_even_if_the_history_is_cut() -> None:
    known = {"mens": Since(NOW_MS, {}), "womens": Since(NOW_MS - 2 * DAY_MS, {})}
    assert raised(known, {}, {HOUR: {}, HOUR - 1: {}}, NOW_MS) == {"mens": known["mens"]}


hour_counts = st.dictionaries(st.sampled_from([*numbers(sent=0, bounced=0, complained=0)]), st.integers(0, 50))


@given(st.lists(hour_counts, min_size=3, max_size=3), st.lists(hour_counts, min_size=3, max_size=3))
def test_evidence_after_a_lift_is_what_was_added_since(before: list[Any], added: list[Any]) -> None:
    """Whatever lay there when the lift was heard of, and in earlier hours, never counts; what comes after does."""
    hours = {HOUR - 2 + n: counts for n, counts in enumerate(before)}
    since = raised({}, {"mens": NOW_MS}, hours, NOW_MS)
    later = {hour: whole({0: counts, 1: more}) for (hour, counts), more in zip(hours.items(), added, strict=True)}
    assert evidence(later, since) == cells_of(added[-1])


# What is kept and shown

ROW = Row(CELL, Counts(1_250, 1_200, 30, 10, 5, 2), (Kind.COMPLAINED,))


def test_a_judgement_is_read_as_it_was_kept() -> None:
    judgement = judged(ROW, since={"mens": Since(5, numbers(sent=1)), "womens": Since(6)})
    assert judgement_of(orjson.loads(orjson.dumps(document(judgement)))) == judgement


@pytest.mark.parametrize("kept", [None, [], {}, {"rows": 5}, 7])
def test_what_is_no_judgement_is_refused(kept: Any) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        judgement_of(kept)


def test_the_view_shows_counts_rates_intervals_limits_and_states() -> None:
    calm = Row(CELL._replace(message="womens"), Counts(sent=300, delivered=300), ())
    few = Row(CELL._replace(message="kids"), Counts(sent=3), ())
    why = "complaint rate 0.42 %"
    shown = view(judged(ROW, calm, few), [Braked("mens", NOW_MS, why)], NOW_MS + 1_000)
    assert (shown["stale"], shown["note"], shown["window_s"], shown["at_least"]) == (False, None, 86_400, 200)
    assert shown["limits"]["complained"] == {"alert": 0.001, "brake": 0.003}
    assert [row["state"] for row in shown["rows"]] == ["braked", "ok", "few"]
    first = shown["rows"][0]
    assert first["rates"]["complained"] == {"rate": 0.004167, "low": 0.001781, "high": 0.009717, "of": 1_200}
    assert first["rates"]["delivered"]["of"] == 1_250
    assert first["counts"]["soft_bounced"] == 10
    assert first["alerts"] == ["complained"]
    (brake,) = shown["brakes"]
    assert brake["lift"] == "PUT /v1/switches/message/mens"
    assert (brake["why"], brake["scope"]) == (why, "admin")
    assert view(judged(ROW), [], NOW_MS)["rows"][0]["state"] == "alert"


def test_what_nobody_looked_at_says_so() -> None:
    assert view(None, [], NOW_MS)["note"] == NEVER
    assert view(judged(), [], NOW_MS + 61_000)["note"] == STALE
    assert (
        view(judged(Row(CELL, Counts(complained=1), ())), [], NOW_MS)["rows"][0]["rates"]["complained"]["rate"] is None
    )


def lines(judgement: Judgement | None, *braked: str) -> list[str]:
    return render(judgement, set(braked), NOW_MS + 2_500).decode().splitlines()


def test_metrics_show_rates_alerts_brakes_and_the_age_of_the_look() -> None:
    found = lines(judged(ROW), "mens")
    assert (
        'nextbest_deliverability_rate{placement="weekly",message="mens",domain="gmail",kind="complained"} 0.00416667'
    ) in found
    labels = 'placement="weekly",message="mens",domain="gmail"'
    assert f'nextbest_deliverability_alert{{{labels},kind="complained"}} 1' in found
    assert f'nextbest_deliverability_alert{{{labels},kind="bounced"}} 0' in found
    assert f"nextbest_deliverability_sent{{{labels}}} 1250" in found
    assert 'nextbest_deliverability_braked{message="mens"} 1' in found
    assert "nextbest_deliverability_age_seconds 2.500" in found
    assert render(None, (), NOW_MS) == b""


def test_metrics_are_bounded_and_what_alerts_is_shown_first() -> None:
    many = [Row(CELL._replace(message=f"m{n}"), Counts(sent=10_000 - n), ()) for n in range(ROWS_MAX)]
    found = lines(judged(*many, ROW, left_out=7))
    assert sum(line.startswith("nextbest_deliverability_sent{") for line in found) == ROWS_MAX
    assert any('message="mens"' in line for line in found)
    assert "nextbest_deliverability_rows_left_out 8" in found


def test_the_alert_rules_that_are_shipped_name_metrics_that_exist() -> None:
    path = Path(__file__).parents[2] / "docs" / "deliverability.alerts.yaml"
    (group,) = yaml.safe_load(path.read_text())["groups"]
    named = set(re.findall(r"nextbest_\w+", " ".join(rule["expr"] for rule in group["rules"])))
    shown = {line.split("{")[0].split(" ")[0] for line in lines(judged(ROW), "mens")}
    assert named
    assert named <= shown
