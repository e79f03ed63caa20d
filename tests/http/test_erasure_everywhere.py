"""A whole server with its worker, its archiver and its store's own file: where a customer was, and where it is after
it was erased."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
from redis import Redis

from tests.support.contract import consent
from tests.support.erasing import files_naming
from tests.support.serving import Server

SHOP = Path("policy/bundles/shop_demo")
GONE, STAYS = "cus_who_goes", "cus_who_stays"
THING = "a-thing-that-was-looked-at"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archive")


@pytest.fixture(scope="module")
def shop(archive: Path) -> Iterator[Server]:
    with Server(SHOP, NEXTBEST_ARCHIVE=str(archive), NEXTBEST_ARCHIVE_FLUSH_S="0.5") as running:
        yield running


def until(holds: Callable[[], Any], what: str) -> Any:
    give_up_at = time.monotonic() + 30
    while not (found := holds()):
        assert time.monotonic() < give_up_at, what
        time.sleep(0.05)
    return found


def archived(archive: Path) -> list[dict[str, Any]]:
    return [row for file in archive.rglob("*.parquet") for row in pq.read_table(file, partitioning=None).to_pylist()]


def looked(http: httpx.Client, customer: str, number: int, thing: str) -> None:
    event = {
        "event": "product_viewed", "id": f"{customer}-{number}", "customer": customer,
        "properties": {"product_id": thing, "category": "books", "price": 3.5},
    }  # fmt: skip
    answered = http.post("/v1/events", json=event)
    assert answered.json()["accepted"] == 1, answered.text


def test_a_customer_is_nowhere_any_more_but_in_the_tombstone(shop: Server, archive: Path) -> None:
    with httpx.Client(base_url=shop.url, timeout=60) as http, Redis(
        unix_socket_path=str(shop.store.socket_path)
    ) as store:  # fmt: skip
        for customer in (GONE, STAYS):
            body = {"consent": [consent("marketing")], "identities": {"external": f"crm-{customer}"}}
            assert http.put(f"/v1/customers/{customer}", json=body).status_code == 200
            for number in range(5):
                looked(http, customer, number, THING if customer == GONE else "p1")

        def viewed(customer: str) -> Any:
            exported = http.get(f"/v1/customers/{customer}/export").json()  # where nothing is masked
            return exported["features"]["product_views_7d"]["value"] == 5

        until(lambda: viewed(GONE) and viewed(STAYS), "the worker did not fold")
        until(lambda: sum(row["customer"] == GONE for row in archived(archive)) == 5, "the archiver did not archive")

        receipt = http.delete(f"/v1/customers/{GONE}").json()
        looked(http, GONE, 5, "p1")  # from a phone that does not know yet
        path = f"/v1/erasures/{receipt['erasure']}"
        done = until(lambda: (r := http.get(path).json()) and r["done_at"] and r, "it was not done")
        counts = {step["what"]: step["count"] for step in done["steps"]}
        assert counts["archive"] == 5
        assert done["done_at"] is not None
        assert not files_naming(shop.store.folder / "appendonlydir", THING)

        def in_streams() -> bool:
            return any(GONE.encode() in str(store.xrange(key)).encode() for key in store.scan_iter(match="*:events"))

        until(lambda: not in_streams(), "what came after it was not let go of")
        named = [row for row in archived(archive) if GONE in str(row) or THING in str(row)]
        assert named == []
        assert sum(row["customer"] == STAYS for row in archived(archive)) == 5
        assert viewed(STAYS)
        keys = {key.decode() for key in store.scan_iter(count=1000) if GONE in key.decode()}
        assert {key.split(":", 1)[1] for key in keys} == {f"p:{GONE}", f"a:{GONE}"}
