"""Control facts: what is off, for how long, and which names a bundle knows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from policy.bundle import Bundle, Explore
from policy.codes import SwitchKind
from policy.control import Control, Switch, compared_variants, is_known
from tests.support.contract import contract_bundle

NOW_MS = 1_795_514_400_000


def switch(kind: SwitchKind, name: str, until_ms: int | None = None) -> Switch:
    return Switch(kind, name, "crm_oncall", "a wrong price", until_ms, NOW_MS)


def test_a_switch_holds_until_its_time_and_not_at_it() -> None:
    control = Control((switch(SwitchKind.MESSAGE, "mens", NOW_MS + 1),))
    assert control.off(SwitchKind.MESSAGE, "mens", NOW_MS) is not None
    assert control.off(SwitchKind.MESSAGE, "mens", NOW_MS + 1) is None


def test_a_switch_without_a_time_holds_for_ever() -> None:
    control = Control((switch(SwitchKind.ALL, "*"),))
    assert control.off(SwitchKind.ALL, "*", NOW_MS + 10**12) is control.switches[0]


def test_a_switch_turns_off_one_kind_of_thing_and_nothing_else_of_that_name() -> None:
    control = Control((switch(SwitchKind.PLACEMENT, "weekly"),))
    assert [kind for kind in SwitchKind if control.off(kind, "weekly", NOW_MS)] == [SwitchKind.PLACEMENT]
    assert control.off(SwitchKind.PLACEMENT, "monthly", NOW_MS) is None


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (SwitchKind.PLACEMENT, lambda bundle: bundle.placements),
        (SwitchKind.MESSAGE, lambda bundle: [each.id for each in bundle.messages]),
        (SwitchKind.MODEL, lambda bundle: [each.id for each in bundle.models]),
        (SwitchKind.FEATURE, lambda bundle: [each.name for each in bundle.facts]),
        (SwitchKind.PURPOSE, lambda bundle: bundle.purposes),
    ],
)
def test_a_bundle_knows_its_own_names_kind_by_kind(kind: SwitchKind, names: object) -> None:
    bundle = contract_bundle()
    own = list(names(bundle))  # type: ignore[operator]  # a function, by parameter
    assert own
    assert all(is_known(bundle, kind, name) for name in own)
    assert not is_known(bundle, kind, "of_another_release")


def test_regions_and_everything_are_known_to_every_bundle() -> None:
    assert is_known(contract_bundle(), SwitchKind.REGION, "NZ")
    assert is_known(contract_bundle(), SwitchKind.ALL, "*")


def exploring(method: str | None) -> Bundle:
    bundle = contract_bundle()
    explore = None if method is None else Explore(method)  # type: ignore[arg-type]  # a method, as its text
    placements = {name: replace(placement, explore=explore) for name, placement in bundle.placements.items()}
    return replace(bundle, placements=placements)


@pytest.mark.parametrize("method", [None, "epsilon", "softmax"])
def test_nothing_is_counted_for_bundles_that_compare_no_variants(method: str | None) -> None:
    assert compared_variants(exploring(method)) == frozenset()


def test_variants_are_compared_only_with_one_another() -> None:
    bundle = exploring("thompson")
    compared = compared_variants(bundle)
    several = {each.id for each in bundle.messages if len(each.variants) > 1 and each.placements}
    assert {message for message, _, _ in compared} == several
    assert several
