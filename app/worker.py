"""`nextbest worker`: the process that works events off their streams, until it is told to stop.

`serve` starts one. Any number may run, on any machines: they share the shards, and take over from each other.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from hiredis import ReplyError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.copy_log import NoLog, store_address
from app.core.features.plan import FoldPlan
from app.core.keeping import keeping
from app.flows.attribute import Attribution
from app.flows.close_rewards import RewardCloser
from app.flows.link_identities import Identities
from app.flows.merge import Merges
from app.flows.take_outcomes import OutcomeTaker
from app.flows.watch_deliverability import DeliverabilityWatch
from app.flows.work_events import Conversions, EventWorker, Identity
from app.outcome_taking import outcome_store, outcome_taker
from app.settings import Durability, Settings
from app.store.bundles import BundleArchive
from app.store.claims import ClaimStore
from app.store.clients import open_client
from app.store.control import ControlStore
from app.store.conversions import CLAIM_CONVERSIONS, MOVE_CONVERSION, ConversionStore
from app.store.deployment import ShardsDiffer, claim_shards, shared_hash_key
from app.store.embedded import EmbeddedStoreError
from app.store.fields import FieldRegistry
from app.store.fold_steps import Kept
from app.store.fold_store import COMMIT, FoldStore
from app.store.keys import Keys
from app.store.link import Caller, Link, StoreUnfit, open_link
from app.store.merge import MergeStore
from app.store.outcomes import OUTCOME, Told
from app.store.resp import pack
from app.store.rewards import CLOSE_REWARD, RewardStore
from app.store.shard_leases import LEASE_SHARD, ShardLeases
from app.store.watch import WatchStore
from app.store.watermarks import RAISE, Watermarks
from app.telemetry import log as logs
from app.telemetry import series
from app.telemetry.metrics import Metrics
from policy.bundle import Bundle
from policy.compile import load
from policy.reports import BundleError
from policy.watch import never_braked

log = logging.getLogger("nextbest.worker")
RUNTIME_DIR = "NEXTBEST_RUNTIME_DIR"  # set by `serve`: where the metrics of its processes meet
SCRIPTS = (LEASE_SHARD, COMMIT, RAISE, CLOSE_REWARD, CLAIM_CONVERSIONS, MOVE_CONVERSION, OUTCOME)
#: Who tells conversions, in histories.
CONVERSIONS = Told("events", "nextbest")
#: How often trouble that lasts is logged.
TROUBLE_EVERY_S = 60.0
GAUGES_EVERY_S = 0.5
#: The store answers a few scripts in this; afterwards the connection is tried anew.
PREPARED_WITHIN_S = 2.0


class CannotWork(Exception):
    """Why there is no worker, in words for the operator, with the remedy."""


def main() -> None:
    """Run with the settings of the environment, as a child of `serve`."""
    logs.configure()
    try:
        run(Settings())
    except CannotWork as error:
        log.error("%s", error)
        raise SystemExit(1) from error


def run(settings: Settings, address_of_store: str | None = None) -> None:
    """Work until SIGINT or SIGTERM. Raises CannotWork."""
    try:
        bundle = load(settings.bundle)
        with store_address(settings, address_of_store) as url, asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_run(settings, bundle, url))
    except (NoLog, EmbeddedStoreError, BundleError, ValueError) as error:
        raise CannotWork(str(error)) from error
    except RedisError as error:  # while it starts; from then on it waits for the store
        raise CannotWork(f"the store failed (`{type(error).__name__}`)") from error


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


async def _run(settings: Settings, bundle: Bundle, url: str) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await work(settings, bundle, url, stopped)


async def work(settings: Settings, bundle: Bundle, url: str, stopped: asyncio.Event) -> None:
    """Work off the events of a store until it is stopped."""
    async with AsyncExitStack() as stack:
        client = open_client(url, client_name="nextbest-worker-control")
        stack.push_async_callback(client.aclose)

        link = open_link(
            url, client_name="nextbest-worker", on_connect=lambda wire: _prepare(wire, client, settings.shards)
        )
        link.start()
        stack.push_async_callback(link.close)
        while not await link.wait_connected(0.2):
            if stopped.is_set():
                return
        runtime = os.environ.get(RUNTIME_DIR)
        metrics = Metrics(Path(runtime) if runtime else None, {})
        stack.callback(metrics.close)
        configured = settings.hash_key.get_secret_value() if settings.hash_key else None
        hash_key = await shared_hash_key(client, configured)
        taker = take_outcomes(settings, bundle, link, client, hash_key)
        identities = await open_identities(settings, bundle, client, metrics, hash_key, taker, stack)
        conversions = attribute_conversions(settings, bundle, link, taker, metrics)
        worker = assemble(settings, bundle, link, metrics, identities, conversions)
        gauges = asyncio.create_task(_keep_gauges(metrics, link, worker))
        stack.callback(gauges.cancel)
        watch = watch_deliverability(settings, bundle, link, client)
        if watch is not None:
            watching = asyncio.create_task(watch.run(stopped), name="deliverability")
            stack.callback(watching.cancel)
        closer = close_rewards(settings, bundle, link, client, metrics, conversions)
        closing = asyncio.create_task(closer.run(stopped, lambda: worker.held), name="rewards")
        stack.callback(closing.cancel)
        await worker.run(stopped)


async def _prepare(wire: Caller, client: Redis, shards: int) -> None:
    """Runs after every connect: the shards are those of the deployment, and the store knows our scripts."""
    try:
        await claim_shards(client, shards)
    except ShardsDiffer as error:
        raise StoreUnfit(str(error)) from error
    await load_scripts(wire)


async def load_scripts(wire: Caller) -> None:
    """Have the store know the worker's scripts. Raises StoreError, ReplyError."""
    packed = [pack("SCRIPT", "LOAD", script.source) for script in SCRIPTS]
    deadline = asyncio.get_running_loop().time() + PREPARED_WITHIN_S
    for reply in await wire.call(b"".join(packed), len(packed), deadline):
        if isinstance(reply, ReplyError):
            raise reply


