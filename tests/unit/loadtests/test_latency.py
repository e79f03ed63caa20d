"""Percentiles say what requests really met."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.latency import curve, nearest_rank, percentiles

MS = 1_000_000


def test_of_a_hundred_requests_the_p99_is_the_second_worst() -> None:
    latencies = [ms * MS for ms in range(100, 0, -1)]
    found = percentiles(latencies)
    assert (found.p50, found.p90, found.p99, found.worst) == (50.0, 90.0, 99.0, 100.0)


def test_a_measurement_without_answers_is_refused_instead_of_called_fast() -> None:
    with pytest.raises(ValueError, match="no request was answered"):
        percentiles([])


@given(
    st.lists(st.integers(0, 10**10), min_size=1, max_size=200).map(sorted), st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0])
)
def test_a_percentile_is_the_smallest_latency_that_enough_requests_keep(ordered: list[int], share: float) -> None:
    value = nearest_rank(ordered, share)
    within = sum(one <= value for one in ordered)
    below = sum(one < value for one in ordered)
    assert within >= share * len(ordered) - 1e-9
    assert below < share * len(ordered) or value == ordered[0]


def test_the_curve_stops_where_fewer_than_ten_requests_would_speak() -> None:
    shares = [share for share, _ in curve([MS] * 1000)]
    assert max(shares) == 0.99
