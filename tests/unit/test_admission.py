"""Load shedding in virtual time: what is let in, what waits, what is refused, and in which order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.admission import HOLD_S, LOOK_EVERY, Admission, Rank
from tests.support.turning import Loop, at_random, evenly

COST_S = 0.0002
PEAK = 1 / COST_S
BUDGET_S = 0.04


class Clock:
    """Time of the clock and of the processor, as a test has them pass."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.cpu_s = 1.0


def admission(clock: Clock, max_in_flight: int | None = None) -> Admission:
    return Admission(max_in_flight, BUDGET_S, lambda: clock.now_s, lambda: clock.cpu_s)


def learn(one: Admission, clock: Clock, cost_s: float, looks: int = 40) -> None:
    """Answer decisions that cost so much processor time each."""
    for _ in range(looks * LOOK_EVERY):
        clock.cpu_s += cost_s
        clock.now_s += cost_s * 4
        one.answered()


@pytest.mark.parametrize(("factor", "at_least"), [(1.5, 0.9), (2.0, 0.85), (4.0, 0.7)])
@pytest.mark.parametrize("budget_s", [0.04, 0.2])
@pytest.mark.parametrize("processor", [1.0, 0.5])
def test_beyond_its_peak_a_server_goes_on_answering_in_time(
    factor: float, at_least: float, budget_s: float, processor: float
) -> None:
    """`processor` 0.5: others take every second moment, which no processor clock tells."""
    peak = PEAK * processor
    loop = Loop(patience_s=budget_s, processor=processor)
    loop.run(at_random(peak * factor, 1.0, budget_s, seed=7))
    assert len(loop.in_time) >= at_least * peak
    assert not loop.late
    assert sorted(loop.refusals_s)[int(0.99 * len(loop.refusals_s))] < 0.005


