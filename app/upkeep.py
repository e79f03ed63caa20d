"""What a server process does beside answering: it prepares the store after every connect, and looks after what it knows
of it."""

from __future__ import annotations

import asyncio
import contextlib
import time

from app.services import Services
from app.settings import Durability
from app.store.clients import check_server
from app.store.decisions import COMMIT, RELEASE, trial_names
from app.store.deployment import ShardsDiffer, claim_shards, shared_hash_key
from app.store.fields import names_of
from app.store.ledger import kind_names
from app.store.link import Caller, StoreUnfit
from app.store.outcomes import OUTCOME

LOOK_EVERY_S = 0.2
LEARN_EVERY_S = 1.0
CHECK_SERVER_EVERY_S = 5.0


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
    await services.features.look(wire)  # and which features lack events


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
