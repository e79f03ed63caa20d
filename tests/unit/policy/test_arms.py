"""Arms by keyed hash: the same for ever, in the right shares, and nobody leaves an arm that grows."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.arms import arm_of, held_arm
from policy.codes import Arm
from tests.support.trials import CRITICAL, chi_square

HALVES = (("a", 0.5), ("b", 0.5))
CUSTOMERS = [f"cus_{number:05d}" for number in range(20_000)]


def arms(salt: str, shares: tuple[tuple[str, float], ...], number: int = 20_000) -> list[str]:
    return [arm_of(salt, shares, customer) for customer in CUSTOMERS[:number]]


def test_a_customer_is_in_the_same_arm_for_ever() -> None:
    """Written down: another hash would move customers between arms in the middle of every trial."""
    thirds = (("a", 0.3), ("b", 0.3), ("c", 0.4))
    assigned = "".join(arm_of("h1", thirds, f"cus_{number}") for number in range(30))
    assert assigned == "bccccaccacbcaccabbbcbcaaaaabcc"


def test_another_process_assigns_alike() -> None:
    shares = "(('a', 0.5), ('b', 0.5))"
    program = f"from policy.arms import arm_of; print(*[arm_of('s', {shares}, str(n)) for n in range(200)], sep='')"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    assert told == "".join(arm_of("s", HALVES, str(number)) for number in range(200))


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.95, 0.05), (0.2, 0.3, 0.5), (0.1, 0.2, 0.3, 0.4), (0.001, 0.999)])
def test_arms_have_their_shares(shares: tuple[float, ...]) -> None:
    names = tuple((f"arm_{place}", share) for place, share in enumerate(shares))
    assigned = arms("salt", names)
    counts = [assigned.count(name) for name, _ in names]
    assert chi_square(counts, list(shares)) < CRITICAL[len(shares) - 1], counts


def test_an_arm_without_a_share_is_nobodys() -> None:
    assert set(arms("salt", (("none", 0.0), ("all", 1.0)), 2_000)) == {"all"}


def test_another_salt_is_another_assignment() -> None:
    both = list(zip(arms("one", HALVES), arms("two", HALVES), strict=True))
    counts = [both.count((first, second)) for first in "ab" for second in "ab"]
    assert chi_square(counts, [0.25] * 4) < CRITICAL[3], "trials with different salts depend on each other"


def test_one_salt_is_one_assignment() -> None:
    assert arms("one", HALVES, 500) == arms("one", HALVES, 500)


def test_the_order_in_which_arms_are_written_makes_no_difference() -> None:
    assert arms("salt", HALVES, 2_000) == arms("salt", HALVES[::-1], 2_000)


@pytest.mark.parametrize("salt", ["", "h1", "x" * 64, "x" * 65, "é" * 100, "a b/c"])
def test_any_salt_will_do(salt: str) -> None:
    assert set(arms(salt, HALVES, 200)) == {"a", "b"}


@settings(max_examples=60, deadline=None)
@given(data=st.data(), number=st.integers(2, 5))
def test_whoever_is_in_an_arm_that_grows_stays_in_it(data: st.DataObject, number: int) -> None:
    """One share rises, no other does: nobody leaves that arm, whoever else moves."""
    parts = st.lists(st.integers(0, 50), min_size=number, max_size=number).filter(lambda each: each[0] > 0)
    before = data.draw(parts)
    taken = [data.draw(st.integers(0, part)) for part in before[1:]]
    after = [before[0] + sum(taken), *(part - lost for part, lost in zip(before[1:], taken, strict=True))]
    names = [f"arm_{place}" for place in range(number)]
    old, new = (
        tuple((name, part / sum(before)) for name, part in zip(names, parts_of, strict=True))
        for parts_of in (before, after)
    )
    for customer in CUSTOMERS[:300]:
        if arm_of("salt", old, customer) == "arm_0":
            assert arm_of("salt", new, customer) == "arm_0"


def parts(holdout: int, baseline: int) -> tuple[tuple[Arm, float], ...]:
    """Shares in hundredths; the rest is treated."""
    shares = {Arm.TREATMENT: 100 - holdout - baseline, Arm.HOLDOUT: holdout, Arm.BASELINE: baseline}
    return tuple((arm, part / 100) for arm, part in shares.items())


@pytest.mark.parametrize(("holdout", "baseline"), [(5, 0), (0, 5), (30, 20), (50, 50), (100, 0), (0, 100), (0, 0)])
def test_a_holdout_has_its_shares(holdout: int, baseline: int) -> None:
    shares = parts(holdout, baseline)
    assigned = [held_arm("h1", shares, customer) for customer in CUSTOMERS]
    counts = [assigned.count(arm) for arm, _ in shares]
    assert chi_square(counts, [share for _, share in shares]) < CRITICAL[2], counts
    assert all(count == 0 for count, (_, share) in zip(counts, shares, strict=True) if share == 0)


def test_who_is_held_out_is_so_for_ever() -> None:
    letters = "".join(held_arm("h1", parts(20, 20), f"cus_{number}").value[0] for number in range(30))
    assert letters == "tttbthtttbthhtbbbtbttttthttttt"


@settings(max_examples=40, deadline=None)
@given(
    holdout=st.integers(0, 40), baseline=st.integers(0, 40), more=st.integers(0, 20), grows=st.sampled_from(["h", "b"])
)
def test_a_holdout_that_grows_moves_nobody_but_the_treated(holdout: int, baseline: int, more: int, grows: str) -> None:
    before = parts(holdout, baseline)
    after = parts(holdout + more, baseline) if grows == "h" else parts(holdout, baseline + more)
    grown = Arm.HOLDOUT if grows == "h" else Arm.BASELINE
    for customer in CUSTOMERS[:300]:
        was, is_now = held_arm("h", before, customer), held_arm("h", after, customer)
        assert is_now is was or (was is Arm.TREATMENT and is_now is grown)
