"""When a failing model is left alone, and when it is tried again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from models.breaker import Breaker


def opened(cool_off_s: float = 5.0) -> Breaker:
    breaker = Breaker(failures_max=2, cool_off_s=cool_off_s)
    breaker.fail(0.0)
    breaker.fail(0.0)
    return breaker


def test_a_failure_alone_changes_nothing() -> None:
    breaker = Breaker(failures_max=2)
    for _ in range(5):
        breaker.fail(0.0)
        assert breaker.admit(0.0)
        breaker.succeed()


def test_failures_in_a_row_stop_all_runs_until_the_cool_off_is_over() -> None:
    breaker = opened()
    assert not breaker.admit(4.9)
    assert breaker.admit(5.0)


def test_only_one_run_probes_a_model_that_may_have_recovered() -> None:
    breaker = opened()
    assert [breaker.admit(6.0) for _ in range(3)] == [True, False, False]


def test_a_good_probe_lets_everything_run_again() -> None:
    breaker = opened()
    breaker.admit(6.0)
    breaker.succeed()
    assert [breaker.admit(6.0) for _ in range(3)] == [True, True, True]


def test_a_bad_probe_starts_another_cool_off() -> None:
    breaker = opened()
    breaker.admit(6.0)
    breaker.fail(6.0)
    assert not breaker.admit(10.9)
    assert breaker.admit(11.0)


def test_a_probe_whose_caller_went_away_makes_room_for_the_next() -> None:
    breaker = opened()
    breaker.admit(6.0)
    breaker.abandon()
    assert breaker.admit(6.0)


@given(st.lists(st.tuples(st.sampled_from(["admit", "succeed", "fail", "abandon"]), st.floats(0, 3)), max_size=60))
def test_a_healthy_model_always_comes_back(history: list[tuple[str, float]]) -> None:
    """Whatever happened: after the cool-off and with no probe going on, a run is admitted, and its success closes."""
    breaker, now_s = Breaker(failures_max=3, cool_off_s=1.0), 0.0
    for what, passed_s in history:
        now_s += passed_s
        if what in ("admit", "fail"):
            getattr(breaker, what)(now_s)
        else:
            getattr(breaker, what)()
    breaker.abandon()
    assert breaker.admit(now_s + 1.0)
    breaker.succeed()
    assert breaker.closed
