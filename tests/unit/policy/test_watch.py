"""Rates of mail, and when a message must stop."""

from __future__ import annotations

from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.outcome_rules import Rate
from policy.rates import chance_of_so_many, measured, wilson
from policy.watch import ALL, Brake, Cell, Counts, Kind, brakes, domain_class, rate_of, table, with_totals
from tests.support.watching import watch

CELL = Cell("weekly", "mens", "gmail")


def stopped(counts: Counts, cell: Cell = CELL, **rates: Rate) -> list[Brake]:
    return brakes({cell: counts}, watch(rates=rates))


# Classes of mailboxes


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("somebody@gmail.com", "gmail"),
        ("Some.Body+tag@GoogleMail.COM", "gmail"),
        ("a@yahoo.co.uk", "yahoo"),
        ("a@aol.com", "yahoo"),
        ("a@hotmail.fr", "microsoft"),
        ("a@outlook.com", "microsoft"),
        ("a@icloud.com", "apple"),
        ("a@web.de", "united_internet"),
        ("a@t-online.de", "t_online"),
        ("pm.me", "proton"),
        ("a@gmail.com.", "gmail"),
        ("a@example.org", "other"),
        ("a@mail.gmail.com", "other"),
        ("a@yahoo.co.jp", "other"),
        ("", "unknown"),
        ("nobody@", "unknown"),
    ],
)
def test_a_domain_counts_in_the_class_of_who_runs_its_mailboxes(address: str, name: str) -> None:
    assert domain_class(address, None) == name
    assert domain_class(address, watch()) == name


def test_a_bundle_names_classes_of_its_own_and_keeps_the_usual_ones() -> None:
    assert domain_class("a@example.com", watch()) == "house"
    assert domain_class("a@example.com", None) == "other"


# Rates


def test_complaints_and_unsubscribes_are_shares_of_what_arrived_and_bounces_of_what_was_tried() -> None:
    counts = Counts(sent=1000, delivered=900, bounced=60, soft_bounced=40, complained=9, unsubscribed=18)
    assert rate_of(counts, Kind.COMPLAINED)[:3] == (9, 900, 0.01)
    assert rate_of(counts, Kind.UNSUBSCRIBED)[:3] == (18, 900, 0.02)
    assert rate_of(counts, Kind.BOUNCED)[:3] == (60, 1000, 0.06)


def test_providers_that_tell_of_no_sending_or_no_delivery_have_rates_all_the_same() -> None:
    assert Counts(delivered=90, bounced=6, soft_bounced=4).tried == 100
    assert Counts(sent=100, bounced=6, soft_bounced=4).reached == 90
    assert rate_of(Counts(complained=2), Kind.COMPLAINED).of == 0


@given(st.integers(0, 60), st.integers(0, 400), st.sampled_from([0.001, 0.02, 0.3, 0.9]))
def test_the_chance_of_so_many_is_the_binomial_tail(count: int, of: int, rate: float) -> None:
    exact = sum(comb(of, k) * rate**k * (1 - rate) ** (of - k) for k in range(count, of + 1))
    assert chance_of_so_many(count, of, rate) == pytest.approx(exact, rel=1e-8, abs=1e-13)


def test_the_chance_is_known_for_large_numbers_and_at_the_ends() -> None:
    assert chance_of_so_many(3_000, 1_000_000, 0.001) == pytest.approx(0, abs=1e-100)
    assert 0.4 < chance_of_so_many(1_000, 1_000_000, 0.001) < 0.6
    assert (chance_of_so_many(1, 10, 0.0), chance_of_so_many(11, 10, 0.5)) == (0, 0)
    assert (chance_of_so_many(0, 10, 0.0), chance_of_so_many(5, 10, 1.0)) == (1, 1)


@given(st.integers(0, 500), st.integers(0, 100_000))
def test_a_rate_lies_within_its_interval_and_that_within_0_and_1(count: int, of: int) -> None:
    found = measured(count, of)
    assert 0 <= found.low <= found.rate + 1e-12
    assert found.rate <= found.high + 1e-12
    assert found.high <= 1


def test_of_nothing_nothing_is_known_and_more_than_all_is_all() -> None:
    assert measured(0, 0) == (0, 0, 0.0, 0.0, 1.0)
    assert measured(5, 2).rate == 1.0
    assert wilson(5, 1200) == pytest.approx((0.00178, 0.00972), abs=1e-5)


# The brake


@pytest.mark.parametrize(
    ("complained", "delivered"), [(3, 200), (5, 1_000), (5, 1_200), (7, 2_000), (10, 3_000), (16, 5_000), (31, 10_000)]
)
def test_complaints_above_the_limit_stop_a_message_and_one_fewer_do_not(complained: int, delivered: int) -> None:
    assert stopped(Counts(delivered=delivered, complained=complained))
    assert not stopped(Counts(delivered=delivered, complained=complained - 1))


def test_a_rate_means_nothing_before_there_are_enough_mails() -> None:
    assert not stopped(Counts(delivered=199, complained=50))
    assert not stopped(Counts(sent=199, bounced=150))
    assert stopped(Counts(sent=200, bounced=50))


