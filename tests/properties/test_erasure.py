"""Whatever is written of a customer before, between and after erasures, in whatever order: what was erased stays so,
and only a consent that was given after it begins anew."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis as SyncRedis

from app.core.customers import ConsentChange, CustomerWrite
from app.core.erasure import Erased
from app.core.keeping import Keeping
from app.errors import Problem
from app.store.clients import open_client
from app.store.customers import CustomerStore
from app.store.erasure import Tombstones
from app.store.fields import FieldRegistry
from app.store.keys import Keys
from app.store.profile import is_consent
from policy.codes import SuppressionReason
from tests.support.valkey import Store, store_server

__all__ = ["store_server"]

KEYS = Keys(4)
CUSTOMER = "cus_1"
TOMBSTONE = {b"!g", b"!u", b"!s", b"!e", b"-*:erased"}


class Consents(NamedTuple):
    """A write with consents, of `ago_ms` before the store's time (None: of no stated time), and maybe an attribute."""

    states: tuple[tuple[str, str, int | None], ...]  # purpose, state, ago
    attribute: bool


ERASE, SUPPRESS, LIFT = "erase", "suppress", "lift"
CONSENTS = st.builds(
    Consents,
    st.lists(
        st.tuples(
            st.sampled_from(["marketing", "personalisation"]),
            st.sampled_from(["granted", "denied"]),
            st.sampled_from([None, 0, 1, 5, 86_400_000]),
        ),
        max_size=2,
        unique_by=lambda each: each[0],
    ).map(tuple),
    st.booleans(),
)
STEPS = st.lists(st.one_of(st.just(ERASE), st.just(SUPPRESS), st.just(LIFT), CONSENTS), min_size=2, max_size=10)


@pytest.fixture(scope="module")
def url(store_server: Store) -> Iterator[str]:
    return store_server.url


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_only_a_consent_given_after_an_erasure_ends_it(url: str, steps: list[Any]) -> None:
    with SyncRedis.from_url(url) as cleaner:
        cleaner.flushall()
    asyncio.run(_all_steps(url, steps))


async def _all_steps(url: str, steps: list[Any]) -> None:
    async with open_client(url) as client:
        fields = FieldRegistry(client)
        store = CustomerStore(client, KEYS, fields, b"key", Keeping(1_000, {}, {}))
        tombstones = Tombstones(client, KEYS, fields)
        erased_ms, stands = -1, False
        for number, step in enumerate(steps):
            seconds, micros = await client.time()
            now_ms = seconds * 1000 + micros // 1000
            if step == ERASE:
                found = await tombstones.erase(CUSTOMER, f"ers_{number}")
                assert isinstance(found, Erased)
                assert found.at_ms == erased_ms if stands else found.at_ms >= now_ms
                erased_ms, stands = found.at_ms, True
            elif step == SUPPRESS:
                await store.suppress(CUSTOMER, "*", SuppressionReason.MANUAL, "desk", None)
            elif step == LIFT:
                if await client.exists(KEYS.profile(CUSTOMER)):
                    await store.lift(CUSTOMER, "*", [SuppressionReason.MANUAL])
            else:
                ended, taken = await _write(store, step, now_ms, erased_ms)
                assert taken is (not stands or ended or not step.attribute)
                stands = stands and not (ended and taken)
            await _check(client, erased_ms, stands)


async def _write(store: CustomerStore, step: Consents, now_ms: int, erased_ms: int) -> tuple[bool, bool]:
    """Whether the write ends an erasure, and whether it was taken."""
    changes = tuple(
        ConsentChange(purpose, "*", state, "form", "consent", None if ago is None else now_ms - ago)  # type: ignore[arg-type]  # a state, as its text
        for purpose, state, ago in step.states
    )
    attributes = (("recency", "3"),) if step.attribute else ()
    write = CustomerWrite(CUSTOMER, attributes, ("crm",) if attributes else (), consents=changes)
    later = [change.at_ms is None or change.at_ms > erased_ms for change in changes]
    ended = any(is_later and change.state == "granted" for is_later, change in zip(later, changes, strict=True))
    try:
        written = await store.write(write)
    except Problem as problem:
        if problem.code != "erased":
            raise
        return ended, False
    assert all(is_later or not applied for is_later, applied in zip(later, written.applied, strict=True))
    return ended, True


async def _check(client: Any, erased_ms: int, stands: bool) -> None:
    profile = await client.hgetall(KEYS.profile(CUSTOMER))
    consents = {field: raw for field, raw in profile.items() if is_consent(field)}
    assert all(int(raw.split(b",")[2]) > erased_ms for raw in consents.values())
    stops = {field for field in profile if field[:1] == b"-"}
    assert len(stops) == int(profile.get(b"!s", 0))
    assert (b"-*:erased" in stops) is stands
    assert (await client.ttl(KEYS.profile(CUSTOMER)) == -1) is bool(stops) or not profile
    if stands:
        assert set(profile) - set(consents) - stops == TOMBSTONE - {b"-*:erased"}
        assert all(raw.startswith(b"d") for raw in consents.values())
