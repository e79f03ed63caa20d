"""Arms: which trials the customer takes part in here, in which arm, and which of them mattered.

A holdout (`arms`) says whether a placement decides at all: `holdout` beats `baseline` beats `treatment` over several.
An experiment says which variant of the chosen message goes out; the first in the bundle's order that has one decides.

Who takes part must not depend on the arm, or arms could not be compared. So a customer is exposed to a holdout where
the treatment would send something, whatever the customer's own arm does; and to an experiment where it could change the
variant of what is sent, whichever arm the customer is in.

Treated, and in no trial, is who falls outside the audience, or whose region is not known where regions are compared.
Where facts could not be read the customer's key is known all the same, and the arm holds. Without leave to personalise
an audience's rules may read no personal fact.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import fsum
from typing import NamedTuple

from app.core.decision.eligible import Pool
from app.core.decision.situation import Situation
from policy.arms import arm_of, held_arm
from policy.bundle import Arms, By, Experiment, Message, Placement
from policy.codes import Arm


class Exposure(NamedTuple):
    """A customer met a trial: logged once a customer and trial."""

    trial: str  # `Arms.key` or `Experiment.key`
    arm: str


class Taking(NamedTuple):
    """An experiment that the customer takes part in, and the arm."""

    experiment: Experiment
    arm: str


class Assigned(NamedTuple):
    """The customer's arms in one placement."""

    arm: Arm = Arm.TREATMENT
    held: tuple[Exposure, ...] = ()  # in holdouts
    taking: tuple[Taking, ...] = ()  # in experiments, in the bundle's order


TREATED = Assigned()


def assigned(placement: Placement, situation: Situation, pool: Pool) -> Assigned:
    """Find the customer's arms. Nothing is drawn: they follow from the customer, the region or the decision."""
    if not placement.arms and not placement.experiments:
        return TREATED
    arm, held, taking = Arm.TREATMENT, [], []
    for trial in placement.arms:
        found = _held(trial, situation, pool)
        if found is not None:
            held.append(_exposure(trial, found))
            if found is not arm and (found is Arm.HOLDOUT or arm is Arm.TREATMENT):
                arm = found  # holdout beats baseline beats treatment
    for experiment in placement.experiments:
        subject = _subject(experiment.by, situation)
        if subject and _in_audience(experiment.audience, pool):
            taking.append(Taking(experiment, arm_of(experiment.salt, experiment.shares, subject)))
    return Assigned(arm, tuple(held), tuple(taking))


def forced_variant(taking: Sequence[Taking], message: Message) -> int | None:
    """Position of the variant that an experiment prescribes; None where none does."""
    for experiment, arm in taking:
        position = _prescribed(experiment, arm, message)
        if position is not None:
            return position
    return None


def variant_probabilities(taking: Sequence[Taking], message: Message, drawn: Sequence[float]) -> Sequence[float]:
    """The probability of each variant before anybody knew the arms: experiments in their order, each arm with its
    share; where none prescribes a variant they are drawn as `drawn` says."""
    for experiment, _ in reversed(taking):
        parts = [
            (share, _one(position, len(drawn)) if position is not None else drawn)
            for arm, share in experiment.shares
            for position in (_prescribed(experiment, arm, message),)
        ]
        drawn = [fsum(share * each[index] for share, each in parts) for index in range(len(drawn))]
    return drawn


def exposures(assigned: Assigned, message: Message | None) -> tuple[Exposure, ...]:
    """The trials that mattered. `message`: what is sent; None: it was withheld, or there is nothing to send."""
    if message is None or not assigned.taking:
        return assigned.held
    met = [_exposure(experiment, arm) for experiment, arm in assigned.taking if _matters(experiment, message)]
    return (*assigned.held, *met)


@lru_cache(maxsize=1024)
def assigned_anew(placement: Placement) -> frozenset[str]:
    """Trials in which every decision has an arm of its own."""
    return frozenset(experiment.key for experiment in placement.experiments if experiment.by == "decision")


@lru_cache(maxsize=1024)
def _exposure(trial: Arms | Experiment, arm: str) -> Exposure:
    """A trial has few arms."""
    return Exposure(trial.key, str(arm))


@lru_cache(maxsize=65536)
def _matters(experiment: Experiment, message: Message) -> bool:
    """Whether some arm would change the variant. An experiment that prescribes none is about what the caller does."""
    if not experiment.variants:
        return True
    return any(variant.id in experiment.variants.values() for variant in message.variants)


def _prescribed(experiment: Experiment, arm: str, message: Message) -> int | None:
    wanted = experiment.variants.get(arm)
    return next((at for at, variant in enumerate(message.variants) if variant.id == wanted), None)


def _one(position: int, number: int) -> Sequence[float]:
    return [float(index == position) for index in range(number)]


def _held(trial: Arms, situation: Situation, pool: Pool) -> Arm | None:
    """The arm of a holdout; None for who takes no part in it."""
    subject = _subject(trial.by, situation)
    if not subject or not _in_audience(trial.audience, pool):
        return None
    if trial.assign:  # the most specific code first: `US-CA`, then `US`
        fixed = trial.assign.get(subject) or trial.assign.get(subject[:2])
        if fixed is not None:
            return fixed
    return held_arm(trial.salt, trial.shares, subject)


def _subject(by: By, situation: Situation) -> str:
    """What is in an arm as a whole; empty where it is not known."""
    if by == "customer":
        return situation.customer
    if by == "region":
        return situation.region_code or ""
    return f"{situation.seed:016x}"


def _in_audience(rules: tuple[int, ...], pool: Pool) -> bool:
    """Closed: where the rules could not be run, nobody is in."""
    return not rules or (pool.rules is not None and pool.rules.holds(rules))
