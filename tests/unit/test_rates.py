"""A rate admits its quota and no more, whatever the order of requests, over threads of time and over processes."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.rates import Rate, parse_rate, standing, take
from app.rate_limits import Limit, OwnCells, SharedCells, open_cells

NS = 1_000_000_000
RATES = st.builds(Rate, st.integers(1, 1000), st.sampled_from([1, 60, 3600]))


@pytest.mark.parametrize(
    ("text", "rate"), [("100/s", Rate(100, 1)), ("6000/min", Rate(6000, 60)), ("1/h", Rate(1, 3600))]
)
def test_a_rate_is_a_number_and_a_unit(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "0/s", "-1/s", "100", "100/d", "1.5/s", "100/s ", "1e3/s", "9999999999/s", "٣/s"])
def test_what_is_no_rate_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="100/s"):
        parse_rate(text)


@given(RATES, st.lists(st.integers(0, 2 * NS), max_size=60))
def test_no_stretch_of_time_sees_more_than_a_quota_and_what_was_earned_in_it(rate: Rate, pauses: list[int]) -> None:
    now_ns, earned_at_ns, admitted = 1, 0, []
    for pause in pauses:
        now_ns += pause
        earned_at_ns, wait_ns = take(rate, earned_at_ns, now_ns)
        if not wait_ns:
            admitted.append(now_ns)
    every_ns = rate.window_s * NS // rate.quota
    for first in range(len(admitted)):
        for last in range(first, len(admitted)):
            assert last - first + 1 <= rate.quota + 1 + (admitted[last] - admitted[first]) // every_ns


@given(RATES, st.lists(st.integers(0, NS), max_size=40))
def test_what_is_said_to_be_left_is_what_may_be_taken_at_once(rate: Rate, pauses: list[int]) -> None:
    now_ns = earned_at_ns = 1
    for pause in pauses:
        now_ns += pause
        earned_at_ns = take(rate, earned_at_ns, now_ns).earned_at_ns
    left = standing(rate, earned_at_ns, now_ns).remaining
    for _ in range(left):
        earned_at_ns, wait_ns = take(rate, earned_at_ns, now_ns)
        assert wait_ns == 0
    assert take(rate, earned_at_ns, now_ns).wait_ns > 0 or left == rate.quota


@given(RATES, st.lists(st.integers(0, NS), max_size=40))
def test_who_waits_as_long_as_was_said_is_admitted(rate: Rate, pauses: list[int]) -> None:
    now_ns = earned_at_ns = 1
    for pause in pauses:
        now_ns += pause
        earned_at_ns, wait_ns = take(rate, earned_at_ns, now_ns)
        assert take(rate, earned_at_ns, now_ns + wait_ns).wait_ns == 0 or wait_ns == 0


def test_a_quota_comes_back_while_nobody_asks() -> None:
    rate = Rate(3, 1)
    earned_at_ns = 0
    for _ in range(3):
        earned_at_ns, wait_ns = take(rate, earned_at_ns, NS)
        assert wait_ns == 0
    assert take(rate, earned_at_ns, NS).wait_ns > 0
    assert standing(rate, earned_at_ns, NS) == (0, 1)
    assert standing(rate, earned_at_ns, 2 * NS) == (3, 0)


def _hammer(path: Path, rate: Rate, until_ns: int, admitted: multiprocessing.Queue[int]) -> None:
    cells = SharedCells(path)
    place = cells.place("key_1")
    n = 0
    while time.monotonic_ns() < until_ns:
        n += not cells.take(place, rate)
    admitted.put(n)


def test_workers_count_together(tmp_path: Path) -> None:
    """Each of four alone would admit the whole quota."""
    rate = Rate(50_000, 3600)
    context = multiprocessing.get_context("fork")
    admitted: multiprocessing.Queue[int] = context.Queue()
    begun_ns = time.monotonic_ns()
    workers = [
        context.Process(target=_hammer, args=(tmp_path / "rates", rate, begun_ns + NS // 2, admitted)) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    counts = [admitted.get(timeout=10) for _ in workers]
    for worker in workers:
        worker.join()
    earned = (time.monotonic_ns() - begun_ns) * rate.quota // (3600 * NS) + 1
    # A lock that is not had in thirty attempts is not waited for: each time one request more may pass.
    assert sum(counts) <= (rate.quota + earned) * 1.0001
    assert min(counts) > 0


def test_the_same_key_is_at_the_same_place_for_all_workers_and_no_two_share_one(tmp_path: Path) -> None:
    one, other = SharedCells(tmp_path / "rates"), SharedCells(tmp_path / "rates")
    names = [f"key_{number}" for number in range(2000)]
    places = {name: one.place(name) for name in names}
    assert {name: other.place(name) for name in reversed(names)} == places
    assert len(set(places.values())) == len(names)


def test_a_lock_that_is_held_is_not_waited_for(tmp_path: Path) -> None:
    """A worker that was stopped in the middle must not stop the others' decisions."""
    cells = SharedCells(tmp_path / "rates")
    place = cells.place("key_1")
    context = multiprocessing.get_context("fork")
    held, done = context.Event(), context.Event()

    def hold() -> None:
        theirs = SharedCells(tmp_path / "rates")
        assert theirs._lock(place)
        held.set()
        done.wait(60)

    holder = context.Process(target=hold)
    holder.start()
    assert held.wait(60)
    assert cells.take(place, Rate(1, 3600)) == 0
    assert cells.take(place, Rate(1, 3600)) > 0
    assert holder.is_alive(), "by now the lock may have been let go: then nothing was shown"
    assert not SharedCells(tmp_path / "rates")._lock(place), "it is held still: nobody can have waited for it"
    done.set()
    holder.join()


def test_one_worker_needs_no_file(tmp_path: Path) -> None:
    assert isinstance(open_cells(str(tmp_path), 1), OwnCells)
    assert isinstance(open_cells(None, 2), OwnCells)
    assert isinstance(open_cells(str(tmp_path), 2), SharedCells)


def test_the_headers_say_policy_and_standing() -> None:
    limit = Limit(OwnCells(), "key_1", Rate(2, 60))
    assert limit.headers() == [(b"ratelimit-policy", b'"key";q=2;w=60'), (b"ratelimit", b'"key";r=2;t=0')]
    assert limit.take() == 0
    assert limit.take() == 0
    assert 0 < limit.take() <= 30
    assert limit.headers()[1] == (b"ratelimit", b'"key";r=0;t=60')
