"""Puts the parts of a server process together, each step a function: who decides, who collects, who takes outcomes and
webhooks, who merges and erases, all on the ground that `app/ground.py` opens. Then all of them are set going.

What is opened is closed by the process's exit stack, in reverse.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Protocol

from app.admission import Admission
from app.archiving.layout import GROUPS
from app.core.features.live import live_features
from app.core.identity import customer_hash
from app.ending import end_task
from app.errors import Problem
from app.flows.budgets import Budgets
from app.flows.collect import PROPERTIES_DROPPED, Collector
from app.flows.control import ControlWatch
from app.flows.decide import Decider
from app.flows.erase import Erasures
from app.flows.merge import Merges
from app.flows.reconcile import Reconciler
from app.flows.room import Room
from app.flows.take_outcomes import OutcomeTaker
from app.flows.take_webhooks import WebhookTaker
from app.flows.watch_features import FeatureWatch
from app.ground import Ground, open_ground, open_models, open_telemetry
from app.http.auth import Authenticator
from app.outcome_taking import outcome_store, outcome_taker
from app.scoring import ModelRunner
from app.services import Services
from app.settings import Settings
from app.sns_certificates import certificates_of
from app.store.append_only_file import write_anew
from app.store.budgets import BudgetStore
from app.store.bundles import BundleArchive
from app.store.control import ControlStore
from app.store.decision_log import DecisionLog
from app.store.decisions import DecisionStore, idempotency_of
from app.store.erasure import Tombstones
from app.store.erasure_jobs import ErasureJobs, new_erasure
from app.store.erasure_sweeps import Sweeps
from app.store.events import EventStore
from app.store.fold_notes import FoldNotes
from app.store.merge import MergeStore
from app.store.outcomes import Told
from app.store.webhooks import WebhookStore
from app.telemetry import series
from app.telemetry.decisions import Observer
from app.telemetry.metrics import Metrics
from app.upkeep import look_after, prepare_store
from app.webhook_settings import WebhookSettings, read_webhook_settings
from policy.bundle import Bundle
from policy.compile import load
from policy.control import compared_variants
from policy.watch import domain_class


@dataclass(frozen=True, slots=True)
class Deciding:
    """Who decides, and what it keeps fresh for it."""

    store: DecisionStore
    reconciler: Reconciler
    budgets: Budgets
    switches: ControlStore
    control: ControlWatch
    features: FeatureWatch
    decider: Decider


class Part(Protocol):
    """What runs beside requests."""

    def start(self) -> None: ...
    async def close(self) -> None: ...


async def open_services(settings: Settings, authenticator: Authenticator, stack: AsyncExitStack) -> Services:
    """Wire a process together. What is opened is closed by `stack`, in reverse."""
    bundle = load(settings.bundle)
    counted, tracer = open_telemetry(settings, bundle, stack)
    models = open_models(settings, bundle, counted, stack)
    ground = open_ground(settings, bundle, counted, stack, lambda wire: prepare_store(services, wire))
    deciding = decide_with(ground, models)
    admission = admission_of(settings, bundle)
    room = Room(admission.takes, lambda: admission.in_flight)
    bundles = BundleArchive(ground.client, bundle)
    outcomes = outcome_store(settings, bundle, ground.outcome_link, ground.keys, ground.fields)
    taker = outcome_taker(outcomes, bundle, ground.client, ground.keys, ground.fields, bundles, make_way=room.step_back)
    webhook_settings = read_webhook_settings(os.environ)
    merges = Merges(MergeStore(ground.client, ground.keys, ground.fields, bundle, strict=ground.strict))
    services = Services(
        settings=settings,
        bundle=bundle,
        release=ground.release,
        keys=ground.keys,
        client=ground.client,
        link=ground.link,
        fields=ground.fields,
        hash_key=b"",
        metrics=counted,
        tracer=tracer,
        models=models,
        store=deciding.store,
        reconciler=deciding.reconciler,
        budgets=deciding.budgets,
        control=deciding.control,
        features=deciding.features,
        switches=deciding.switches,
        merges=merges,
        erasures=erase_with(ground, merges, lambda customer: erased_hash(services, customer)),
        decider=deciding.decider,
        decision_log=DecisionLog(ground.client, ground.keys),
        bundles=bundles,
        authenticator=authenticator,
        admission=admission,
        observer=Observer(counted, tracer, bundle.digest, ground.release, lambda customer: hashed(services, customer)),
        idempotency_of=idempotency_of,
        collector=collect_with(ground, room),
        outcome_taker=taker,
        outcome_store=outcomes,
        outcome_link=ground.outcome_link,
        webhooks=take_webhooks_with(ground, webhook_settings, taker, room, stack),
        webhook_urls=webhook_settings.urls,
        event_link=ground.event_link,
    )
    start(services, stack)
    return services


def decide_with(on: Ground, models: ModelRunner) -> Deciding:
    """Who decides, and the switches, budgets and features that are watched for it."""
    log_bytes = on.settings.decision_log_bytes // on.settings.shards
    store = DecisionStore(on.link, on.keys, on.fields, on.bundle, log_bytes, on.strict)
    reconciler = Reconciler(store, lambda result: on.counted.count(series.RELEASES, result))
    budgets = Budgets(on.bundle, BudgetStore(on.link).lease)
    live = live_features(on.bundle, tuple(on.bundle.placements.values()))
    event_types = () if live is None else live.event_types
    variants = sorted(compared_variants(on.bundle))
    switches = ControlStore(on.link, on.client, on.keys, variants, event_types, strict=on.strict)
    control = ControlWatch(switches)
    features = FeatureWatch(on.bundle.features, FoldNotes(on.keys), on.event_link)
    chance = random.Random()  # seeded by the operating system, in each worker's own process
    decider = Decider(
        on.bundle,
        on.release,
        store,
        models,
        reconciler,
        control,
        budgets,
        features,
        chance=chance.getrandbits,
        wall_clock_s=time.time,
        record_explanation=on.settings.record_explanation,
    )
    return Deciding(store, reconciler, budgets, switches, control, features, decider)


def admission_of(settings: Settings, bundle: Bundle) -> Admission:
    """Who may come in: for as long as the least patient placement waits."""
    patience_ms = min(placement.budget_ms for placement in bundle.placements.values())
    return Admission(settings.max_in_flight, patience_ms / 1000)


def collect_with(on: Ground, room: Room) -> Collector:
    """Who collects events."""
    store = EventStore(on.event_link, on.keys, on.settings.event_stream_bytes, strict=on.strict)
    return Collector(on.bundle, store, room, partial(count_events, on.counted), secrets.token_bytes)


def take_webhooks_with(
    on: Ground, settings: WebhookSettings, taker: OutcomeTaker, room: Room, stack: AsyncExitStack
) -> WebhookTaker:
    """Who takes what providers tell."""
    counted, watched = on.counted, on.bundle.outcomes.watch
    certificates = certificates_of(os.environ, on.settings.listens_on_loopback())
    stack.push_async_callback(certificates.close)
    return WebhookTaker(
        settings.trusted,
        taker,
        WebhookStore(on.client),
        certificates,
        room,
        lambda address: domain_class(address, watched),
        lambda provider: Told(f"webhook:{provider}", "webhook"),
        lambda provider, result, n: counted.add(counted.slot(series.WEBHOOK_ITEMS, provider, result), n),
        lambda provider, times_ms: note_lags(counted, provider, times_ms, int(time.time() * 1000)),
    )


def erase_with(on: Ground, merges: Merges, hash_of: Callable[[str], str]) -> Erasures:
    """Who erases customers. The archive is rewritten by the archiver, not by servers."""
    return Erasures(
        Tombstones(on.client, on.keys, on.fields, strict=on.strict),
        ErasureJobs(on.client),
        Sweeps(on.client, on.keys),
        merges,
        hash_of,
        new_erasure,
        GROUPS,
        partial(write_anew, on.client),
    )


def start(services: Services, stack: AsyncExitStack) -> None:
    """Set everything going that runs beside requests."""
    parts: tuple[Part, ...] = (
        services.link,
        services.reconciler,
        services.budgets,
        services.control,
        services.features,
        services.merges,
        services.erasures,
        services.event_link,
        services.outcome_link,
    )
    for part in parts:
        part.start()
        stack.push_async_callback(part.close)
    beside = (services.authenticator.watch(), look_after(services), services.collector.watch())
    for task in map(asyncio.create_task, beside):
        stack.push_async_callback(end_task, task)


def count_events(counted: Metrics, what: str, n: int) -> None:
    """Count what became of events, or the properties that they lost."""
    dropped = what == PROPERTIES_DROPPED
    counted.add(counted.slot(series.EVENT_PROPERTIES_DROPPED) if dropped else counted.slot(series.EVENTS, what), n)


def note_lags(counted: Metrics, provider: str, times_ms: Sequence[int], now_ms: int) -> None:
    """Note how long after it happened each thing that a provider told was taken. A clock that is fast is not early."""
    for at_ms in times_ms:
        counted.observe(series.WEBHOOK_LAG, max(0, now_ms - at_ms), provider)


def hashed(services: Services, customer: str) -> str:
    """What stands for a customer in traces."""
    return blake2b(customer.encode(), digest_size=8, key=services.hash_key[:64]).hexdigest()


def erased_hash(services: Services, customer: str) -> str:
    """What stands for a customer in receipts of erasures."""
    if not services.hash_key:
        raise Problem("store_unavailable", "the hash key is not read from the store yet", retry_after_s=1)
    return customer_hash(customer, services.hash_key)
