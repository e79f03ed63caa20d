"""The composition root: what a server process is made of, how it starts, and how it ends.

Nothing is opened at import. Everything is opened in the lifespan and closed in reverse. The store need not be there:
the server starts, reports not ready, and recovers by itself when the link connects.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.types import ASGIApp, Receive, Scope, Send

from app.admission import Admission
from app.archiving.layout import GROUPS
from app.core.features.live import live_features
from app.core.identity import customer_hash
from app.errors import Problem
from app.flows.budgets import Budgets
from app.flows.collect import PROPERTIES_DROPPED, Collector
from app.flows.control import ControlWatch
from app.flows.decide import Decider
from app.flows.erase import Erasures
from app.flows.merge import Merges
from app.flows.reconcile import Reconciler
from app.flows.room import Room
from app.flows.take_webhooks import WebhookTaker
from app.http import (
    api_document,
    batch,
    customers,
    decide,
    decisions,
    deliverability,
    erasure,
    events,
    export,
    health,
    identities,
    metrics,
    outcomes,
    problems,
    segment,
    suppressions,
    switches,
    unsubscribe,
)
from app.http import bundle as bundle_route
from app.http import webhooks as webhooks_route
from app.http.auth import Authenticator, AuthMiddleware
from app.http.drain import Drain
from app.outcome_taking import outcome_store, outcome_taker
from app.rate_limits import open_cells
from app.scoring import ModelRunner
from app.services import Services
from app.settings import Durability, Settings
from app.sns_certificates import certificates_of
from app.store.append_only_file import write_anew
from app.store.budgets import BudgetStore
from app.store.bundles import BundleArchive
from app.store.clients import check_server, open_client
from app.store.control import ControlStore
from app.store.decision_log import DecisionLog
from app.store.decisions import COMMIT, RELEASE, DecisionStore, idempotency_of, trial_names
from app.store.deployment import ShardsDiffer, claim_shards, shared_hash_key
from app.store.erasure import Tombstones
from app.store.erasure_jobs import ErasureJobs, new_erasure
from app.store.erasure_sweeps import Sweeps
from app.store.events import EventStore
from app.store.fields import FieldRegistry, names_of
from app.store.keys import Keys
from app.store.ledger import kind_names
from app.store.link import Caller, StoreUnfit, open_link
from app.store.merge import MergeStore
from app.store.outcomes import OUTCOME, Told
from app.store.webhooks import WebhookStore
from app.telemetry import log as logs
from app.telemetry import series
from app.telemetry.decisions import Observer
from app.telemetry.metrics import Metrics
from app.telemetry.spans import Tracer, TraceSettings, start_tracer
from app.webhook_settings import read_webhook_settings
from policy.bundle import Bundle
from policy.compile import load
from policy.control import compared_variants
from policy.watch import domain_class

log = logging.getLogger("nextbest")
MODELS = Path(__file__).resolve().parent.parent / "models" / "registry"
RUNTIME_DIR = "NEXTBEST_RUNTIME_DIR"  # set by `serve`: where the workers of one server meet
LOOK_EVERY_S = 0.2
LEARN_EVERY_S = 1.0
CHECK_SERVER_EVERY_S = 5.0
#: One of several workers does not listen before its link to the store is up; it starts without a store all the same.
STORE_WITHIN_S = 2.0


def product_version() -> str:
    """The version of the installed package; `dev` for a checkout that is not installed."""
    try:
        return version("nextbest")
    except PackageNotFoundError:
        return "dev"


def create_app() -> FastAPI:
    """The application of one worker process; `nextbest serve` hands this factory to the HTTP server."""
    settings = Settings()
    logs.configure()
    app = FastAPIOffline(
        redoc_url=None,
        static_url="/docs/static",
        title="nextbest",
        version=product_version(),
        summary="The next best message for a customer, inside a latency budget, always with the reason.",
        lifespan=lifespan,
    )
    app.state.settings = settings
    app.state.drain = Drain()
    problems.install(app, partial(count_problem, app))
    routes = (
        decide, batch, decisions, outcomes, events, segment, customers, erasure, export, identities, suppressions,
        bundle_route, switches, unsubscribe, webhooks_route, deliverability, metrics, health,
    )  # fmt: skip
    for module in routes:
        app.include_router(module.router)
    api_document.complete(app)
    cells = open_cells(os.environ.get(RUNTIME_DIR), settings.workers)
    authenticator = app.state.authenticator = Authenticator(settings.keys_file, cells)
    app.add_middleware(AuthMiddleware, authenticator=authenticator, on_problem=partial(count_problem, app))
    return Application(app)  # type: ignore[return-value]  # an ASGI application, as the server wants it


def count_problem(app: FastAPI, code: str) -> None:
    """Counts a problem that leaves, by its code."""
    app.state.services.metrics.count(series.PROBLEMS, code)


class Application:
    """The application as the server calls it: decisions go straight to their endpoint, the rest through FastAPI."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    @property
    def drain(self) -> Drain:
        """Whether this process is on its way out."""
        drain: Drain = self._app.state.drain
        return drain

    @property
    def decide_endpoint(self) -> decide.DecideEndpoint | None:
        """Who decides, once everything is open."""
        endpoint: decide.DecideEndpoint | None = getattr(self._app.state, "decide_endpoint", None)
        return endpoint

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http" and scope["path"] == decide.PATH:
            endpoint: ASGIApp = self._app.state.decide_endpoint
            return endpoint(scope, receive, send)
        return self._app(scope, receive, send)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open everything, serve, and close it in reverse."""
    settings: Settings = app.state.settings
    async with AsyncExitStack() as stack:
        services = await open_services(settings, app.state.authenticator, stack)
        app.state.services = services
        app.state.decide_endpoint = decide.DecideEndpoint(services)
        stack.enter_context(app.state.drain.on_signals(settings.drain_s))
        if settings.workers > 1:  # what it is sent from its first moment on, no balancer's probe could hold back
            await services.link.wait_connected(STORE_WITHIN_S)
        gc.collect()
        gc.freeze()  # what lives as long as the process need not be walked again
        # A decision makes some hundred objects and no cycles: at the usual 700 the collector would run every third one.
        gc.set_threshold(20_000, 20, 50)
        yield


async def open_services(settings: Settings, authenticator: Authenticator, stack: AsyncExitStack) -> Services:
    """Wire a process together. What is opened is closed by `stack`, in reverse."""
    bundle = load(settings.bundle)
    release = f"rel_{bundle.digest.removeprefix('sha256:')[:16]}"
    counted, tracer = open_telemetry(settings, bundle, stack)
    models = open_models(settings, bundle, counted, stack)
    url = settings.redis_url.get_secret_value() if settings.redis_url else "redis://127.0.0.1:6379"
    client = open_client(url)
    stack.push_async_callback(client.aclose)
    keys, fields = Keys(settings.shards), FieldRegistry(client)
    link = open_link(url, on_connect=lambda wire: prepare_store(services, wire))
    strict = settings.durability is Durability.STRICT
    store = DecisionStore(link, keys, fields, bundle, settings.decision_log_bytes // settings.shards, strict)
    reconciler = Reconciler(store, lambda result: counted.count(series.RELEASES, result))
    budgets = Budgets(bundle, BudgetStore(link).lease)
    patience_ms = min(placement.budget_ms for placement in bundle.placements.values())
    admission = Admission(settings.max_in_flight, patience_ms / 1000)
    event_link = open_link(url, client_name="nextbest-events")
    events_in = EventStore(event_link, keys, settings.event_stream_bytes, strict=strict)
    room = Room(admission.takes, lambda: admission.in_flight)
    collector = Collector(
        bundle,
        events_in,
        room,
        lambda what, n: count_events(counted, what, n),
        secrets.token_bytes,
    )
    live = live_features(bundle, tuple(bundle.placements.values()))
    event_types = () if live is None else live.event_types
    control_store = ControlStore(link, client, keys, sorted(compared_variants(bundle)), event_types, strict=strict)
    control = ControlWatch(control_store)
    chance = random.Random()  # seeded by the operating system, in each worker's own process
    decider = Decider(
        bundle,
        release,
        store,
        models,
        reconciler,
        control,
        budgets,
        chance=chance.getrandbits,
        wall_clock_s=time.time,
        record_explanation=settings.record_explanation,
    )
    outcome_link = open_link(url, client_name="nextbest-outcomes")
    outcomes_in = outcome_store(settings, bundle, outcome_link, keys, fields)
    archive = BundleArchive(client, bundle)
    taker = outcome_taker(outcomes_in, bundle, client, keys, fields, archive, make_way=room.step_back)
    watched = bundle.outcomes.watch
    webhook_settings = read_webhook_settings(os.environ)
    certificates = certificates_of(os.environ, settings.listens_on_loopback())
    stack.push_async_callback(certificates.close)
    webhooks = WebhookTaker(
        webhook_settings.trusted,
        taker,
        WebhookStore(client),
        certificates,
        room,
        lambda address: domain_class(address, watched),
        lambda provider: Told(f"webhook:{provider}", "webhook"),
        lambda provider, result, n: counted.add(counted.slot(series.WEBHOOK_ITEMS, provider, result), n),
        lambda provider, times_ms: note_lags(counted, provider, times_ms, int(time.time() * 1000)),
    )
    merges = Merges(MergeStore(client, keys, fields, bundle, strict=strict))
    erasures = Erasures(
        Tombstones(client, keys, fields, strict=strict),
        ErasureJobs(client),
        Sweeps(client, keys),
        merges,
        lambda customer: erased_hash(services, customer),
        new_erasure,
        GROUPS,
        partial(write_anew, client),
    )
    services = Services(
        settings=settings,
        bundle=bundle,
        release=release,
        keys=keys,
        client=client,
        link=link,
        fields=fields,
        hash_key=b"",
        metrics=counted,
        tracer=tracer,
        models=models,
        store=store,
        reconciler=reconciler,
        budgets=budgets,
        control=control,
        switches=control_store,
        merges=merges,
        erasures=erasures,
        decider=decider,
        decision_log=DecisionLog(client, keys),
        bundles=archive,
        authenticator=authenticator,
        admission=admission,
        observer=Observer(counted, tracer, bundle.digest, release, lambda customer: hashed(services, customer)),
        idempotency_of=idempotency_of,
        collector=collector,
        outcome_taker=taker,
        outcome_store=outcomes_in,
        outcome_link=outcome_link,
        webhooks=webhooks,
        webhook_urls=webhook_settings.urls,
        event_link=event_link,
    )
    start(services, stack)
    return services


def open_telemetry(settings: Settings, bundle: Bundle, stack: AsyncExitStack) -> tuple[Metrics, Tracer]:
    """Counters that all workers of a server share, and this worker's tracer."""
    runtime = os.environ.get(RUNTIME_DIR)
    counted = Metrics(Path(runtime) if runtime else None, {"version": product_version(), "bundle": bundle.digest})
    stack.callback(counted.close)
    tracing = TraceSettings(exporter=settings.trace_exporter, ratio=settings.trace_ratio)
    tracer = start_tracer(tracing, counted, product_version())
    stack.callback(tracer.close)
    return counted, tracer


