"""What may be read of a customer: the facts that rules and models get, and that the record may hold.

Fails closed: without leave to personalise only facts of sensitivity `none`; what is sensitive only on the customer's
own grant; what is switched off not at all. What may not be read is missing, and nothing stands in for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from app.core.decision.gate import Gate
from app.core.decision.situation import Situation
from policy.bundle import Bundle, Placement
from policy.codes import SwitchKind

_NO_NAMES: frozenset[str] = frozenset()


def readable(placement: Placement, situation: Situation, gate: Gate) -> Mapping[str, Any]:
    """The facts that rules and models may read in this placement."""
    if gate.stop is not None:
        return {}
    values = situation.facts.values
    if gate.personal and not placement.sensitive and not situation.control.switches:
        return values  # nearly always: nothing is withheld
    if not gate.personal:
        names = impersonal_names(situation.bundle)
        values = {name: value for name, value in values.items() if name in names}
    withheld = withheld_names(placement, situation, gate)
    if not withheld:
        return values
    left = dict(values)  # few are withheld: a copy without them takes a third of picking all others
    for name in withheld:
        left.pop(name, None)
    return left


def withheld_names(placement: Placement, situation: Situation, gate: Gate) -> frozenset[str]:
    """Facts that count as missing, whatever else may be read: sensitive ones, where the customer did not grant
    personalisation in so many words; and those that are switched off."""
    withheld = sensitive_names(situation.bundle) if placement.sensitive and not gate.sensitive else _NO_NAMES
    if situation.control.switches:
        withheld |= _features_off(situation)
    return withheld


def _features_off(situation: Situation) -> frozenset[str]:
    switches, now_ms = situation.control.switches, situation.now_ms
    return frozenset(each.name for each in switches if each.kind is SwitchKind.FEATURE and each.in_force(now_ms))


@lru_cache(maxsize=64)
def impersonal_names(bundle: Bundle) -> frozenset[str]:
    """Facts of sensitivity `none`: those that may be read without leave to personalise."""
    return frozenset(fact.name for fact in bundle.facts if fact.sensitivity == "none")


@lru_cache(maxsize=64)
def sensitive_names(bundle: Bundle) -> frozenset[str]:
    """Facts of a sensitive class."""
    return frozenset(fact.name for fact in bundle.facts if fact.sensitivity.startswith("sensitive:"))
