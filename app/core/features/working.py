"""The worker's rules: what a chunk comes to, without the store.

    entries → forwarded, carried on, taken in, or folded → all that is to be written

Nothing is written here. A customer's events are folded one after the other on what was read of it; where that fails,
once more with a copy for each, so that one bad event costs itself alone: it becomes a letter, with the reason, and its
ids are not remembered, so that it counts once it was mended.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence, Set
from hashlib import blake2b
from types import MappingProxyType

from app.core.events.event import Collected, Letter, Misfit, Misfits
from app.core.features import codec
from app.core.features.chunk import NOTHING, Chunk, Results, Stored, Worked, forwarded_id, ids_of, letter_of
from app.core.features.codec import OverfullState, UnreadableState
from app.core.features.fold import fold, united
from app.core.features.lanes import UnfoldableEvent
from app.core.features.plan import FoldPlan, GroupState, new_state
from app.core.features.streams import CARRY, OWN, TAKE_IN

NOBODY: Mapping[str, int] = MappingProxyType({})


def work(
    plan: FoldPlan,
    chunk: Chunk,
    seen: Set[int],
    stored: Mapping[str, Stored],
    erased: Mapping[str, int] = NOBODY,
) -> Worked:
    """What the chunk comes to. `seen`: of its ids, those that the shard has had. `stored`: of its `customers`, and of
    whoever of the shard these became; who is not there is of another shard. `erased`: until when (Unix ms) what was
    received of a customer is nobody's."""
    return _Work(plan, seen, stored, erased).of(chunk)


class _Work:
    """One chunk on its way."""

    def __init__(self, plan: FoldPlan, seen: Set[int], stored: Mapping[str, Stored], erased: Mapping[str, int]) -> None:
        self._plan, self._seen, self._stored, self._erased = plan, seen, stored, erased
        self._met: set[int] = set()
        self._people: dict[str, _Person] = {}
        self._worked = Worked()

    def of(self, chunk: Chunk) -> Worked:
        routes = self._plan.routes
        for entry in chunk.entries:
            if entry.type not in routes and not entry.type.startswith(OWN):  # nothing is folded from it
                if self._is_new(entry, entry.customer, ids_of(entry)):
                    self._applied(entry)
            elif entry.type == CARRY:
                if self._is_new(entry, entry.customer, ids_of(entry)):
                    self._carry(entry, self._person(entry.customer))
            else:
                self._take(entry)
        for customer, person in self._people.items():
            self._settle(customer, person)
        for letter in chunk.letters:
            self._put_aside(letter)
        return self._worked

    def _is_new(self, entry: Collected, customer: str, ids: tuple[int, ...], had: tuple[int, ...] = ()) -> bool:
        """Whether the shard has not had it, neither the message nor what may happen only once, and whether it is not of
        a customer who was erased. `ids` are remembered, `had` are not."""
        if any(each in self._seen or each in self._met for each in ids + had):
            self._worked.counts[Results.REPEAT] += 1
            return False
        self._met.update(ids)
        if entry.received_at_ms <= self._erased.get(customer, -1):
            self._note(ids, Results.ERASED)
            return False
        return True

    def _take(self, entry: Collected) -> None:
        """It waits to be folded for whoever of this shard its customer became, or goes to another shard."""
        customer, met = entry.customer, {entry.customer}
        while (onto := self._person(customer).carried_to) in self._stored and onto not in met:
            customer = onto
            met.add(onto)
        if not onto:
            if self._is_new(entry, customer, ids_of(entry)):
                self._person(customer).waiting.append(entry)
        elif onto in met:
            self._put_aside(letter_of(entry, Misfit(Misfits.UNFOLDABLE, "its customers became each other")))
        else:
            # What was folded here before its customer became another one is a repeat there too.
            ids = (forwarded_id(entry, customer),)
            if self._is_new(entry, customer, ids, had=ids_of(entry)):
                # Who belongs to whom was applied here: the links need not go with it.
                self._worked.onward.append(entry._replace(customer=onto, edges=(), previous=(), previous_customer=""))
                self._note(ids, Results.FORWARDED)

    def _person(self, customer: str) -> _Person:
        person = self._people.get(customer)
        if person is None:
            person = self._people[customer] = _Person(self._stored.get(customer, NOTHING))
        return person

    def _carry(self, entry: Collected, person: _Person) -> None:
        """What is held so far goes to whom the customer became; what comes from now on is forwarded."""
        winner = str(entry.properties.get("to", ""))
        if not winner or winner == entry.customer:
            self._put_aside(letter_of(entry, Misfit(Misfits.UNREADABLE, "it does not say who the customer became")))
            return
        self._settle(entry.customer, person)
        if groups := person.groups:
            # A message that follows from this one, so that whoever repeats this repeats that.
            message_id = blake2b(b"take" + entry.message_id, digest_size=8).digest()
            told = {key: b64encode(state).decode() for key, state in groups.items()}
            at_ms = entry.received_at_ms
            self._worked.onward.append(Collected(winner, TAKE_IN, 0, at_ms, at_ms, message_id, b"", told))
        person.groups, person.carried_to = {}, winner
        self._worked.states.pop(entry.customer, None)
        self._worked.carried[entry.customer] = winner
        self._note(ids_of(entry), Results.CARRIED)

    def _settle(self, customer: str, person: _Person) -> None:
        """Fold what waits."""
        if not person.waiting:
            return
        waiting, person.waiting = person.waiting, []
        try:
            changed = folded(self._plan, person.groups, waiting)
            good = waiting
        except Exception:  # one of them, or all of them together: which one is told by folding each on a copy
            changed, good = self._carefully(person.groups, waiting)
        for entry in good:
            self._applied(entry)
        if changed:
            person.groups = {**person.groups, **changed}
            self._worked.states.setdefault(customer, {}).update(changed)

    def _carefully(
        self, groups: Mapping[str, bytes], waiting: Sequence[Collected]
    ) -> tuple[dict[str, bytes], list[Collected]]:
        changed: dict[str, bytes] = {}
        good = []
        for entry in waiting:
            try:
                changed |= folded(self._plan, {**groups, **changed}, [entry])
                good.append(entry)
            except (UnfoldableEvent, OverfullState) as error:
                self._put_aside(letter_of(entry, Misfit(Misfits.UNFOLDABLE, str(error))))
            except Exception as error:
                kind = type(error).__name__
                self._worked.surprises[kind] += 1
                self._put_aside(letter_of(entry, Misfit(Misfits.UNFOLDABLE, f"the fold failed (`{kind}`)")))
        return changed, good

    def _applied(self, entry: Collected) -> None:
        if entry.type == TAKE_IN:
            self._note(ids_of(entry), Results.TAKEN_IN)
            return
        self._note(ids_of(entry), Results.APPLIED)
        newest = self._worked.received_ms
        if entry.type and newest.get(entry.type, 0) < entry.received_at_ms:
            newest[entry.type] = entry.received_at_ms

    def _note(self, ids: tuple[int, ...], result: Results) -> None:
        self._worked.ids += ids
        self._worked.counts[result] += 1

    def _put_aside(self, letter: Letter) -> None:
        self._worked.letters.append(letter)
        self._worked.counts[Results.QUARANTINED] += 1


