"""What a chunk of a stream comes to, whatever is in it and however it is cut."""

from __future__ import annotations

from app.core.events.commands import carrying
from app.core.events.entry import encode
from app.core.features.chunk import Chunk, Results, Stored, StreamEntry, Worked, ids_of
from app.core.features.working import folded, work
from tests.support.working import NOW_MS, PLAN, happened, viewed


def chunk_of(*entries: object) -> Chunk:
    rows = [StreamEntry(b"%d-0" % at, encode(entry)) for at, entry in enumerate(entries, 1)]  # type: ignore[arg-type]  # what is collected, or a mark
    return Chunk.of(rows, NOW_MS)


def worked(*entries: object, stored: dict[str, Stored] | None = None, seen: frozenset[int] = frozenset()) -> Worked:
    return work(PLAN, chunk_of(*entries), seen, stored or {})


def test_one_fold_of_many_events_is_many_folds_of_one() -> None:
    events = [viewed("cus_1", number, NOW_MS - number * 7_000_000, price=number / 3) for number in range(20)]
    one_by_one: dict[str, bytes] = {}
    for each in events:
        one_by_one |= folded(PLAN, one_by_one, [each])
    assert worked(*events).states == {"cus_1": one_by_one}


def test_what_is_remembered_are_the_ids_of_what_was_applied() -> None:
    event, once = viewed("cus_1", 1), happened("bought", "cus_1", -2 % 2**64, once=b"\xff" * 8, revenue=1.0)
    poison = viewed("cus_1", 3, price="dear")
    assert worked(event, once, poison).ids == [1, -2, -1]
    assert ids_of(once) == (-2, -1)


def test_a_repeat_within_a_chunk_counts_once() -> None:
    done = worked(viewed("cus_1", 1), viewed("cus_1", 1), viewed("cus_1", 2), seen=frozenset({2}))
    assert done.counts == {Results.APPLIED: 1, Results.REPEAT: 2}


def test_the_way_back_to_the_shard_that_forwarded_an_event_is_no_repeat() -> None:
    """Over another shard: there is no shorter way, since each worker only knows its own customers."""
    away = {"cus_1": Stored({}, "cus_elsewhere")}
    sent = worked(viewed("cus_1", 1), stored=away)
    (onward,) = sent.onward
    back = onward._replace(customer="cus_2")
    came = worked(back, viewed("cus_1", 1), stored={**away, "cus_2": Stored({})}, seen=frozenset(sent.ids))
    assert came.counts == {Results.APPLIED: 1, Results.REPEAT: 1}


def test_what_was_folded_before_its_customer_became_another_is_not_forwarded_again() -> None:
    done = worked(viewed("cus_1", 1), stored={"cus_1": Stored({}, "cus_elsewhere")}, seen=frozenset({1}))
    assert done.counts == {Results.REPEAT: 1}
    assert not done.onward


def test_within_a_shard_an_event_goes_to_whom_its_customer_became_in_one_step() -> None:
    stored = {"cus_1": Stored({}, "cus_2"), "cus_2": Stored({}, "cus_3"), "cus_3": Stored({})}
    done = worked(viewed("cus_1", 1), viewed("cus_3", 1), stored=stored)
    assert set(done.states) == {"cus_3"}
    assert done.counts == {Results.APPLIED: 1, Results.REPEAT: 1}
    assert not done.onward


def test_customers_of_a_shard_who_became_each_other_end_no_loop() -> None:
    stored = {"cus_1": Stored({}, "cus_2"), "cus_2": Stored({}, "cus_1")}
    done = worked(viewed("cus_1", 1), stored=stored)
    assert done.counts == {Results.QUARANTINED: 1}
    assert not done.onward


def test_a_carry_that_names_nobody_is_put_aside_and_its_customer_keeps_everything() -> None:
    done = worked(viewed("cus_1", 1), carrying("cus_1", "cus_1", NOW_MS), viewed("cus_1", 2))
    assert done.counts == {Results.APPLIED: 2, Results.QUARANTINED: 1}
    assert not done.carried
    (letter,) = done.letters
    assert not letter.redrivable


def test_a_carry_takes_along_what_came_before_it_in_its_chunk_and_nothing_is_written_twice() -> None:
    done = worked(viewed("cus_1", 1), carrying("cus_1", "cus_2", NOW_MS), stored={"cus_1": Stored({})})
    assert done.states == {}
    assert done.carried == {"cus_1": "cus_2"}
    (take_in,) = done.onward
    again = worked(viewed("cus_1", 1), carrying("cus_1", "cus_2", NOW_MS), stored={"cus_1": Stored({})}).onward
    assert again == [take_in]  # message id and all: whoever repeats it, it counts once


def test_a_fold_that_breaks_unforeseen_costs_its_event_alone_and_is_told() -> None:
    class Breaking(dict):  # type: ignore[type-arg]  # of anything
        def get(self, *_: object) -> object:
            raise RuntimeError("as no property does")

    chunk = chunk_of(viewed("cus_1", 1), viewed("cus_1", 2))
    chunk.entries[0] = chunk.entries[0]._replace(properties=Breaking())
    done = work(PLAN, chunk, set(), {})
    assert done.counts == {Results.APPLIED: 1, Results.QUARANTINED: 1}
    assert done.surprises == {"RuntimeError": 1}
