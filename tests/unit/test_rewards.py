"""What a decision earned follows from the set of what happened, and from nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.rewards import Unexposed, earned, kept_as, reward_kept
from app.core.standing import Told
from policy.codes import OutcomeType

CLOSED_MS = 1_000_000


@dataclass(frozen=True)
class Rule:
    of: Literal["click", "conversion", "revenue"] = "click"
    unsubscribe: float = 0.0
    complaint: float = 0.0


def said(*words: str) -> list[Told]:
    """`clicked@5`, `converted@7=12.5`; without a time, some seconds after the one before."""
    found = []
    for number, word in enumerate(words, 1):
        what, _, rest = word.partition("@")
        at, _, value = rest.partition("=")
        found.append(Told(OutcomeType(what).value, int(at or 5_000 * number), float(value) if value else None))
    return found


@pytest.mark.parametrize(
    ("of", "words", "reward"),
    [
        ("click", ["delivered", "clicked"], 1.0),
        ("click", ["delivered", "opened"], 0.0),
        ("click", ["sent"], 0.0),
        ("click", ["sent@5", "bounced_soft@3"], 0.0),
        ("conversion", ["delivered", "converted@2=20"], 1.0),
        ("conversion", ["delivered", "converted@2"], 1.0),
        ("conversion", ["delivered", "converted@2=20", "converted@3=-20"], 0.0),
        ("revenue", ["delivered", "converted@2=20", "converted@3=-5.5"], 14.5),
        ("revenue", ["delivered"], 0.0),
        ("click", ["delivered", "clicked", "unsubscribed"], 0.5),
        ("click", ["delivered", "complained", "unsubscribed", "unsubscribed@9"], -2.5),
    ],
)
def test_a_reward_is_what_was_asked_for_less_what_it_cost(of: Any, words: list[str], reward: float) -> None:
    assert earned(said(*words), Rule(of, 0.5, 2.0), CLOSED_MS).reward == reward


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], Unexposed.NOTHING_TOLD),
        (["queued"], Unexposed.NOTHING_TOLD),
        (["unsubscribed"], Unexposed.NOTHING_TOLD),
        (["sent@3", "bounced_hard@4"], Unexposed.BOUNCED),
        (["sent@3", "bounced_soft@3"], Unexposed.BOUNCED),
        (["dropped@3"], Unexposed.DROPPED),
        (["dropped@3", "not_sent@4"], Unexposed.NOT_SENT),
    ],
)
def test_of_what_nobody_saw_nothing_is_earned_either_way(words: list[str], why: Unexposed) -> None:
    found = earned(said(*words), Rule(unsubscribe=1.0), CLOSED_MS)
    assert (found.reward, found.unexposed) == (None, why)


def test_small_amounts_among_large_amounts_are_not_lost_in_any_order() -> None:
    told = said("delivered@1", "converted@2=1e16", "converted@3=1", "converted@4=-1e16")
    for order in (told, told[::-1], [told[0], told[2], told[1], told[3]]):
        assert earned(order, Rule("revenue"), CLOSED_MS).reward == 1.0


def test_a_scanners_clicks_earn_nothing() -> None:
    links = [Told("clicked", 60_000 + number, link=f"l{number}") for number in range(3)]
    assert earned([*said("delivered"), *links], Rule(), CLOSED_MS).reward == 0.0
    assert earned([*said("delivered"), *links[:2]], Rule(), CLOSED_MS).reward == 1.0
    assert earned([*said("delivered@60000"), links[0]], Rule(), CLOSED_MS).reward == 0.0  # sooner than anybody can
    assert earned([*said("delivered"), links[0]._replace(machine=True)], Rule(), CLOSED_MS).reward == 0.0


def test_what_happened_after_the_window_changes_nothing() -> None:
    rule = Rule(complaint=5.0)
    inside = said("delivered", f"clicked@{CLOSED_MS}")
    later = said(f"complained@{CLOSED_MS + 1}", f"converted@{CLOSED_MS + 1}=9")
    assert earned(inside + later, rule, CLOSED_MS) == earned(inside, rule, CLOSED_MS)
    assert earned(said(f"delivered@{CLOSED_MS + 1}"), rule, CLOSED_MS).unexposed is Unexposed.NOTHING_TOLD


_HAPPENED = st.builds(
    Told,
    st.sampled_from([each.value for each in OutcomeType]),
    st.integers(0, 5_000) | st.integers(0, CLOSED_MS + 10),
    st.none() | st.floats(-1e12, 1e12),
    st.sampled_from(["", "a", "b", "c"]),
    st.booleans(),
)


@given(st.lists(_HAPPENED, max_size=12), st.randoms(), st.sampled_from(["click", "conversion", "revenue"]))
def test_any_order_and_any_repetition_earns_the_same(told: list[Told], rng: Any, of: Any) -> None:
    rule, again = Rule(of, 0.1, 0.7), list(told)
    rng.shuffle(again)
    assert earned(told, rule, CLOSED_MS) == earned(again, rule, CLOSED_MS)


@given(st.lists(_HAPPENED, max_size=6))
def test_a_reward_is_kept_exactly(told: list[Told]) -> None:
    found = earned(told, Rule("revenue", 0.1, 0.7), CLOSED_MS)
    assert reward_kept(kept_as(found)) == found.reward
