"""Arms and scores at the very edges: found by making small mistakes on purpose (`make mutate`)."""

from __future__ import annotations

import pytest

from policy.arbitration import Terms, choose_variant, worths
from policy.arms import arm_of, held_arm
from policy.bundle import Variant
from policy.codes import Arm

THIRDS = ((Arm.TREATMENT, 0.25), (Arm.HOLDOUT, 0.25), (Arm.BASELINE, 0.5))


@pytest.mark.parametrize(
    ("place", "arm"), [(0.0, Arm.HOLDOUT), (0.25, Arm.TREATMENT), (0.5, Arm.BASELINE), (0.5 - 2**-53, Arm.TREATMENT)]
)
def test_an_arm_begins_with_its_first_place_and_ends_before_the_next(
    place: float, arm: Arm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("policy.arms._hashed", lambda *_: int(place * (1 << 53)) << 11)
    assert held_arm("h1", THIRDS, "cus_1") is arm


def test_a_holdout_of_nobody_holds_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policy.arms._hashed", lambda *_: 0)
    assert held_arm("h1", ((Arm.TREATMENT, 1.0), (Arm.HOLDOUT, 0.0), (Arm.BASELINE, 0.0)), "cus_1") is Arm.TREATMENT


def test_an_experiment_of_one_arm_has_everybody_in_it() -> None:
    assert arm_of("e7", (("all", 1.0),), "cus_1") == "all"


def test_a_salt_as_long_as_a_key_may_be_is_the_key_itself() -> None:
    """Written down, as the assignments of every trial: another key would move customers between arms."""
    halves = (("a", 0.5), ("b", 0.5))
    assert "".join(arm_of("s" * 64, halves, f"cus_{number}") for number in range(20)) == "aabbbabaaabbbaabbbbb"


def test_no_factor_of_fatigue_is_forgotten_for_a_message() -> None:
    with pytest.raises(ValueError, match="shorter"):
        worths([0.5, 0.25], [Terms(1.0, 1.0, 1.0)] * 2, [1.0])


def test_a_message_with_one_wording_has_that_one() -> None:
    assert choose_variant((Variant("only", None, 1.0),), 42, 7) == 0


def test_a_wording_without_weight_never_goes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policy.arbitration.unit_draw", lambda *_: 0.0)
    assert choose_variant((Variant("none", None, 0.0), Variant("all", None, 1.0)), 42, 7) == 1


def test_what_rounding_leaves_over_is_the_last_wordings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policy.arbitration.unit_draw", lambda *_: 1.0)
    assert choose_variant(tuple(Variant(name, None, 1.0) for name in "abc"), 42, 7) == 2