class _Person:
    """A customer in a chunk."""

    __slots__ = ("carried_to", "groups", "waiting")

    def __init__(self, stored: Stored) -> None:
        self.groups: Mapping[str, bytes] = stored.groups
        self.carried_to = stored.carried_to
        self.waiting: list[Collected] = []


def folded(plan: FoldPlan, groups: Mapping[str, bytes], entries: Sequence[Collected]) -> dict[str, bytes]:
    """The groups that entries changed, as bytes. Raises whatever a bad entry makes a fold raise."""
    state = new_state(plan)
    loaded: set[int] = set()
    changed: set[int] = set()
    passed_on: dict[str, bytes] = {}

    def load(key: str, index: int) -> None:
        if index not in loaded:
            loaded.add(index)
            state[index] = _read(plan, index, groups.get(key))

    for entry in entries:
        if entry.type != TAKE_IN:
            for group in plan.routes.get(entry.type, ()):
                load(group.key, group.index)
            changed.update(fold(plan, state, entry.event))
            continue
        told = {key: b64decode(str(text), validate=True) for key, text in entry.properties.items()}
        theirs = new_state(plan)
        for group in plan.groups:
            if group.key in told:
                load(group.key, group.index)
                theirs[group.index] = _read(plan, group.index, told.pop(group.key))
                changed.add(group.index)
        state[:] = united(plan, state, theirs)
        # Groups that this bundle does not know are kept for the one that does.
        passed_on |= {key: raw for key, raw in told.items() if key not in groups}
    encoded = {
        group.key: codec.encode(group, held)
        for group, held in ((plan.groups[index], state[index]) for index in sorted(changed))
        if held is not None
    }
    return passed_on | encoded


def _read(plan: FoldPlan, index: int, raw: bytes | None) -> GroupState | None:
    """What cannot be read is not known: what comes from now on counts."""
    try:
        return None if raw is None else codec.decode(plan.groups[index], raw)
    except UnreadableState:
        return None
