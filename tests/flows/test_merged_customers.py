"""What comes late for a customer who became another one: outcomes, releases, records of what was sent meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.decision.commit import Committed, Intent, Outcome, Refused, Unknown
from app.core.decision.ids import DecisionId, parse_id
from app.core.outcomes import Outcome as Happened
from app.errors import Problem
from app.store.profile import LAST_CONTACT, suppression_field
from policy.codes import OutcomeType, SuppressionReason
from tests.flows.conftest import Flow
from tests.flows.test_merge import LOSER, WINNER, first, know_both, merge, merges_of, sends, store_of
from tests.support.outcomes import Recorded
from tests.support.outcomes import tell as tell_taker

ELSEWHERE = {LOSER, WINNER}


async def sent(flow: Flow, customer: str, placement: str = "once") -> DecisionId:
    decision = first(await flow.decide(customer, placement))
    assert decision["action"] == "send"
    found = parse_id(decision["decision_id"])
    assert found is not None
    return found


async def tell(flow: Flow, decision: DecisionId, what: str, at_ms: int | None = None) -> Recorded:
    return await tell_taker(flow.services.outcome_taker, decision, Happened(OutcomeType(what), at_ms))


async def ledger(flow: Flow, customer: str = WINNER) -> list[tuple[bytes, float]]:
    found: list[tuple[bytes, float]] = await flow.services.client.zrange(
        flow.services.keys.of(customer).ledger, 0, -1, withscores=True
    )
    return found


async def test_the_two_customers_of_these_tests_lie_in_different_slots(flow: Flow) -> None:
    assert len({flow.services.keys.shard_of(customer) for customer in ELSEWHERE}) == 2


async def test_an_outcome_of_the_loser_s_message_is_taken_down_for_the_winner(flow: Flow) -> None:
    await know_both(flow)
    decision = await sent(flow, LOSER)
    await merge(flow)
    told = await tell(flow, decision, "clicked")
    assert told.effects == ("contact_sent", "contact_engaged")
    ((member, _),) = await ledger(flow)
    assert member.endswith(b",0,se")
    assert (await tell(flow, decision, "complained")).effects[-1] == "suppressed"
    assert first(await flow.decide(WINNER, "weekly"))["reason"] == "suppressed:complaint"
    assert await ledger(flow, LOSER) == []


async def test_what_was_not_sent_of_the_loser_frees_the_winner_s_limit(flow: Flow) -> None:
    await know_both(flow)
    decision = await sent(flow, LOSER)
    await merge(flow)
    assert not await sends(flow, WINNER, "once")
    assert "contact_released" in (await tell(flow, decision, "not_sent")).effects
    assert await sends(flow, WINNER, "once")


async def test_soft_bounces_of_both_count_together_after_the_merge(flow: Flow) -> None:
    await know_both(flow)
    of_both = [await sent(flow, customer, place) for customer, place in ((LOSER, "once"), (WINNER, "once"))]
    last = await sent(flow, LOSER, "weekly")
    for decision in of_both:
        await tell(flow, decision, "bounced_soft", decision.at_ms + 1)
    await merge(flow)
    assert (await tell(flow, last, "bounced_soft", last.at_ms + 1)).effects[-1] == "suppressed"
    assert first(await flow.decide(WINNER, "weekly"))["reason"] == "suppressed:soft_bounces"


async def test_what_was_taken_down_before_the_merge_goes_on_after_it(flow: Flow) -> None:
    """A repeat is known, and a delivery outweighs the bounce that is told after the merge."""
    await know_both(flow)
    decision = await sent(flow, LOSER)
    at_ms = decision.at_ms + 1
    await tell(flow, decision, "delivered", at_ms)
    await merge(flow)
    assert (await tell(flow, decision, "delivered", at_ms)).duplicate
    assert "contact_released" not in (await tell(flow, decision, "bounced_soft", at_ms + 1)).effects
    assert len(await ledger(flow)) == 1
    assert (await tell(flow, decision, "bounced_soft", at_ms + 1)).duplicate


async def test_what_was_released_before_the_merge_is_known_to_have_failed_after_it(flow: Flow) -> None:
    await know_both(flow)
    decision = await sent(flow, LOSER)
    await tell(flow, decision, "dropped", decision.at_ms + 1)
    await merge(flow)
    assert await ledger(flow) == []
    await tell(flow, decision, "sent", decision.at_ms)
    assert await ledger(flow) == [], "the failure came later"


async def test_an_outcome_is_refused_for_the_moment_in_which_its_contact_is_on_its_way(flow: Flow) -> None:
    await know_both(flow)
    decision = await sent(flow, LOSER)
    store = store_of(flow)
    under_way = await store.begin(LOSER, WINNER, "desk", "")
    assert under_way is not None
    await store.expect(under_way)
    await store.leave(under_way)
    with pytest.raises(Problem, match="store_unavailable"):
        await tell(flow, decision, "not_sent")
    await merge(flow)
    await tell(flow, decision, "not_sent")
    assert await ledger(flow) == []


async def test_a_kind_of_contact_is_found_where_the_log_has_forgotten_it(flow: Flow) -> None:
    await know_both(flow)
    decision = await sent(flow, LOSER)
    await flow.services.client.delete(flow.services.keys.of(LOSER).decisions)
    await merge(flow)
    await tell(flow, decision, "unsubscribed")
    profile = await flow.services.client.hgetall(flow.services.keys.profile(WINNER))
    field = suppression_field("email", SuppressionReason.UNSUBSCRIBED)
    assert field in profile, "of the message's channel, not of all"


# Commits of unknown fate


class Doubtful:
    """The store of decisions, whose commits are applied, or refused, and nobody hears of it."""

    def __init__(self, flow: Flow, *, applied: bool) -> None:
        self._store = flow.services.store
        self._applied = applied
        self.intents: list[Intent] = []

    async def commit(self, intent: Intent, deadline: float) -> Outcome:
        self.intents.append(intent)
        if not self._applied:
            return Refused("TestRefusal")
        assert isinstance(await self._store.commit(intent, deadline), Committed)
        return Unknown("TestLoss", False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def loses_the_reply(flow: Flow, customer: str, placement: str, budget_ms: int) -> None:
    """The contact is reserved, the answer is `suppress`, and its release waits for `commit_by`."""
    store = flow.services.decider._store
    flow.services.decider._store = Doubtful(flow, applied=True)  # type: ignore[assignment]  # a stand-in
    await flow.decide(customer, placement, budget_ms=budget_ms)
    flow.services.decider._store = store


async def test_a_commit_of_unknown_fate_is_taken_back_from_the_winner(flow: Flow) -> None:
    await know_both(flow)
    await loses_the_reply(flow, LOSER, "once", 1000)
    await merge(flow)
    assert len(await ledger(flow)) == 1
    assert not await sends(flow, WINNER, "once")
    assert await flow.services.reconciler.drained(5)
    assert await ledger(flow) == []
    assert LAST_CONTACT not in await flow.services.client.hgetall(flow.services.keys.profile(WINNER))
    assert await sends(flow, WINNER, "once")


async def test_what_is_taken_back_while_it_is_on_its_way_does_not_come_back(flow: Flow) -> None:
    """The release comes between the loser's leaving, when its contacts were read, and the union."""
    await know_both(flow)
    store = store_of(flow)
    under_way = await store.begin(LOSER, WINNER, "desk", "")
    assert under_way is not None
    await store.expect(under_way)
    await loses_the_reply(flow, LOSER, "once", 100)
    left = await store.leave(under_way)
    assert left is not None
    assert not await flow.services.reconciler.drained(0.5), "it waits for the merge"
    await store.unite(under_way, left)
    await merges_of(flow).finish_what_was_left(0)
    assert await flow.services.reconciler.drained(5)
    assert await ledger(flow) == []