def test_exactly_the_limit_is_within_it() -> None:
    assert not stopped(Counts(delivered=100_000, complained=300))
    assert stopped(Counts(delivered=100_000, complained=301))


@given(st.integers(200, 200_000), st.sampled_from([0.0003, 0.0005]))
def test_a_healthy_message_is_not_stopped_by_bad_luck(delivered: int, rate: float) -> None:
    """Chance stops one that does half of what alerts in fewer than 1 of 500 cases, and one at a third in 1 of 1,000."""
    complained = next(k for k in range(delivered) if stopped(Counts(delivered=delivered, complained=k)))
    assert chance_of_so_many(complained, delivered, rate) < (2e-3 if rate == 0.0005 else 1e-3)


def test_without_an_alert_the_limit_itself_must_surely_be_passed() -> None:
    only = Rate(alert=None, brake=0.003)
    assert not stopped(Counts(delivered=5_000, complained=16), complained=only)
    assert stopped(Counts(delivered=5_000, complained=26), complained=only)


def test_a_rate_without_a_brake_stops_nothing() -> None:
    assert not stopped(Counts(delivered=1_000, unsubscribed=900))
    assert not stopped(Counts(delivered=1_000, complained=900), bounced=Rate(alert=0.1, brake=0.2))


def test_the_reason_says_rate_interval_number_class_span_limit_and_who_may_lift_it() -> None:
    (brake,) = stopped(Counts(sent=1_250, delivered=1_200, complained=5))
    assert brake == Brake(
        "mens",
        "complaint rate 0.42 % [0.18–0.97 %] of 1,200 delivered to gmail in 24 h, limit 0.30 %; "
        "lifted by whoever holds `admin`: PUT /v1/switches/message/mens",
    )
    (brake,) = brakes({CELL: Counts(sent=500, bounced=100)}, watch(window_ms=7 * 86_400_000))
    assert brake.why.startswith("hard bounce rate 20.00 % [16.73–23.73 %] of 500 sent to gmail in 7 d, limit 5.00 %")


def test_one_class_of_mailboxes_is_enough_and_so_are_all_together() -> None:
    healthy = Counts(delivered=100_000, complained=10)
    ill = Counts(delivered=1_000, complained=8)
    (brake,) = brakes({CELL: healthy, CELL._replace(domain="yahoo"): ill}, watch())
    assert "1,000 delivered to yahoo" in brake.why
    a_little = Counts(delivered=150, complained=3)
    several = {CELL._replace(domain=name): a_little for name in ("gmail", "yahoo", "other")}
    (brake,) = brakes(several, watch())
    assert "of 450 delivered in 24 h" in brake.why


def test_a_message_is_judged_over_all_placements_since_it_stops_in_all() -> None:
    ill, healthy = Counts(delivered=1_000, complained=6), Counts(delivered=10_000, complained=1)
    assert not brakes({CELL: ill, CELL._replace(placement="daily"): healthy}, watch())
    assert not brakes({CELL: ill, CELL._replace(message="womens"): healthy}, watch(), spared={"mens"})


def test_the_worst_of_several_rates_is_the_reason() -> None:
    (brake,) = stopped(Counts(sent=1_000, delivered=900, bounced=60, complained=9))
    assert brake.why.startswith("complaint rate 1.00 %")


# The table


def test_alerts_need_three_people_and_the_rate() -> None:
    def alerts(**counts: int) -> tuple[Kind, ...]:
        return table({CELL: Counts(**counts)}, watch())[0].alerts

    assert alerts(delivered=2_000, complained=3) == (Kind.COMPLAINED,)
    assert alerts(delivered=3_000, complained=3) == ()
    assert alerts(delivered=300, complained=2) == ()
    assert alerts(sent=1_000, delivered=900, bounced=21, unsubscribed=5) == (Kind.BOUNCED, Kind.UNSUBSCRIBED)


def test_totals_stand_only_where_there_is_something_to_add_up() -> None:
    assert with_totals({CELL: Counts(sent=1)}) == {CELL: Counts(sent=1)}
    both = with_totals({CELL: Counts(sent=1), Cell("daily", "mens", "yahoo"): Counts(sent=2)})
    assert both[Cell(ALL, "mens", ALL)] == Counts(sent=3)


cells = st.builds(Cell, st.sampled_from(["a", "b"]), st.sampled_from(["m", "n"]), st.sampled_from(["gmail", "other"]))
counted = st.dictionaries(cells, st.builds(Counts, sent=st.integers(0, 9), delivered=st.integers(0, 9)))


@given(counted)
def test_every_total_is_the_sum_of_its_parts(parts: dict[Cell, Counts]) -> None:
    for total, counts in with_totals(parts).items():
        covered = [
            part
            for cell, part in parts.items()
            if all(mine in (ALL, other) for mine, other in zip(total, cell, strict=True))
        ]
        assert counts == sum(covered, Counts())
