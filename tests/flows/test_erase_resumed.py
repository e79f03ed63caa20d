"""Erasures beside merges, and erasures whose process dies: whoever is left finishes both."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from app.errors import Problem
from app.store.keys import CTL_ERASURES, CTL_MERGES
from tests.flows.conftest import Flow
from tests.flows.test_erase import (
    GONE,
    LOSER,
    NAMES,
    OTHER,
    alone,
    erase,
    erasures_of,
    live,
    parts_of,
    stored,
)
from tests.flows.test_merge import KNOWN, first, merge, merges_of
from tests.support.erasing import where_named

__all__ = ["alone"]


class Dies(Exception):
    """The process is gone."""


class Mortal:
    """Parts of the store under which the process dies before its step number `at`, of all of them together."""

    def __init__(self, parts: list[Any], at: int) -> None:
        self.steps = 0
        self.parts = [_Part(self, part) for part in parts]
        self._at = at

    async def step(self, do: Callable[[], Any]) -> Any:
        self.steps += 1
        if self.steps == self._at:
            raise Dies
        return await do()


class _Part:
    def __init__(self, mortal: Mortal, part: Any) -> None:
        self._mortal = mortal
        self._part = part

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *args, **more: self._mortal.step(lambda: getattr(self._part, name)(*args, **more))


async def test_a_merge_under_way_is_finished_first(flow: Flow) -> None:
    await live(flow)
    await live(flow, LOSER)
    store = merges_of(flow)._store
    noted = await store.begin(LOSER, GONE, "desk", "")
    assert noted is not None
    await store.expect(noted)
    job = await erase(flow)
    assert len(job.hashes) == 2
    assert await flow.services.client.hlen(CTL_MERGES) == 0
    assert first(await flow.decide(LOSER, "weekly"))["reason"] == "suppressed:erased"


async def test_a_loser_that_is_erased_before_it_left_is_merged_into_nobody(flow: Flow) -> None:
    await live(flow)
    await flow.know(OTHER, **KNOWN)
    store = merges_of(flow)._store
    noted = await store.begin(GONE, OTHER, "desk", "")
    assert noted is not None
    await store.expect(noted)
    await erase(flow)
    assert await merges_of(flow).finish_what_was_left(0) == 1
    assert await flow.services.client.hlen(CTL_MERGES) == 0
    assert first(await flow.decide(OTHER, "thrice"))["action"] == "send"
    assert first(await flow.decide(GONE, "weekly"))["reason"] == "suppressed:erased"


@pytest.mark.parametrize(("loser", "winner"), [(GONE, OTHER), (OTHER, GONE)])
async def test_who_was_erased_is_merged_with_nobody(flow: Flow, loser: str, winner: str) -> None:
    await flow.know(OTHER, **KNOWN)
    await erase(flow)
    with pytest.raises(Problem) as refused:
        await merge(flow, loser, winner)
    assert refused.value.code == "erased"
    assert first(await flow.decide(OTHER, "thrice"))["action"] == "send"


async def test_any_process_finishes_it_wherever_the_first_one_dies(flow: Flow) -> None:
    for at in itertools.count(1):
        await flow.services.client.delete(CTL_ERASURES)
        for name in (GONE, LOSER):
            await flow.services.client.delete(flow.services.keys.profile(name))
        await live(flow)
        await live(flow, LOSER)
        await merge(flow, LOSER, GONE)
        mortal = Mortal(parts_of(flow), at)
        dying = erasures_of(flow, mortal.parts)
        try:
            await dying.finish(await dying.erase(LOSER, "desk"))
        except Dies:
            await erasures_of(flow).work(-1)
        else:
            break
        left = await where_named(flow.services.client, *NAMES)
        begun = b"!e" in await stored(flow)
        assert begun or mortal.steps < 6, mortal.steps
        if begun:
            keys = flow.services.keys
            allowed = {keys.profile(name).decode() for name in NAMES} | {keys.aliases(GONE).decode()}
            assert {key for key in left if not key.startswith("id:")} == allowed, mortal.steps
            assert await flow.services.client.zcard(CTL_ERASURES) == 0
            assert first(await flow.decide(LOSER, "weekly"))["reason"] == "suppressed:erased"
    assert mortal.steps > 15