def take_outcomes(settings: Settings, bundle: Bundle, link: Link, client: Redis, hash_key: bytes) -> OutcomeTaker:
    """Who takes what conversions come to, and what was said of an address before anybody knew whose it is."""
    keys, fields = Keys(settings.shards), FieldRegistry(client)
    store = outcome_store(settings, bundle, link, keys, fields)
    store.hash_key = hash_key
    return outcome_taker(store, bundle, client, keys, fields, BundleArchive(client, bundle))


async def open_identities(
    settings: Settings,
    bundle: Bundle,
    client: Redis,
    metrics: Metrics,
    hash_key: bytes,
    taker: OutcomeTaker,
    stack: AsyncExitStack,
) -> Identities:
    """Who is who: what chunks of events tell is taken down, settled and merged, beside the worker."""
    keys, strict = Keys(settings.shards), settings.durability is Durability.STRICT
    merges = Merges(MergeStore(client, keys, FieldRegistry(client), bundle, strict=strict))
    claims = ClaimStore(client, keys, hash_key, keeping(bundle))
    claims.on_linked = taker.linked
    identities = Identities(
        claims,
        merges,
        bundle.events.link_lateness_ms,
        lambda result: metrics.count(series.IDENTITIES, result),
    )
    merges.start()
    stack.push_async_callback(merges.close)
    identities.start()
    stack.push_async_callback(identities.close)
    return identities


def attribute_conversions(
    settings: Settings, bundle: Bundle, link: Link, taker: OutcomeTaker, metrics: Metrics
) -> Attribution | None:
    """Who finds the decisions that conversions belong to; None where the bundle names none."""
    if not bundle.outcomes.conversions:
        return None
    return Attribution(
        bundle.outcomes,
        ConversionStore(link, Keys(settings.shards)),
        taker,
        CONVERSIONS,
        logs.Summary(log, "conversions of some customers are not attributed", TROUBLE_EVERY_S).note,
        lambda conversion, attribution: metrics.count(series.CONVERSIONS, conversion, attribution),
    )


def assemble(
    settings: Settings,
    bundle: Bundle,
    link: Link,
    metrics: Metrics,
    identity: Identity,
    conversions: Conversions | None = None,
) -> EventWorker:
    """A worker over a link, under a name that no other process has."""
    keys, plan = Keys(settings.shards), FoldPlan.of(bundle)
    return EventWorker(
        ShardLeases(link, keys, f"{os.getpid()}-{secrets.token_hex(6)}"),
        FoldStore(link, keys, plan, Kept.of(plan, bundle), strict=settings.durability is Durability.STRICT),
        Watermarks(link),
        plan,
        identity,
        lambda result, n: metrics.add(metrics.slot(series.WORKER_EVENTS, result), n),
        logs.Summary(log, "events are not worked off, and are kept until they are", TROUBLE_EVERY_S).note,
        conversions,
    )


def close_rewards(
    settings: Settings,
    bundle: Bundle,
    link: Link,
    client: Redis,
    metrics: Metrics,
    conversions: Attribution | None = None,
) -> RewardCloser:
    """Who works out what decisions earned when their windows close."""
    stream_bytes = settings.outcome_stream_bytes // settings.shards
    return RewardCloser(
        RewardStore(link, Keys(settings.shards), FieldRegistry(client), stream_bytes),
        {each.id: each.reward for each in bundle.placements.values() if each.reward is not None},
        lambda result, n: metrics.add(metrics.slot(series.REWARDS, result), n),
        logs.Summary(log, "rewards are not worked out, and stay due until they are", TROUBLE_EVERY_S).note,
        conversions,
    )


def watch_deliverability(settings: Settings, bundle: Bundle, link: Link, client: Redis) -> DeliverabilityWatch | None:
    """Who looks at bounces and complaints, and brakes; None where the bundle does not ask for it."""
    rules, keys = bundle.outcomes.watch, Keys(settings.shards)
    if rules is None:
        return None
    return DeliverabilityWatch(
        WatchStore(client, keys),
        ControlStore(link, client, keys, strict=settings.durability is Durability.STRICT),
        rules,
        never_braked(bundle),
        f"{os.getpid()}-{secrets.token_hex(6)}",
        logs.Summary(log, "bounces and complaints are not looked at", TROUBLE_EVERY_S).note,
    )


async def _keep_gauges(metrics: Metrics, link: Link, worker: EventWorker) -> None:
    connected = metrics.slot(series.STORE_CONNECTED)
    shards, lag = metrics.slot(series.WORKER_SHARDS), metrics.slot(series.WORKER_LAG_MS)
    while True:
        metrics.set(connected, int(link.connected))
        metrics.set(shards, len(worker.held))
        metrics.set(lag, worker.lag_ms)
        await asyncio.sleep(GAUGES_EVERY_S)


if __name__ == "__main__":
    main()
