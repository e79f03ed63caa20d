"""Portions of a budget over all customers, leased to processes: never more than the budget, whatever they do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from app.core.decision.commit import Committed, Late, NewContact, Outcome, Unknown
from app.flows.budgets import Budgets
from app.store.budgets import BudgetStore
from app.store.link import Link
from policy.bundle import Budget, Bundle, Placement, Window
from policy.compile import load
from policy.control import NO_CONTROL
from policy.facts import Contact, ContactKind
from tests.support.link import linked, soon

NOON_MS = 1_795_521_600_000  # 2026-11-24T12:00:00Z
BEFORE_MIDNIGHT_MS = NOON_MS + 43_200_000 - 60_000
HOUR_MS = 3_600_000
DEMO = load(Path(__file__).parents[2] / "policy" / "bundles" / "retail_demo")
_NAMES = count(1)
DONE = Committed()


def bundle_with(*at_most: int) -> Bundle:
    """The demo with budgets for its message `mens_email`, under names of their own."""
    window = Window("calendar", unit="day", zone="UTC", source="calendar day in UTC")
    budgets = tuple(Budget(i, f"budget_{next(_NAMES)}", "mens_email", most, window) for i, most in enumerate(at_most))
    return replace(DEMO, budgets=budgets)


def asking(bundle: Bundle) -> list[Placement]:
    numbers = tuple(budget.index for budget in bundle.budgets)
    return [replace(bundle.placements["weekly_offer"], budgets=numbers)]


def a_send(at_ms: int = NOON_MS, until_ms: int | None = None) -> list[NewContact]:
    kind = ContactKind("weekly_offer", "email", "marketing", "mens_email", "mens", "")
    return [NewContact(Contact(bytes(14), kind, at_ms, until_ms or at_ms), "dec_1")]


@asynccontextmanager
async def processes(url: str, bundle: Bundle, number: int) -> AsyncIterator[list[Budgets]]:
    """Each with a connection of its own, as server processes have."""
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(number):
            link: Link = await stack.enter_async_context(linked(url))
            budgets = Budgets(bundle, BudgetStore(link).lease)
            budgets.start()
            stack.push_async_callback(budgets.close)
            made.append(budgets)
        yield made


async def try_to_send(budgets: Budgets, bundle: Bundle, outcome: Outcome = DONE, at_ms: int = NOON_MS) -> bool:
    """One decision's way: look, choose, spend, commit."""
    while True:
        control = await budgets.seen(NO_CONTROL, asking(bundle), at_ms, soon(10))
        if control.exhausted:
            return False
        contacts = a_send(at_ms)
        if budgets.spend(contacts):
            await asyncio.sleep(0)
            budgets.settle(contacts, outcome)
            return not isinstance(outcome, Late)


async def test_one_process_sends_exactly_the_budget_one_after_the_other(store_url: str) -> None:
    for at_most in (0, 1, 5, 137):
        bundle = bundle_with(at_most)
        async with processes(store_url, bundle, 1) as (budgets,):
            sent = [await try_to_send(budgets, bundle) for _ in range(at_most + 20)]
            assert sent == [True] * at_most + [False] * 20


async def test_callers_at_once_send_exactly_the_budget(store_url: str) -> None:
    bundle = bundle_with(50)
    async with processes(store_url, bundle, 1) as (budgets,):
        sent = await asyncio.gather(*(try_to_send(budgets, bundle) for _ in range(200)))
        assert sum(sent) == 50


