"""Ids of events in generations: known for three days, small, and few to ask."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.store.seen_events import (
    BUCKET_IDS,
    HOUR_MS,
    KNOWN_MS,
    OPEN_MS,
    Generation,
    Generations,
    live,
    packed,
    questions,
    unpacked,
    with_room,
)

START_MS = 1_796_083_200_000


def after(generations: Generations, hours: float, per_second: float, chunk: int = 128) -> Generations:
    """The generations after a rate was kept up for so long."""
    now_ms = generations[-1].opened_ms if generations else START_MS
    begun_ms, step_ms = now_ms, max(1, round(1000 * chunk / per_second))
    while now_ms < begun_ms + hours * HOUR_MS:
        generations = with_room(generations, chunk, now_ms)
        now_ms += step_ms
    return generations


@given(st.lists(st.tuples(st.integers(0, 30 * HOUR_MS), st.integers(1, 256)), max_size=60))
def test_an_id_is_known_for_three_days(arrivals: list[tuple[int, int]]) -> None:
    generations: Generations = ()
    now_ms = START_MS
    lies_in: list[tuple[int, int]] = []
    for wait_ms, count in arrivals:
        now_ms += wait_ms
        asked = {each.number for each in live(generations, now_ms)}
        assert all(number in asked for at_ms, number in lies_in if now_ms < at_ms + KNOWN_MS)
        generations = with_room(generations, count, now_ms)
        assert generations == live(generations, now_ms)
        assert now_ms - generations[-1].opened_ms < OPEN_MS
        assert generations[-1].taken <= generations[-1].buckets * BUCKET_IDS
        lies_in.append((now_ms, generations[-1].number))
    assert len({each.number for each in generations}) == len(generations)


def test_a_steady_rate_is_asked_for_in_seven_places_at_most() -> None:
    for per_second in (0.05, 2.0, 20.0):
        chunk = 128 if per_second > 1 else 1
        generations = after((), 2.0, per_second, chunk)
        for _ in range(8):
            newest = generations[-1]
            generations = with_room(generations, chunk, newest.opened_ms + OPEN_MS)
            generations = (
                *generations[:-1],
                generations[-1]._replace(taken=min(round(per_second * 64_800), generations[-1].buckets * BUCKET_IDS)),
            )
        assert len(generations) <= 7


def test_a_burst_is_followed_by_more_buckets_and_silence_by_fewer() -> None:
    burst = after((), 0.05, 1_000.0)
    buckets = [each.buckets for each in burst]
    assert buckets == sorted(buckets)
    assert len(burst) <= 5
    quiet = with_room(burst, 1, START_MS + 100 * HOUR_MS)
    assert quiet[-1].buckets == burst[-1].buckets // 2


def test_a_generation_has_room_for_more_than_one_bucket_holds_at_once() -> None:
    (generation,) = with_room((), 1_000, START_MS)
    assert generation.buckets == 3


def test_what_is_kept_is_read_again() -> None:
    generations = after((), 0.01, 100.0)
    assert unpacked(packed(generations)) == generations
    assert unpacked(b"") == ()


def test_an_id_is_looked_for_once_a_generation() -> None:
    generations = (Generation(3, 1, 9, START_MS), Generation(4, 16, 9, START_MS))
    assert questions(generations, [-1, 5]) == {(3, 0): [-1, 5], (4, 15): [-1], (4, 5): [5]}
