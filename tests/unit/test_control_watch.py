"""What a process goes by: swapped as a whole, stale in time, and never more open than what was read last."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.features.watermarks import NO_WATERMARKS, Watermarks
from app.flows import control as flow
from app.flows.control import ControlWatch
from app.store.control import Polled
from policy.codes import SwitchKind
from policy.control import Switch, VariantKey
from tests.support.server import eventually

NOW_MS = 1_795_514_400_000
VARIANTS: tuple[VariantKey, ...] = (("mens", 3, "plain"), ("mens", 3, "urgent"))


def off(name: str, until_ms: int | None = None) -> Switch:
    return Switch(SwitchKind.MESSAGE, name, "crm_oncall", "a wrong price", until_ms, NOW_MS)


class Scripted:
    """A store that says what it is told; the real one is tested in tests/store/test_control.py."""

    def __init__(self, *says: Polled, compared: Sequence[VariantKey] = ()) -> None:
        self.compared = tuple(compared)
        self.says = list(says)
        self.counts: list[list[int] | None] = []
        self.ended: list[Switch] = []
        self.polls = 0

    async def poll(self, deadline: float, wire: object = None) -> Polled:
        self.polls += 1
        return self.says.pop(0) if len(self.says) > 1 else self.says[0]

    async def end(self, switch: Switch, now_ms: int, deadline: float) -> None:
        self.ended.append(switch)

    def shard_groups(self) -> list[range]:
        return [range(16), range(16, 32)]

    async def earned(self, shards: range, deadline: float) -> list[int] | None:
        return self.counts.pop(0) if self.counts else None


def watching(*says: Polled, compared: Sequence[VariantKey] = ()) -> tuple[ControlWatch, Scripted]:
    store = Scripted(*says, compared=compared)
    return ControlWatch(store), store  # type: ignore[arg-type]  # a stand-in


def whole(*switches: Switch) -> Polled:
    return Polled(switches, NOW_MS)


async def test_watermarks_are_raised_and_what_was_told_once_stays_told() -> None:
    one, other = Watermarks({"a": 5}, {0: 3}), Watermarks({"b": 4}, {0: 2})
    watch, _ = watching(whole()._replace(watermarks=one), broken(), whole()._replace(watermarks=other))
    assert watch.watermarks == NO_WATERMARKS
    for expected in (one, one, Watermarks({"a": 5, "b": 4}, {0: 3})):
        await watch.poll()
        assert watch.watermarks == expected
    await watch.close()


def broken(*switches: Switch) -> Polled:
    return Polled(switches, NOW_MS if switches else 0, "Garbled")


async def test_nobody_knows_what_is_off_before_the_first_reading() -> None:
    watch, _ = watching(whole())
    assert watch.current.stale
    assert "the kill switches cannot be read" in watch.findings[0]
    await watch.poll()
    assert not watch.current.stale
    assert watch.findings == []
    await watch.close()


async def test_what_is_read_replaces_what_was_known_as_a_whole() -> None:
    watch, _ = watching(whole(off("a"), off("b")), whole(off("c")), whole())
    for names in (["a", "b"], ["c"], []):
        before = watch.current
        await watch.poll()
        assert [switch.name for switch in watch.current.switches] == names
        assert watch.current is not before
    await watch.close()


async def test_nothing_new_leaves_the_very_same_facts() -> None:
    watch, _ = watching(whole(off("a")))
    await watch.poll()
    before = watch.current
    await watch.poll()
    assert watch.current is before
    await watch.close()


async def test_what_was_off_stays_off_while_nobody_can_read_whether_it_is_on() -> None:
    watch, _ = watching(whole(off("a")), broken(), broken(off("b")), whole(off("b")))
    known = []
    for _ in range(4):
        await watch.poll()
        known.append({switch.name for switch in watch.current.switches})
    assert known == [{"a"}, {"a"}, {"a", "b"}, {"b"}]
    await watch.close()


async def test_a_switch_that_is_turned_anew_replaces_its_older_self_also_beside_something_unreadable() -> None:
    watch, _ = watching(whole(off("a")), broken(off("a", NOW_MS + 5)))
    await watch.poll()
    await watch.poll()
    assert watch.current.switches == (off("a", NOW_MS + 5),)
    await watch.close()


async def test_facts_grow_stale_by_themselves_and_fresh_by_a_whole_reading_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flow, "STALE_AFTER_S", 0.05)
    watch, store = watching(whole(off("a")), broken(), whole(off("a")))
    await watch.poll()
    await eventually(lambda: watch.current.stale)
    assert watch.current.switches == (off("a"),)
    await watch.poll()
    assert watch.current.stale
    assert "Garbled" in watch.findings[0]
    await watch.poll()
    assert not watch.current.stale
    assert store.polls == 3
    await watch.close()


async def test_facts_that_are_polled_never_grow_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "STALE_AFTER_S", 0.2)
    monkeypatch.setattr(flow, "POLL_EVERY_S", 0.01)
    watch, store = watching(whole())
    watch.start()
    await eventually(lambda: store.polls > 40)
    assert not watch.current.stale
    assert watch.age_s < 0.2
    await watch.close()


async def test_a_poll_that_hangs_does_not_keep_the_facts_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "STALE_AFTER_S", 0.05)
    watch, store = watching(whole())
    await watch.poll()

    async def hangs(deadline: float, wire: object = None) -> Polled:
        await asyncio.Event().wait()
        raise AssertionError

    store.poll = hangs  # type: ignore[method-assign]  # a stand-in
    watch.start()
    await eventually(lambda: watch.current.stale)
    await watch.close()


async def test_a_switch_whose_time_is_over_is_taken_away_by_whoever_sees_it() -> None:
    over, going_on = off("a", NOW_MS), off("b", NOW_MS + 1)
    watch, store = watching(whole(over, going_on), whole(going_on))
    watch.start()
    await eventually(lambda: bool(store.ended))
    assert store.ended == [over]
    await watch.close()


async def test_counts_are_followed_only_where_variants_are_compared() -> None:
    watch, store = watching(whole())
    store.earned = None  # type: ignore[assignment,method-assign]  # a stand-in
    watch.start()
    await eventually(lambda: store.polls > 0)
    await watch.close()


async def test_what_variants_earned_is_the_sum_over_all_shards_and_stays_while_it_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flow, "EARNED_EVERY_S", 0.002)
    watch, store = watching(whole(off("a")), compared=VARIANTS)
    store.counts = [[1, 10, 0, 0], [2, 20, 0, 0]]
    watch.start()
    await eventually(lambda: watch.current.earned == {VARIANTS[0]: (3, 30)})
    store.counts = [[5, 50, 5, 50], None, [1, 10, 0, 0], [2, 21, 0, 1]]  # the first two are half a reading
    await eventually(lambda: watch.current.earned == {VARIANTS[0]: (3, 31), VARIANTS[1]: (0, 1)})
    assert watch.current.switches == (off("a"),)
    assert not store.counts
    await watch.close()


readings = st.lists(
    st.tuples(st.booleans(), st.frozensets(st.sampled_from("abcd"))).map(
        lambda said: (whole if said[0] else broken)(*(off(name) for name in sorted(said[1])))
    ),
    min_size=1,
    max_size=12,
)


@given(readings)
def test_no_reading_that_is_not_whole_ever_turns_anything_on(said: list[Polled]) -> None:
    """Whatever comes in whatever order: all that was read as off since the last whole reading, with it, is off."""

    async def follow() -> None:
        watch, _ = watching(*said)
        expected: set[Switch] = set()
        for polled in said:
            await watch.poll()
            expected = set(polled.switches) | (expected if polled.failure else set())
            assert set(watch.current.switches) == expected
            assert len(watch.current.switches) == len(expected)
        assert watch.current.stale is all(polled.failure for polled in said)
        await watch.close()

    asyncio.run(follow())