def open_models(settings: Settings, bundle: Bundle, counted: Metrics, stack: AsyncExitStack) -> ModelRunner:
    """The bundle's models, from its own folder, a further one, or the registry that is shipped."""
    models = ModelRunner(
        bundle,
        [settings.bundle / "registry", *([settings.models] if settings.models else []), MODELS],
        counted.model_run,
        lambda model, kind: counted.count(series.MODEL_FAILURES, model, kind),
    )
    stack.callback(models.close)
    return models


def start(services: Services, stack: AsyncExitStack) -> None:
    """Set everything going that runs beside requests."""
    services.link.start()
    stack.push_async_callback(services.link.close)
    services.reconciler.start()
    stack.push_async_callback(services.reconciler.close)
    services.budgets.start()
    stack.push_async_callback(services.budgets.close)
    services.control.start()
    stack.push_async_callback(services.control.close)
    services.merges.start()
    stack.push_async_callback(services.merges.close)
    services.erasures.start()
    stack.push_async_callback(services.erasures.close)
    services.event_link.start()
    stack.push_async_callback(services.event_link.close)
    services.outcome_link.start()
    stack.push_async_callback(services.outcome_link.close)
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


async def prepare_store(services: Services, wire: Caller) -> None:
    """Runs after every connect, before decisions use the link: agree on what all nodes must agree on."""
    settings = services.settings
    services.store_findings = await check_server(services.client, strict=settings.durability is Durability.STRICT)
    try:
        await claim_shards(services.client, settings.shards)
    except ShardsDiffer as error:
        raise StoreUnfit(str(error)) from error
    configured = settings.hash_key.get_secret_value() if settings.hash_key else None
    services.hash_key = services.store.hash_key = await shared_hash_key(services.client, configured)
    services.collector.hash_key = services.outcome_store.hash_key = services.hash_key
    await learn_fields(services)
    await services.bundles.keep(services.bundle)
    for script in (COMMIT, RELEASE, OUTCOME):
        await services.client.script_load(script.source)
    await services.control.poll(wire)  # what is switched off is known before the first decision


