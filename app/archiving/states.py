"""Customers' states in bounded memory: those that were touched lately as they are, all others as the store has them."""

from __future__ import annotations

from collections.abc import Iterator

from app.core.features.codec import decode, encode
from app.core.features.plan import FoldPlan, State, new_state

#: States that are kept unpacked: some 5 KB each.
UNPACKED_MAX = 20_000


class States:
    """By customer. Whoever gets a state may fold into it, until it asks for another one."""

    __slots__ = ("_packed", "_plan", "_unpacked")

    def __init__(self, plan: FoldPlan) -> None:
        self._plan = plan
        self._unpacked: dict[str, State] = {}
        self._packed: dict[str, tuple[bytes | None, ...]] = {}

    def get(self, customer: str) -> State:
        """A customer's state; a new one of whom there is none. Raises OverfullState."""
        state = self._unpacked.get(customer)
        if state is None:
            if len(self._unpacked) >= UNPACKED_MAX:
                self._pack()
            packed = self._packed.pop(customer, None)
            state = new_state(self._plan) if packed is None else self._of(packed)
            self._unpacked[customer] = state
        return state

    def __contains__(self, customer: str) -> bool:
        return customer in self._unpacked or customer in self._packed

    def drain(self) -> Iterator[tuple[str, State]]:
        """All of them, in the order of their keys; they are gone then."""
        for customer in sorted({*self._unpacked, *self._packed}):
            state = self._unpacked.pop(customer, None)
            yield customer, self._of(self._packed.pop(customer)) if state is None else state

    def _of(self, packed: tuple[bytes | None, ...]) -> State:
        groups = zip(self._plan.groups, packed, strict=True)
        return [None if raw is None else decode(group, raw) for group, raw in groups]

    def _pack(self) -> None:
        for customer, state in self._unpacked.items():
            groups = zip(self._plan.groups, state, strict=True)
            self._packed[customer] = tuple(None if held is None else encode(group, held) for group, held in groups)
        self._unpacked.clear()
