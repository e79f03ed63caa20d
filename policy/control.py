"""What operators and other nodes say about every decision: kill switches, spent budgets, what variants earned so far.

A node polls these facts; a decision gets them as one argument, and its record keeps what mattered, so that it can be
decided again. A node that cannot read them suppresses marketing: switched off is not told from unknown. What variants
earned is a score, and fails open: what was read last stays.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from policy.bundle import Bundle
from policy.codes import SwitchKind

#: Control facts older than this are unknown (DESIGN section 10, Switches).
STALE_AFTER_S = 5.0
#: The name of the switch that turns everything off.
EVERYTHING = "*"

#: A variant of a message: message, its version, variant.
VariantKey: TypeAlias = tuple[str, int, str]


class Switch(NamedTuple):
    """A part that is turned off, by whom, why, and until when (Unix ms, not included; None: until turned on)."""

    kind: SwitchKind
    name: str
    by: str
    why: str
    until_ms: int | None
    at_ms: int

    def in_force(self, now_ms: int) -> bool:
        return self.until_ms is None or now_ms < self.until_ms


class Control(NamedTuple):
    """The control facts of one moment."""

    switches: tuple[Switch, ...] = ()
    stale: bool = False  # nobody knows what is switched off
    exhausted: frozenset[int] = frozenset()  # budgets, by index, without room for one more send
    #: variant → (responses, sends) of all customers, for variants that are compared
    earned: Mapping[VariantKey, tuple[int, int]] = MappingProxyType({})

    def off(self, kind: SwitchKind, name: str, now_ms: int) -> Switch | None:
        """The switch that turns `name` off now; None while it is on."""
        for switch in self.switches:
            if switch.name == name and switch.kind is kind and switch.in_force(now_ms):
                return switch
        return None


NO_CONTROL = Control()


def is_known(bundle: Bundle, kind: SwitchKind, name: str) -> bool:
    """Whether a bundle has what a switch names. One that names a part of another release is a switch all the same."""
    if kind in (SwitchKind.REGION, SwitchKind.ALL):  # no bundle lists these
        return True
    names: dict[SwitchKind, Collection[str]] = {
        SwitchKind.PLACEMENT: bundle.placements,
        SwitchKind.MESSAGE: [message.id for message in bundle.messages],
        SwitchKind.MODEL: [model.id for model in bundle.models],
        SwitchKind.FEATURE: bundle.fact_by_name,
        SwitchKind.PURPOSE: bundle.purposes,
    }
    return name in names[kind]


def compared_variants(bundle: Bundle) -> frozenset[VariantKey]:
    """The variants whose counts decide something: those of messages that some placement draws by Thompson sampling."""
    return frozenset(
        (candidate.message.id, candidate.message.version, variant.id)
        for placement in bundle.placements.values()
        if placement.explore is not None and placement.explore.method == "thompson"
        for candidate in placement.candidates
        if len(candidate.message.variants) > 1
        for variant in candidate.message.variants
    )