async def learn_fields(services: Services) -> None:
    """Know all short ids of the store, and have one for every name of the bundle."""
    await services.fields.refresh()
    bundle = services.bundle
    await services.fields.ensure([*names_of(bundle), *kind_names(bundle), *trial_names(bundle)])


async def look_after(services: Services) -> None:
    """What a process does beside answering: learn field ids that other nodes allocated, look at the server now and
    then, and take back what a crashed caller left."""
    checked_at = learnt_at = time.monotonic()
    while True:
        due_s = time.monotonic() + LOOK_EVERY_S
        await asyncio.sleep(LOOK_EVERY_S)
        services.observe_delay(time.monotonic() - due_s)
        services.refresh_gauges()
        with contextlib.suppress(Exception):  # the store is away: the link says so, and the next look tries again
            # A node of a new release has its names before it is ready: known here, before a customer has them.
            behind = services.link.connected and time.monotonic() - learnt_at > LEARN_EVERY_S
            if services.store.unknown_field_seen or (behind and await services.fields.is_behind()):
                services.store.unknown_field_seen = False
                await learn_fields(services)
            if behind:
                learnt_at = time.monotonic()
            if services.link.connected and time.monotonic() - checked_at > CHECK_SERVER_EVERY_S:
                checked_at = time.monotonic()
                strict = services.settings.durability is Durability.STRICT
                services.store_findings = await check_server(services.client, strict=strict)


async def end_task(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


__all__ = ["ASGIApp", "Services", "create_app", "open_services"]
