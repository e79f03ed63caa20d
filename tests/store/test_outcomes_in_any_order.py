"""Outcomes come late, twice, all at once and in any order: what is known in the end is the same."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.decision.commit import Committed
from app.core.decision.ids import DecisionId
from policy.codes import OutcomeType
from tests.support.outcomes import KEYS, Desk, desk_on

CASES = Path(__file__).parents[2] / "policy" / "cases" / "outcomes.yaml"
MINUTE_MS = 60_000
ARRIVED = "delivered opened clicked converted complained"
#: Marks of the profile that say when and how often something was written, not what.
WRITING = {b"!l", b"!g", b"!u"}


class Happened(NamedTuple):
    what: str
    minute: int
    machine: bool
    of: int  # which of the decisions


happened = st.lists(
    st.builds(
        Happened,
        st.sampled_from([each.value for each in OutcomeType]),
        st.integers(0, 3),
        st.booleans(),
        st.integers(0, 1),
    ),
    min_size=1,
    max_size=8,
)
usual = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


async def tell(desk: Desk, decision: DecisionId, each: Happened) -> None:
    machine = each.machine and each.what in ("opened", "clicked")
    await desk.tell(decision, each.what, decision.at_ms + each.minute * MINUTE_MS, machine=machine)


async def told(desk: Desk, intents: list[Any], outcomes: list[Happened], *, at_once: bool = False) -> dict[str, Any]:
    """What the store holds when two decisions were committed and these outcomes told, from the beginning."""
    await desk.forget()
    for intent, _ in intents:
        assert isinstance(await desk.commit(intent), Committed)
    telling = [tell(desk, intents[each.of][1], each) for each in outcomes]
    if at_once:
        await asyncio.gather(*telling)
    else:
        for each in telling:
            await each
    return await state_of(desk, intents)


async def state_of(desk: Desk, intents: list[Any]) -> dict[str, Any]:
    """What the store holds of the customer, without how often and when it was written."""
    profile = await desk.profile()
    return {
        "profile": {field: value for field, value in profile.items() if field not in WRITING and field != b"!t"},
        "last contact known": b"!t" in profile,
        "ledger": await desk.client.zrange(desk.keys.ledger, 0, -1, withscores=True),
        "earned": await desk.earned(),
        "lives": await desk.client.pttl(desk.keys.profile) == -1,
        "known": [await known(desk, decision) for _, decision in intents],
    }


async def known(desk: Desk, decision: DecisionId) -> dict[bytes, bytes]:
    """All that is remembered of a decision, but for what was counted: nothing, or naught."""
    stored: dict[bytes, bytes] = await desk.client.hgetall(KEYS.outcomes(0, str(decision).encode()))
    return {field: value for field, value in stored.items() if field != b"c"}


async def decided(desk: Desk) -> list[Any]:
    now_ms = await desk.now_ms()
    return [desk.intent("once", now_ms - 10 * MINUTE_MS), desk.intent("open", now_ms - 12 * MINUTE_MS)]


@usual
@given(happened, st.randoms(use_true_random=False))
async def test_outcomes_end_the_same_in_whatever_order_they_arrive(
    store_url: str, outcomes: list[Happened], order: random.Random
) -> None:
    async with desk_on(store_url) as desk:
        intents = await decided(desk)
        first = await told(desk, intents, outcomes)
        shuffled = order.sample(outcomes, len(outcomes))
        assert await told(desk, intents, shuffled) == first


@usual
@given(happened, st.randoms(use_true_random=False))
async def test_repeats_are_harmless_however_many_and_at_once(
    store_url: str, outcomes: list[Happened], order: random.Random
) -> None:
    async with desk_on(store_url) as desk:
        intents = await decided(desk)
        first = await told(desk, intents, outcomes)
        repeated = [*outcomes, *order.choices(outcomes, k=6)]
        assert await told(desk, intents, repeated, at_once=True) == first


@usual
@given(happened)
async def test_where_a_contact_stands_is_what_a_reader_of_all_its_outcomes_would_say(
    store_url: str, outcomes: list[Happened]
) -> None:
    async with desk_on(store_url) as desk:
        intents = await decided(desk)
        state = await told(desk, intents, outcomes)
        for place, (_, decision) in enumerate(intents):
            mine = [each for each in outcomes if each.of == place]
            found = await desk.member(decision)
            expected = by_reading(mine)
            if expected is None:
                assert found is None, state
            elif expected == "reserved":
                assert found is not None
                assert b",0" not in found[0], state
            else:
                assert found is not None
                assert found[1] == decision.at_ms + int(expected) * MINUTE_MS, state


def by_reading(outcomes: list[Happened]) -> str | None:
    """The minute of sending; `reserved` where nothing was said of it; None where it was not sent."""
    minutes = {
        words: [each.minute for each in outcomes if each.what in words.split()]
        for words in ("sent", "not_sent", "dropped bounced_soft bounced_hard", ARRIVED)
    }
    sent, unsent, failed, arrived = minutes.values()
    if arrived:
        return str(min([*arrived, max(sent)] if sent else arrived))
    if sent and max(sent) > max(failed, default=-1) and max(sent) >= max(unsent, default=-1):
        return str(max(sent))
    return None if failed or unsent else "reserved"


def cases() -> Any:
    """One parameter a case; the sentence is its name."""
    table = yaml.load(CASES.read_text(), yaml.BaseLoader)["cases"]
    return pytest.mark.parametrize("case", table, ids=[each["case"] for each in table])


@cases()  # type: ignore[untyped-decorator]  # pytest's
async def test_outcomes(store_url: str, case: dict[str, Any]) -> None:
    async with desk_on(store_url) as desk:
        now_ms = await desk.now_ms()
        intent, decision = desk.intent("once", now_ms - 100 * MINUTE_MS)
        assert isinstance(await desk.commit(intent), Committed)
        for line in case["told"]:
            minute, what, *more = line.split(" ")
            scope = "*" if "everywhere" in more else None
            at_ms = decision.at_ms + int(minute) * MINUTE_MS
            await desk.tell(decision, what, at_ms, machine="machine" in more, scope=scope)
        assert await standing(desk, decision) == case["contact"]
        stops = [f"{reason} on {scope}" for scope, reason in (await desk.suppressions()).items()]
        assert (", ".join(stops).replace("*", "everything") or "none") == case["stops"]


async def standing(desk: Desk, decision: DecisionId) -> str:
    found = await desk.member(decision)
    if found is None:
        return "does not count"
    end, at_ms = found
    if b",0" not in end:
        return "reserved"
    sent = f"sent at {(at_ms - decision.at_ms) // MINUTE_MS}"
    return f"{sent}, engaged" if end.endswith(b"e") else sent