async def test_what_was_sent_while_the_store_was_away_counts_for_the_winner(flow: Flow) -> None:
    """It is logged after the fact, under the loser's key, when the loser is no more."""
    await know_both(flow)
    services = flow.services
    doubtful = Doubtful(flow, applied=False)
    store, services.decider._store = services.decider._store, doubtful  # type: ignore[assignment]  # a stand-in
    await flow.decide(LOSER, "once")
    services.decider._store = store
    await merge(flow)
    late = doubtful.intents[0]._replace(general_version=None, ledger_version=None, commit_by_ms=2**50)
    assert services.reconciler.log_later(late)
    assert services.reconciler.log_later(late), "and once more, as after a reply that was lost"
    assert await services.reconciler.drained(5)
    assert len(await ledger(flow)) == 1
    assert await ledger(flow, LOSER) == []
    assert not await sends(flow, WINNER, "once")
    decision = parse_id(late.contacts[0].decision_id)
    assert decision is not None
    assert (await tell(flow, decision, "clicked")).effects == ("contact_sent", "contact_engaged")


# Ledgers that the store has lost


@pytest.mark.parametrize("lost", [LOSER, WINNER])
async def test_a_ledger_that_is_lost_stays_lost_and_opens_no_limit(flow: Flow, lost: str) -> None:
    await know_both(flow)
    for customer in (LOSER, WINNER):
        assert await sends(flow, customer, "twice")
    await flow.services.client.delete(flow.services.keys.of(lost).ledger)
    await merge(flow)
    decision = first(await flow.decide(WINNER, "twice"))
    assert (decision["action"], decision["reason"]) == ("suppress", "facts_unavailable")


async def test_what_is_logged_late_does_not_make_a_lost_ledger_look_whole(flow: Flow) -> None:
    """With one contact in it, it would pass for whole and open every limit."""
    await know_both(flow)
    services = flow.services
    assert await sends(flow, LOSER, "twice")
    doubtful = Doubtful(flow, applied=False)
    store, services.decider._store = services.decider._store, doubtful  # type: ignore[assignment]  # a stand-in
    await flow.decide(LOSER, "once")
    services.decider._store = store
    await services.client.delete(services.keys.of(LOSER).ledger)
    late = doubtful.intents[0]._replace(general_version=None, ledger_version=None, commit_by_ms=2**50)
    assert services.reconciler.log_later(late)
    assert await services.reconciler.drained(5)
    assert await ledger(flow, LOSER) == []
    assert first(await flow.decide(LOSER, "twice"))["reason"] == "facts_unavailable"
    assert await services.client.exists(
        services.keys.decision(services.keys.shard_of(LOSER), late.contacts[0].decision_id.encode())
    )