@pytest.mark.parametrize("seed", range(5))
async def test_many_processes_never_send_more_and_commits_that_did_not_happen_cost_nothing(
    store_url: str, seed: int
) -> None:
    rng = random.Random(seed)
    bundle = bundle_with(100)
    spent = 0
    async with processes(store_url, bundle, 4) as made:

        async def caller(budgets: Budgets) -> None:
            nonlocal spent
            for _ in range(40):
                outcome: Any = rng.choice([Committed(), Committed(), Late(), Unknown("StoreTimeout", True)])
                sent = await try_to_send(budgets, bundle, outcome)
                spent += sent

        await asyncio.gather(*(caller(rng.choice(made)) for _ in range(12)))
        assert spent <= 100
        # What idle processes hold comes back, so that the others can use it: to the last one.
        for budgets in made:
            await budgets.close()
        while await try_to_send(made[0], bundle):
            spent += 1
        assert spent == 100


async def test_a_commit_of_unknown_fate_counts_as_spent(store_url: str) -> None:
    bundle = bundle_with(3)
    async with processes(store_url, bundle, 1) as (budgets,):
        for _ in range(3):
            assert await try_to_send(budgets, bundle, Unknown("StoreDown", False))
        assert not await try_to_send(budgets, bundle)


async def test_what_a_crashed_process_held_is_not_lent_again_in_the_same_window_but_is_in_the_next(
    store_url: str,
) -> None:
    bundle = bundle_with(4)
    async with processes(store_url, bundle, 2) as (crashed, other):
        assert await try_to_send(crashed, bundle)
        await asyncio.gather(*(purse.leasing for purse in crashed._purses.values() if purse.leasing))
        held = sum(purse.left for purse in crashed._purses.values())
        crashed._purses.clear()
        sent = [await try_to_send(other, bundle) for _ in range(10)]
        assert sum(sent) == 4 - 1 - held
        tomorrow = NOON_MS + 86_400_000
        assert [await try_to_send(other, bundle, at_ms=tomorrow) for _ in range(5)] == [True] * 4 + [False]


async def test_a_send_that_may_fall_into_two_days_is_taken_from_both(store_url: str) -> None:
    bundle = bundle_with(1)
    async with processes(store_url, bundle, 1) as (budgets,):
        assert not (await budgets.seen(NO_CONTROL, asking(bundle), BEFORE_MIDNIGHT_MS, soon())).exhausted
        assert budgets.spend(a_send(BEFORE_MIDNIGHT_MS, BEFORE_MIDNIGHT_MS + HOUR_MS))
        for at_ms in (BEFORE_MIDNIGHT_MS, BEFORE_MIDNIGHT_MS + 2 * HOUR_MS):
            assert (await budgets.seen(NO_CONTROL, asking(bundle), at_ms, soon())).exhausted == {0}


async def test_a_send_that_two_budgets_count_is_taken_from_both_or_from_none(store_url: str) -> None:
    bundle = bundle_with(5, 2)
    async with processes(store_url, bundle, 1) as (budgets,):
        assert [await try_to_send(budgets, bundle) for _ in range(4)] == [True, True, False, False]
        only_the_first = [replace(asking(bundle)[0], budgets=(0,))]
        assert not (await budgets.seen(NO_CONTROL, only_the_first, NOON_MS, soon())).exhausted


async def test_nothing_is_sent_when_the_store_grants_nothing_in_time(store_url: str) -> None:
    async def silent(*_: Any) -> None:
        await asyncio.sleep(60)

    bundle = bundle_with(5)
    budgets = Budgets(bundle, silent)
    control = await budgets.seen(NO_CONTROL, asking(bundle), NOON_MS, soon(0.02))
    assert control.exhausted == {0}
    for purse in budgets._purses.values():
        assert purse.leasing is not None
        purse.leasing.cancel()


async def test_a_smaller_budget_of_a_later_release_holds_at_once(store_url: str) -> None:
    bundle = bundle_with(100)
    async with processes(store_url, bundle, 1) as (budgets,):
        assert await try_to_send(budgets, bundle)
        smaller = replace(bundle, budgets=(replace(bundle.budgets[0], at_most=10),))
        async with processes(store_url, smaller, 1) as (later,):
            assert not await try_to_send(later, smaller)  # more than ten are leased already