def test_a_line_is_as_short_as_it_should_be_also_where_others_take_most_of_the_processor() -> None:
    """Only the clock tells how long one waits there: the processor time of a decision is the same as ever."""
    loop = Loop(patience_s=0.2, processor=0.2)
    loop.run(at_random(PEAK * 0.2 * 1.5, 2.0, 0.2, seed=7))
    waits = sorted(loop.waits_s)
    assert waits[len(waits) // 2] < 0.2 * 0.45


@pytest.mark.parametrize("budget_s", [0.025, 0.03])
def test_who_asks_for_less_than_the_bundle_is_begun_in_time_for_what_its_batches_take_or_refused(
    budget_s: float,
) -> None:
    loop = Loop(patience_s=0.2)
    loop.run(at_random(2 * PEAK, 1.0, budget_s, seed=7))
    assert len(loop.in_time) > 0.85 * PEAK
    assert not loop.late


def test_below_its_peak_nothing_is_refused() -> None:
    loop = Loop()
    loop.run(at_random(PEAK * 0.9, 2.0, BUDGET_S, seed=3))
    assert not loop.refusals_s
    assert not loop.late


def test_a_burst_of_patient_requests_is_taken_whole_and_keeps_nobody_waiting() -> None:
    """1,000 requests with two seconds each fall due at once, among others that have 40 ms."""
    loop = Loop()
    hasty = evenly(PEAK * 0.4, 1.0, BUDGET_S)
    loop.run(sorted([*hasty, *[(0.2, 2.0)] * 1_000]))
    assert not loop.refusals_s
    assert not loop.late
    waits = [wait for wait, asked in zip(loop.waits_s, loop.answered, strict=True) if asked.budget_s == BUDGET_S]
    assert max(waits) < BUDGET_S / 2


def test_after_the_load_everything_is_taken_again_at_once() -> None:
    loop = Loop()
    loop.run(at_random(PEAK * 4, 1.0, BUDGET_S, seed=5))
    refused = len(loop.refusals_s)
    assert refused
    loop.run(evenly(PEAK * 0.5, 1.0, BUDGET_S, begin_s=loop.now_s))
    assert len(loop.refusals_s) == refused
    assert not loop.late


def test_a_slow_store_makes_no_line_and_is_no_reason_to_refuse() -> None:
    """300 decisions wait for the store at any time; the processor has little to do."""
    loop = Loop(patience_s=0.2, store_s=0.05)
    loop.run(evenly(3_000, 1.0, 0.2))
    assert not loop.refusals_s
    assert not loop.late


@settings(max_examples=30, deadline=None)
@given(
    rate=st.floats(100, 6 * PEAK),
    cost_s=st.floats(0.00005, 0.0015),
    store_s=st.floats(0.0001, 0.003),
    budgets=st.lists(st.sampled_from([0.02, 0.04, 0.1, 0.5, 2.0]), min_size=1, max_size=3),
)
def test_whatever_the_load_what_is_answered_is_in_time(
    rate: float, cost_s: float, store_s: float, budgets: list[float]
) -> None:
    """All but a few, and those by less than the quantum of 20 ms: once it is known what a decision costs, before which
    a server guesses. A real decision that runs late is cut off by its deadline; these here go on."""
    loop = Loop(patience_s=min(budgets), cost_s=cost_s, store_s=store_s)
    loop.run(evenly(0.5 / cost_s, 0.5, min(budgets)))
    loop.late.clear()
    begin_s, count = loop.now_s, int(rate * 0.3)
    loop.run([(begin_s + n / rate, budgets[n % len(budgets)]) for n in range(count)])
    assert len(loop.late) <= 0.05 * count
    assert all(wait <= asked.budget_s + 0.02 for wait, asked in zip(loop.waits_s, loop.answered, strict=True))
    assert loop.admission.in_flight == loop.admission.waiting == 0


def test_what_matters_least_is_refused_first() -> None:
    clock = Clock()
    one = admission(clock)
    learn(one, clock, COST_S)
    one.line_began()
    clock.now_s += 1.0  # the line stands
    refused_at = {}
    for rank in Rank:
        one.waiting = 0
        while one.has_room(BUDGET_S) if rank is Rank.DECISIONS else one.takes(rank):
            one.waiting += 1
        refused_at[rank] = one.waiting
    assert 0 < refused_at[Rank.BATCH] < refused_at[Rank.EVENTS] < refused_at[Rank.WEBHOOKS] < refused_at[Rank.DECISIONS]


@pytest.mark.parametrize("shed", Rank)
def test_once_something_is_refused_what_matters_less_is_too_for_a_second(shed: Rank) -> None:
    clock = Clock()
    one = admission(clock)
    one.shed(shed)
    assert [rank for rank in Rank if not one.takes(rank)] == [rank for rank in Rank if rank < shed]
    clock.now_s += HOLD_S
    assert all(one.takes(rank) for rank in Rank)


def test_a_decision_that_cannot_wait_at_all_keeps_no_event_out() -> None:
    one = admission(Clock())
    one.shed(Rank.DECISIONS, budget_s=0.005)
    assert one.takes(Rank.EVENTS)


def test_a_bound_that_an_operator_set_is_kept_whatever_was_measured() -> None:
    clock = Clock()
    one = admission(clock, max_in_flight=4)
    learn(one, clock, 0.00001)
    one.in_flight = 3
    assert one.has_room(BUDGET_S)
    one.in_flight = 4
    assert not one.has_room(2.0)
    assert one.alert


def test_other_work_of_the_process_is_not_taken_for_the_cost_of_decisions() -> None:
    """An import keeps the processor busy, and few decisions come: they are not refused for it."""
    clock = Clock()
    one = admission(clock)
    learn(one, clock, cost_s=0.1)
    one.line_began()
    one.waiting = 7
    assert one.has_room(BUDGET_S)
    assert one.delay_s < BUDGET_S / 2


def test_no_more_decisions_are_under_way_than_the_smallest_budget_has_room_for() -> None:
    """The store takes all of a second: none of those that came has ended when the next one comes."""
    loop = Loop(store_s=0.0001)
    loop.run(evenly(PEAK * 0.5, 1.0, 2.0))  # what a decision costs is known now
    most = loop.admission.begun_max
    assert BUDGET_S / 4 < most * COST_S < BUDGET_S
    loop.store_s = 1.0
    loop.run(evenly(PEAK * 0.5, 1.0, 3.0, begin_s=loop.now_s))
    assert most / 2 < loop.most_begun <= max(most, loop.admission.begun_max)
    assert loop.admission.in_flight == loop.admission.waiting == 0


def test_who_finds_no_place_under_way_begins_as_soon_as_another_has_ended() -> None:
    loop = Loop(store_s=0.0001)
    loop.run(evenly(PEAK * 0.5, 1.0, 2.0))
    loop.store_s = 0.02
    before, most = len(loop.in_time), loop.admission.begun_max
    loop.run([(loop.now_s, 2.0)] * 3 * most)
    assert len(loop.in_time) == before + 3 * most
    assert loop.most_begun == most
