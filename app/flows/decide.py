"""The way of a decision: identify → read → gate → eligible → score → limits → arbitrate → commit → respond.

A straight line over steps that live elsewhere: the pure ones in `app.core.decision`; store and models are handed in.
Nothing here decides anything. Whatever goes wrong with the store or a model is a value, and the answer is a 200 that
says so: an orchestrator must be able to go on. Marketing fails closed; scores fail open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from app.core.decision.answer import envelope, render
from app.core.decision.arbitrate import Decision, arbitrate
from app.core.decision.commit import (
    Committed,
    Intent,
    Kept,
    Late,
    Moved,
    NewContact,
    Outcome,
    Reading,
    Refused,
    Twin,
    Unknown,
    Unreadable,
)
from app.core.decision.eligible import Pool, eligible
from app.core.decision.failed import undecided, unknown_situation, without_facts
from app.core.decision.gate import UNREAD, Gate, gate
from app.core.decision.ids import base_of, id_at
from app.core.decision.ledger import counts_contacts, forget_before_ms, new_contact, new_exposures, with_new
from app.core.decision.limits import limits
from app.core.decision.record import Asked, encode
from app.core.decision.request import DecideRequest
from app.core.decision.score import NOT_SCORED, Scoring, model_to_run
from app.core.decision.situation import Situation, situation
from app.core.features.live import live_features
from app.core.identity import Alias
from app.errors import Problem
from app.flows.turns import Turns
from app.watch import ARBITRATE, COMMIT, ELIGIBLE, GATE, IDENTIFY, LIMITS, READ, SCORE, Watch
from policy.bundle import Bundle, Placement
from policy.codes import Degraded, Reason

if TYPE_CHECKING:  # handed in by the composition root
    from app.core.features.live import LiveFeatures
    from app.flows.budgets import Budgets
    from app.flows.control import ControlWatch
    from app.flows.reconcile import Reconciler
    from app.flows.watch_features import FeatureWatch
    from app.scoring import ModelRunner
    from app.store.decisions import DecisionStore
    from policy.facts import Facts

#: What a model may not use of the time that is left: the commit and the answer need it.
RESERVE_FOR_COMMIT_S = 0.005
READ_FAILED, COMMIT_FAILED, COMMIT_UNKNOWN = "read", "commit", "unknown"
#: Pointers to whom a customer became that are followed. They are one deep, and two while that one becomes another.
POINTERS_MAX = 2
#: A commit without a deadline: what was answered without the store has no caller that waits.
NEVER_MS = 1 << 52


@dataclass(slots=True)
class Answered:
    """What goes back to the caller, and what telemetry wants to know of it."""

    body: bytes
    customer: str
    decisions: tuple[Decision, ...] = ()
    replayed: bool = False  # the bytes of an earlier answer under the same idempotency key
    failures: tuple[tuple[str, str], ...] = ()  # (what failed, kind)
    conflicts: int = 0
    unmet_durability: bool = False  # committed, but not as surely as the deployment asks: not to be answered


class Became(NamedTuple):
    """Nothing was decided: the customer was merged into this one, of whom it must be asked."""

    customer: str


class Proposal(NamedTuple):
    """Decided, and not yet committed."""

    situation: Situation
    base: str
    decisions: tuple[Decision, ...]
    answers: tuple[bytes, ...]  # rendered, without `excluded`
    gates: tuple[Gate, ...]
    contacts: tuple[NewContact, ...]


class Decider:
    """Decides requests for one bundle. One a process; any number of requests at once."""

    def __init__(
        self,
        bundle: Bundle,
        release: str,
        store: DecisionStore,
        models: ModelRunner,
        reconciler: Reconciler,
        control: ControlWatch,
        budgets: Budgets,
        features: FeatureWatch,
        *,
        chance: Callable[[int], int],
        wall_clock_s: Callable[[], float],
        record_explanation: bool = True,
    ) -> None:
        """`chance(bits)` gives unpredictable bits; `wall_clock_s` is only read where the store's clock cannot be."""
        self.bundle = bundle
        self.release = release
        self._store = store
        self._models = models
        self._reconciler = reconciler
        self._control = control
        self._budgets = budgets
        self._features = features
        self._chance = chance
        self._wall_clock_s = wall_clock_s
        self._record_explanation = record_explanation
        self._reads_features = live_features(bundle, tuple(bundle.placements.values())) is not None
        self._turns = Turns()
        self._now_s = asyncio.get_running_loop().time

    async def decide(self, request: DecideRequest, watch: Watch, deadline: float) -> Answered:
        """Answer by `deadline` (loop time, s), whatever the store or a model does. Raises `Problem` only for an
        idempotency key that was used with another body."""
        asked = request.customer
        customer = asked if isinstance(asked, str) else await self._identify(asked, watch, deadline)
        if customer is None:
            return self._undecided(request, "", watch, Reason.FACTS_UNAVAILABLE, Degraded.FACTS_UNAVAILABLE)
        seed, chance = self._chance(64), self._chance(48)  # kept over retries: nobody gets a second draw that way
        for _ in range(1 + POINTERS_MAX):
            if not self._turns.try_take(customer) and not await self._turns.wait(customer, deadline):
                return self._undecided(request, customer, watch, Reason.DEADLINE, Degraded.DEADLINE)
            try:
                answered = await self._decide(request, customer, seed, chance, watch, deadline)
            finally:
                self._turns.give_back(customer)
            if isinstance(answered, Answered):
                return answered
            customer = answered.customer
        return self._undecided(request, customer, watch, Reason.MERGE_PENDING)

    async def _identify(self, alias: Alias, watch: Watch, deadline: float) -> str | None:
        """Look an alias up; None: the store cannot tell whose it is."""
        found = await self._store.customer_of(alias, deadline)
        watch.mark(IDENTIFY)
        return found

    async def _decide(
        self, request: DecideRequest, customer: str, seed: int, chance: int, watch: Watch, deadline: float
    ) -> Answered | Became:
        live = live_features(self.bundle, request.placements) if self._reads_features else None
        reading = await self._store.read(customer, request.idempotency, deadline, live)
        read_at = self._now_s()
        watch.mark(READ)
        conflicts = 0
        while True:
            if not isinstance(reading, Reading):
                return self._unread(request, customer, watch, reading, seed, chance)
            if reading.facts.merged_into is not None:
                return Became(reading.facts.merged_into)
            facts = reading.facts if live is None else self._with_features(live, reading, customer)
            proposal = await self._propose(request, customer, facts, seed, chance, watch, deadline)
            if request.dry_run:
                return self._respond(request, customer, proposal, watch, conflicts)
            if not self._budgets.spend(proposal.contacts):
                continue  # others took what was left meanwhile: it is known to be spent now
            commit_by_ms = reading.facts.now_ms + int((deadline - read_at) * 1000)
            intent, body = self._intent(request, customer, proposal, watch, commit_by_ms)
            outcome = await self._store.commit(intent, deadline)
            self._budgets.settle(proposal.contacts, outcome)
            read_at = self._now_s()
            watch.mark(COMMIT)
            if isinstance(outcome, Committed) and outcome.durable:
                return self._respond(request, customer, proposal, watch, conflicts, body)
            if not isinstance(outcome, Moved):
                return self._not_committed(request, customer, watch, intent, outcome, conflicts)
            conflicts += 1
            if read_at >= deadline:
                answered = self._undecided(request, customer, watch, Reason.CONFLICT, Degraded.DEADLINE)
                answered.conflicts = conflicts
                return answered
            reading = outcome.after(reading)

    def _with_features(self, live: LiveFeatures, reading: Reading, customer: str) -> Facts:
        shard = self._store.shard_of(customer)
        lacking = self._features.lacking.get(shard)
        return live.joined(reading.facts, reading.features, shard, self._control.watermarks, lacking)

    async def _propose(
        self, request: DecideRequest, customer: str, facts: Facts, seed: int, chance: int, watch: Watch, deadline: float
    ) -> Proposal:
        """Decide every placement in order of importance; each sees what the earlier ones chose."""
        control = self._control.current
        if self.bundle.budgets:
            control = await self._budgets.seen(control, request.placements, facts.now_ms, deadline)
        seen = situation(self.bundle, facts, request.context, seed, customer, request.gpc, control)
        base = base_of(self._store.shard_of(customer), facts.now_ms, chance)
        taken: dict[int, str] = {}
        decisions: list[Decision] = []
        contacts: list[NewContact] = []
        gates: list[Gate] = []
        for place, placement in enumerate(request.placements):
            gated = gate(placement, seen)
            watch.mark(GATE)
            pool = eligible(placement, seen, gated, taken)
            watch.mark(ELIGIBLE)
            scoring = await self._score(placement, pool, gated, deadline)
            watch.mark(SCORE)
            admissible = limits(placement, seen, pool, with_new(facts.contacts, contacts))
            watch.mark(LIMITS)
            decision = arbitrate(placement, seen, gated, pool, scoring, admissible)
            gates.append(gated)
            decisions.append(decision)
            new = new_contact(decision, base, place, self._store.kind_of)
            if new is not None:
                contacts.append(new)
                taken[placement.candidates[decision.position or 0].message.index] = placement.id
            watch.mark(ARBITRATE)
        answers = _rendered(decisions, base, seen)
        return Proposal(seen, base, tuple(decisions), answers, tuple(gates), tuple(contacts))

    async def _score(self, placement: Placement, pool: Pool, gated: Gate, deadline: float) -> Scoring:
        ref = model_to_run(placement, pool, gated)
        if ref is None:
            return NOT_SCORED
        scoring = self._models.score(placement, ref, pool, deadline - self._now_s() - RESERVE_FOR_COMMIT_S)
        return scoring if isinstance(scoring, Scoring) else await scoring

    def _intent(
        self, request: DecideRequest, customer: str, proposal: Proposal, watch: Watch, commit_by_ms: int | None
    ) -> tuple[Intent, bytes | None]:
        """What the commit writes; and the body, where it must be kept for repeats of an idempotency key."""
        facts = proposal.situation.facts
        idempotency = request.idempotency
        if not proposal.contacts and any(decision.retryable for decision in proposal.decisions):
            idempotency = None  # asking again may help: it must not get the same answer
        body = None if idempotency is None else self._body(request, customer, proposal, watch)
        binding = proposal.contacts and counts_contacts(request.placements)
        record = encode(
            proposal.base,
            Asked(customer, request.placements, request.context, request.budget_ms, request.trace_id, request.gpc),
            proposal.situation,
            proposal.decisions,
            proposal.answers,
            proposal.gates,
            watch.elapsed_ns() // 1000,
            self.release,
            self._record_explanation,
        )
        intent = Intent(  # by position: names would take half as long again
            customer,
            proposal.base,
            facts.general_version,
            facts.ledger_version if binding else None,
            commit_by_ms if commit_by_ms is not None else NEVER_MS,
            record,
            proposal.contacts,
            idempotency,
            body or b"",
            forget_before_ms(facts.contacts, facts.now_ms, self.bundle.ledger_retention_s),
            new_exposures(proposal.decisions, facts),
        )
        return intent, body

    def _respond(
        self,
        request: DecideRequest,
        customer: str,
        proposal: Proposal,
        watch: Watch,
        conflicts: int = 0,
        body: bytes | None = None,
    ) -> Answered:
        if body is None:
            body = self._body(request, customer, proposal, watch)
        return Answered(body, customer, proposal.decisions, conflicts=conflicts)

    def _body(self, request: DecideRequest, customer: str, proposal: Proposal, watch: Watch) -> bytes:
        answers = proposal.answers
        if request.explain:
            answers = _rendered(proposal.decisions, proposal.base, proposal.situation, explain=True)
        elapsed_ms = watch.elapsed_ns() / 1e6
        return envelope(request, customer, answers, self.release, self.bundle.digest, elapsed_ms)

    # What could not be decided as it should

    def _undecided(
        self, request: DecideRequest, customer: str, watch: Watch, reason: Reason, *degraded: Degraded
    ) -> Answered:
        decisions = tuple(undecided(placement, reason, *degraded) for placement in request.placements)
        return self._respond(request, customer, self._unlogged(request, customer, decisions), watch)

    def _unlogged(self, request: DecideRequest, customer: str, decisions: tuple[Decision, ...]) -> Proposal:
        now_ms = int(self._wall_clock_s() * 1000)
        unknown = unknown_situation(self.bundle, request.context, now_ms, 0)
        return self._proposal_without_facts(customer, unknown, decisions, self._chance(48))

    def _proposal_without_facts(
        self, customer: str, unknown: Situation, decisions: tuple[Decision, ...], chance: int
    ) -> Proposal:
        base = base_of(self._store.shard_of(customer), unknown.now_ms, chance)
        answers = _rendered(decisions, base, unknown)
        made = (new_contact(decision, base, place, self._store.kind_of) for place, decision in enumerate(decisions))
        contacts = tuple(new for new in made if new is not None)
        return Proposal(unknown, base, decisions, answers, (UNREAD,) * len(decisions), contacts)

    def _unread(
        self,
        request: DecideRequest,
        customer: str,
        watch: Watch,
        instead: Unreadable | Twin | Refused,
        seed: int,
        chance: int,
    ) -> Answered:
        """What is answered where the read brought no facts."""
        if isinstance(instead, Unreadable):
            return self._without_facts(request, customer, watch, instead, seed, chance)
        return self._answered_before(request, customer, watch, instead)

    def _without_facts(
        self, request: DecideRequest, customer: str, watch: Watch, unreadable: Unreadable, seed: int, chance: int
    ) -> Answered:
        """Marketing is suppressed; a transactional send is logged when the store is back."""
        now_ms = int(self._wall_clock_s() * 1000)
        control = self._control.current
        unknown = unknown_situation(self.bundle, request.context, now_ms, seed, customer, request.gpc, control)
        taken: dict[int, str] = {}
        decisions = []
        for placement in request.placements:
            decision = without_facts(placement, unknown, taken)
            if decision.message is not None:
                taken[decision.message.index] = placement.id
            decisions.append(decision)
        proposal = self._proposal_without_facts(customer, unknown, tuple(decisions), chance)
        if proposal.contacts and not request.dry_run:
            intent, _ = self._intent(request, customer, proposal, watch, None)
            # Whatever the versions are now: it has been sent.
            intent = intent._replace(general_version=None, ledger_version=None, idempotency=None)
            if not self._reconciler.log_later(intent):
                return self._undecided(request, customer, watch, Reason.FACTS_UNAVAILABLE, Degraded.FACTS_UNAVAILABLE)
        answered = self._respond(request, customer, proposal, watch)
        answered.failures = ((READ_FAILED, unreadable.kind),)
        return answered

    def _answered_before(
        self, request: DecideRequest, customer: str, watch: Watch, earlier: Twin | Refused
    ) -> Answered:
        """A repeat. Where nobody can say now what was answered, nothing else may be: not even a receipt."""
        if isinstance(earlier, Twin):
            return _replayed(request, customer, earlier.kept)
        answered = self._undecided(request, customer, watch, Reason.FACTS_UNAVAILABLE, Degraded.FACTS_UNAVAILABLE)
        answered.failures = ((READ_FAILED, earlier.kind),)
        return answered

    def _not_committed(
        self, request: DecideRequest, customer: str, watch: Watch, intent: Intent, outcome: Outcome, conflicts: int
    ) -> Answered:
        """Suppress; and where nobody knows what became of the commit, have it released."""
        too_late = Reason.CONFLICT if conflicts else Reason.DEADLINE
        match outcome:
            case Twin(kept):
                return _replayed(request, customer, kept)
            case Committed():  # not on disk as strict mode asks
                if intent.contacts:
                    self._reconciler.release_later(intent)
                return Answered(b"", customer, unmet_durability=True)
            case Unknown(kind, timed_out):
                if intent.contacts:
                    self._reconciler.release_later(intent)
                reason = too_late if timed_out else Reason.FACTS_UNAVAILABLE
                failure, degraded = (COMMIT_UNKNOWN, kind), Degraded.COMMIT_UNKNOWN
            case Late() | Refused("StoreTimeout"):  # nothing was written, and no time is left to try again
                failure = (COMMIT_FAILED, getattr(outcome, "kind", "Late"))
                reason, degraded = too_late, Degraded.DEADLINE
            case _:
                reason, failure = Reason.FACTS_UNAVAILABLE, (COMMIT_FAILED, getattr(outcome, "kind", ""))
                degraded = Degraded.FACTS_UNAVAILABLE
        answered = self._undecided(request, customer, watch, reason, degraded)
        answered.failures = (failure,)
        answered.conflicts = conflicts
        return answered


def _rendered(decisions: Sequence[Decision], base: str, seen: Situation, explain: bool = False) -> tuple[bytes, ...]:
    """The entries of `decisions`, in the order asked for."""
    return tuple(
        [
            render(decision, id_at(base, place), seen.timezone, seen.bundle, explain)
            for place, decision in enumerate(decisions)
        ]
    )


def _replayed(request: DecideRequest, customer: str, kept: Kept) -> Answered:
    """The answer that the idempotency key got before, to the byte."""
    if request.idempotency is not None and kept.body_hash != request.idempotency.body_hash:
        raise Problem("idempotency_key_reused", "send another `Idempotency-Key`, or the same body as before")
    return Answered(kept.answer, customer, replayed=True)
