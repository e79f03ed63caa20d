"""`nextbest doctor` on a real store: what it finds, and that it only reads."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from click.testing import Result
from redis.asyncio import Redis
from typer.testing import CliRunner

from app import cli
from app.core.keeping import keeping
from app.http.customer_bodies import Checker
from app.store.clients import open_client
from app.store.customers import CustomerStore
from app.store.deployment import claim_shards
from app.store.estate import Estate
from app.store.fields import names_of
from app.store.keys import CTL_WATERMARKS, claims
from tests.support.contract import FOLDER, consent, contract_bundle
from tests.support.customers import HASH_KEY, Services


def lines(count: int) -> list[dict[str, Any]]:
    known = {"recency": 1, "nickname": "ann", "balance": 2.0}
    return [
        {"customer": f"c{i}", "attributes": known | ({"nickname": "Ann"} if i == 0 else {})}
        | ({"region": "DE", "consent": [consent("marketing")]} if i % 2 else {})
        for i in range(count)
    ]


async def fill(client: Redis, count: int) -> Services:
    services = Services(client, contract_bundle())
    await claim_shards(client, 256)
    await services.fields.ensure([*names_of(services.bundle), "s:signup_form", "b:consent", "w:loopback"])
    check = Checker(services.bundle, HASH_KEY)
    store = CustomerStore(client, services.keys, services.fields, HASH_KEY, keeping(services.bundle))
    await store.write_many([check.line(json.dumps(line).encode()) for line in lines(count)])
    return services


def on_the_store(url: str, act: Any) -> Any:
    async def run() -> Any:
        async with open_client(url) as client:
            return await act(client)

    return asyncio.run(run())


def doctor(url: str, *more: str) -> Result:
    given = ["doctor", "--bundle", str(FOLDER), "--url-of-store", url, "--json", *more]
    return CliRunner().invoke(cli.app, given)


def test_it_finds_what_is_wrong_and_only_reads(store_url: str) -> None:
    async def prepare(client: Redis) -> None:
        services = await fill(client, 6)
        await client.hset(claims("email_sha256", "aa"), mapping={"c1": 1, "c2": 2, "~": 1})
        await client.hset(claims("email_sha256", "bb"), mapping={"c3": 1, "gone": 2})
        # Who became the other one is no duplicate of it.
        await client.hset(services.keys.profile("gone"), mapping={"!m": ">c3", "!u": 1})
        # Attributes whose owner left no time.
        await client.hdel(services.keys.profile("c5"), b"@" + services.fields.id_of("o:bank"))
        await client.hset(CTL_WATERMARKS, mapping={"s:0": 1})

    async def digest(client: Redis) -> list[Any]:
        names = sorted([key async for key in client.scan_iter()])
        return [(key, await client.dump(key)) for key in names]

    on_the_store(store_url, prepare)
    before = on_the_store(store_url, digest)
    result = doctor(store_url)
    assert on_the_store(store_url, digest) == before
    told = json.loads(result.stdout)
    by_code: dict[str, list[Any]] = {}
    for finding in told["findings"]:
        by_code.setdefault(finding["code"], []).append(finding)

    assert (told["customers"], told["sampled"]) == (6, False)
    assert (by_code["duplicates"][0]["count"], by_code["duplicates"][0]["of"]) == (1, 2)
    assert [(each["count"], each["of"]) for each in by_code["missing_time"]] == [(1, 6)]
    assert [(each["count"], each["of"]) for each in by_code["stale"]] == [(1, 6)]
    assert [each["count"] for each in by_code["spelt_differently"]] == [1]
    assert (by_code["region_unknown"][0]["share"], by_code["region_unknown"][0]["severity"]) == (0.5, "severe")
    assert by_code["shards_behind"][0]["severity"] == "severe"
    assert result.exit_code == 1
    assert [each["severity"] for each in told["findings"]] == sorted(
        (each["severity"] for each in told["findings"]), key=["severe", "warning", "note"].index
    )


def test_a_sample_says_that_it_is_one(store_url: str) -> None:
    on_the_store(store_url, lambda client: fill(client, 40))
    told = json.loads(doctor(store_url, "--sample", "25").stdout)
    assert (told["customers"], told["sampled"]) == (25, True)
    (unknown,) = [each for each in told["findings"] if each["code"] == "region_unknown"]
    low, high = unknown["interval"]
    assert low < unknown["share"] < high
    assert json.loads(doctor(store_url, "--sample", "40").stdout)["sampled"] is False


def test_a_store_that_nobody_used_cannot_be_told_of(store_url: str) -> None:
    result = doctor(store_url)
    assert (result.exit_code, result.stdout) == (2, "")


async def test_ids_that_another_process_allocates_meanwhile_are_looked_up(store_url: str) -> None:
    async with open_client(store_url) as client:
        services = await fill(client, 3)
        estate = Estate(client, 256, per_s=100_000)
        seen = []
        async for each in estate.customers(None):
            seen.append(each)
        assert all(each.profile is not None for each in seen)
        await client.hset(services.keys.profile("c1"), b"zzz", b"1")  # of nobody
        again = {each.customer: each.profile async for each in estate.customers(None)}
        assert {customer for customer, profile in again.items() if profile is None} == {"c1"}


def test_the_table_is_for_people(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    on_the_store(store_url, lambda client: fill(client, 4))
    given = ["doctor", "--bundle", str(FOLDER), "--url-of-store", store_url]
    text = CliRunner().invoke(cli.app, given).stdout
    assert "2 of 4: 50.0%" in text
    assert "all 4 customers looked at" in text
