"""All guarantees under everything at once: limits of 1 to 4, rolling and by the calendar, two messages that exclude
each other, pauses after a purchase, reservations that expire, a budget over all customers, trials, switches,
withdrawals, suppressions, releases, messages that are sent although they were released, customers that become one,
commits that wait and replies that are lost; many callers, three servers, few customers.

What was asked and answered is judged by a model of its own (`tests.support.verdict`), from the answers and their times
alone: never one too many, nothing after a no that was acknowledged, no refusal without a reason; and when all is quiet,
never one too few. Then the store is looked at (`tests.support.aftermath`).
"""

from __future__ import annotations

import pytest

from tests.support.aftermath import aftermath
from tests.support.everything import BUDGET, LIMITS, SCARCE
from tests.support.field import Field, new_field
from tests.support.history import FOREVER
from tests.support.storm import SWITCHED, Storm
from tests.support.verdict import verdict


async def test_no_promise_is_broken_while_everything_happens_at_once_and_nothing_is_left_over_after_it(
    field: Field,
) -> None:
    async with field.storm(customers=8, seed=1) as storm:
        for _ in range(2):
            await storm.rage(seconds=3.5, askers=20)
            await used_up(storm)
        judged(field, storm)
        tried(storm)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(6))
async def test_no_promise_is_broken_in_a_storm_of_any_kind(seed: int) -> None:
    """Thousands of decisions, with everything off now and then; a field of its own, whose reservations expire anew."""
    with new_field() as field:
        async with field.storm(customers=4 + 4 * seed, seed=seed) as storm:
            storm.switched = (*SWITCHED, ("purpose", "marketing"), ("all", "*"))
            for _ in range(4):
                await storm.rage(seconds=8, askers=8 * (1 + seed))
                await used_up(storm)
            judged(field, storm)


async def used_up(storm: Storm) -> None:
    """Never one too few: when everything is allowed again, every limit can be used up, to the last contact."""
    await storm.calm()
    left = await storm.use_up()
    assert not left, "\n".join(left)


def judged(field: Field, storm: Storm) -> None:
    wrong = [*verdict(storm.history), *aftermath(field.inside, storm, field.served.bundle)]
    assert not wrong, "\n".join(wrong[:50])
    assert [bodies for bodies in storm.repeats.values() if len(bodies) > 1] == []


def tried(storm: Storm) -> None:
    """A storm in which something never happened proves nothing about it."""
    history = storm.history
    contacts = history.contacts()
    codes = {line["code"] for a in history.asked for d in a.decisions for line in d["excluded"]}
    assert codes >= {"limit_reached", "excluded_by", "cooldown", "switched_off", "budget_exhausted"}
    reasons = {d["reason"].split(":")[0] for a in history.asked for d in a.decisions}
    assert reasons >= {"consent_denied", "consent_unknown", "suppressed", "switched_off", "holdout", "quiet_hours"}
    assert reasons >= {"baseline", "explored"}
    assert {each.placement for each in contacts} >= {*LIMITS, SCARCE}
    assert any(each.released for each in contacts)
    assert any(each.again_s > 0 for each in contacts)
    expired = [each for each in contacts if not each.released and each.sure and each.sure[0].end < FOREVER]
    assert expired
    assert storm.lost > 0
    assert len(history.merges) == len(storm.pairs)
    assert BUDGET >= sum(each.placement == SCARCE for each in contacts) > BUDGET // 2
