"""What the parts of a server process stand on: its bundle, its telemetry, its models, its ways to the store."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis

from app.scoring import ModelRunner
from app.settings import Durability, Settings
from app.store.clients import open_client
from app.store.fields import FieldRegistry
from app.store.keys import Keys
from app.store.link import Caller, Link, open_link
from app.telemetry import series
from app.telemetry.metrics import Metrics
from app.telemetry.spans import Tracer, TraceSettings, start_tracer
from app.version import product_version
from models.load import SHIPPED
from policy.bundle import Bundle

RUNTIME_DIR = "NEXTBEST_RUNTIME_DIR"  # set by `serve`: where the workers of one server meet


@dataclass(frozen=True, slots=True)
class Ground:
    """What the parts stand on: what the process was told, and its ways to the store. The links wait for `start`."""

    settings: Settings
    bundle: Bundle
    release: str
    counted: Metrics
    client: Redis
    keys: Keys
    fields: FieldRegistry
    link: Link  # of decisions
    event_link: Link
    outcome_link: Link

    @property
    def strict(self) -> bool:
        """Whether a write is answered for when it is on disk, and not before."""
        return self.settings.durability is Durability.STRICT


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
        [settings.bundle / "registry", *([settings.models] if settings.models else []), SHIPPED],
        counted.model_run,
        lambda model, kind: counted.count(series.MODEL_FAILURES, model, kind),
    )
    stack.callback(models.close)
    return models


def open_ground(
    settings: Settings,
    bundle: Bundle,
    counted: Metrics,
    stack: AsyncExitStack,
    prepare: Callable[[Caller], Awaitable[None]],
) -> Ground:
    """A client for what is asked rarely, and links for decisions, events and outcomes. `prepare` runs after every
    connect of the link of decisions, before it is used."""
    url = settings.redis_url.get_secret_value() if settings.redis_url else "redis://127.0.0.1:6379"
    client = open_client(url)
    stack.push_async_callback(client.aclose)
    return Ground(
        settings=settings,
        bundle=bundle,
        release=f"rel_{bundle.digest.removeprefix('sha256:')[:16]}",
        counted=counted,
        client=client,
        keys=Keys(settings.shards),
        fields=FieldRegistry(client),
        link=open_link(url, on_connect=prepare),
        event_link=open_link(url, client_name="nextbest-events"),
        outcome_link=open_link(url, client_name="nextbest-outcomes"),
    )
