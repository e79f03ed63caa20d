"""What makes a server fit, or unfit, to be the store."""

from __future__ import annotations

import traceback

import pytest

from app.store.clients import _check_eviction, _check_version, check_server, open_client, open_pool
from tests.support.valkey import StartStore, Store


async def findings(url: str, *, strict: bool = False) -> list[str]:
    client = open_client(url)
    try:
        return await check_server(client, strict=strict)
    finally:
        await client.aclose()


async def test_a_primary_that_never_evicts_is_fit(store_url: str) -> None:
    assert await findings(store_url) == []


async def test_a_store_that_may_evict_is_unfit(own_store: StartStore) -> None:
    store = own_store("--maxmemory-policy", "allkeys-lru")
    assert await findings(store.url) == ["`maxmemory-policy` is `allkeys-lru`: set it to `noeviction`"]


async def test_a_replica_is_unfit(own_store: StartStore) -> None:
    store = own_store("--replicaof", "127.0.0.1", "1")
    assert await findings(store.url) == ["the store is a replica: point the server at the primary"]


async def test_strict_mode_asks_for_every_write_on_disk(own_store: StartStore) -> None:
    store = own_store("--appendonly", "no", "--appendfsync", "everysec")
    assert await findings(store.url, strict=True) == [
        "`appendonly` is off: strict mode needs it on",
        "`appendfsync` is `everysec`: strict mode needs `always`",
    ]
    strict = own_store("--appendfsync", "always")
    assert await findings(strict.url, strict=True) == []


@pytest.mark.parametrize("policy", ["noeviction", "volatile-ttl"])
async def test_the_policy_is_found_by_a_user_who_may_not_ask_for_settings(own_store: StartStore, policy: str) -> None:
    store = own_store("--maxmemory-policy", policy)
    url = with_user(store, "+@all", "-config")
    assert await findings(url) == (
        [] if policy == "noeviction" else ["`maxmemory-policy` is `volatile-ttl`: set it to `noeviction`"]
    )
    assert "`appendfsync` is `unknown`: strict mode needs `always`" in await findings(url, strict=True)


async def test_a_user_who_may_not_look_at_the_store_is_a_finding(own_store: StartStore) -> None:
    assert "may not use `INFO`" in (await findings(with_user(own_store(), "+@all", "-info")))[0]


def test_a_policy_that_nobody_can_tell_is_as_bad_as_a_wrong_one() -> None:
    assert _check_eviction(None) == ["`maxmemory-policy` is `unknown`: set it to `noeviction`"]


def with_user(store: Store, *rules: str) -> str:
    store.command("ACL", "SETUSER", "limited", "on", ">secret", "~*", *rules)
    return store.url.replace("unix://", "unix://limited@") + "?password=secret"


@pytest.mark.parametrize(
    ("info", "finding"),
    [
        ({"redis_version": "7.0.15"}, []),
        ({"redis_version": "10.0.0"}, []),
        ({"redis_version": "6.2.14"}, ["Redis 6.2.14 is too old: Redis 7.0 or later is needed"]),
        ({"redis_version": "7.2.4", "valkey_version": "9.1.2"}, []),
        (
            {"redis_version": "7.2.4", "valkey_version": "7.1.0"},
            ["Valkey 7.1.0 is too old: Valkey 7.2 or later is needed"],
        ),
        ({}, ["Redis 0 is too old: Redis 7.0 or later is needed"]),
    ],
)
def test_versions_are_compared_as_numbers(info: dict[str, str], finding: list[str]) -> None:
    assert _check_version(info) == finding


@pytest.mark.parametrize("url", ["redis://:hush/hush@localhost:6379/0", "http://:hush@localhost", "redis://:hush@h:x"])
def test_an_address_that_cannot_be_understood_is_refused_without_repeating_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="the store's address cannot be understood") as refused:
        open_pool(url, client_name="nextbest")
    assert "hush" not in "".join(traceback.format_exception(refused.value))
