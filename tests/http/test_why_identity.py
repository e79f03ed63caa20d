"""`nextbest why --identity`: who a customer is, edge by edge, and why."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from click.testing import Result
from redis import Redis
from typer.testing import CliRunner

from app import cli
from app.core.keeping import keeping
from app.flows.link_identities import Identities
from app.flows.merge import Merges
from app.store.claims import ClaimStore
from app.store.clients import open_client
from app.store.fields import FieldRegistry
from app.store.keys import Keys
from app.store.merge import MergeStore
from tests.support.contract import Caller, contract_bundle
from tests.support.identities import HOUR_MS, T0_MS, Said, own_customer, visitor
from tests.support.serving import Server

KEYS = Keys(256)
LATENESS_MS = 72 * HOUR_MS
NOW_MS = T0_MS + 2 * LATENESS_MS
VISITOR: Any = (("anonymous_id", "a visitor's id in clear"),)


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    for name in ("URL", "KEY"):
        monkeypatch.delenv(f"NEXTBEST_{name}", raising=False)


@pytest.fixture(scope="session")
def hash_key(store: Redis) -> bytes:
    return bytes(store.get("ctl:hash_key") or b"")  # type: ignore[arg-type]  # redis-py names the type of two clients in one


def why(server: Server, *arguments: str) -> Result:
    done = CliRunner().invoke(cli.app, ["why", "--url", server.url, *arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def told(server: Server, hash_key: bytes, *said: Said, settle: bool = False) -> None:
    """As if a worker had applied these; and settled, long after."""

    async def work() -> None:
        async with open_client(server.store.url) as client:
            bundle = contract_bundle()
            merges = Merges(MergeStore(client, KEYS, FieldRegistry(client), bundle, on_disk_within_ms=0))
            process = Identities(ClaimStore(client, KEYS, hash_key, keeping(bundle)), merges, LATENESS_MS)
            await process.apply([each.entry(hash_key) for each in said])
            if settle:
                for due in await process._store.take(NOW_MS, 100):
                    await process._settle(due, NOW_MS)

    asyncio.run(work())


def test_every_edge_and_every_merge_is_told_with_its_reason(server: Server, caller: Caller, hash_key: bytes) -> None:
    told(server, hash_key, Said(T0_MS, "u_why", VISITOR), settle=True)
    told(server, hash_key, Said(T0_MS + 3, "u_why", (("anonymous_id", "another"),)))
    own = own_customer(visitor(VISITOR[0][1], hash_key))
    done = why(server, "u_why", "--identity", "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert found["customer"] == "u_why"
    states = {each["hash"]: (each["linked_to"], each["told"]) for each in found["identities"]}
    assert states[own[4:12]] == ("u_why", [{"customer": "u_why", "first_at": "2026-12-01T00:00:00.000Z"}])
    assert len(states) == 2
    ((merged, who, reason),) = [(each["customer"], each["who"], each["why"]) for each in found["merges"]]
    assert (merged, who) == (own, "identity")
    assert reason == f"anonymous_id {own[4:12]} first told with u_why 2026-12-01T00:00:00.000Z"
    assert VISITOR[0][1] not in done.stdout


def test_a_table_says_the_same_in_words(server: Server, caller: Caller, hash_key: bytes) -> None:
    told(server, hash_key, *(Said(T0_MS + at, f"u_s{at}", (("anonymous_id", "shared"),)) for at in (1, 2)))
    own = own_customer(visitor("shared", hash_key))
    done = why(server, "u_s1", "--identity")
    words = " ".join(done.stdout.split())
    assert words.startswith("u_s1 has 1 identity.")
    assert f"anonymous_id {own[4:12]} u_s1 2026-12-01T00:00:00.001Z of several since 2026-12-01T00:00:00.002Z" in words
    assert "u_s2 2026-12-01T00:00:00.002Z" in words


def test_who_was_merged_is_shown_as_whom_they_became(server: Server, caller: Caller, hash_key: bytes) -> None:
    told(server, hash_key, Said(T0_MS, "u_new", before="u_old"), settle=True)
    done = why(server, "u_old", "--identity")
    words = " ".join(done.stdout.split())
    assert words.startswith("u_old became u_new, who has 0 identities; 1 merged into it.")
    assert "u_old 20" in words
    assert "identity alias of 2026-12-01T00:00:00.000Z" in words


def test_what_was_linked_by_hand_is_said_to_be(server: Server, caller: Caller) -> None:
    customer = caller.customer(identities={"external": "crm 7"})
    assert f"of {customer}, as was written by hand" in " ".join(why(server, customer, "--identity").stdout.split())


def test_of_a_stranger_nothing_is_known_and_that_is_no_error(server: Server, caller: Caller) -> None:
    body = httpx.get(f"{server.url}/v1/customers/{caller.stranger()}/identities").json()
    assert (body["identities"], body["merges"]) == ([], [])


def test_a_key_that_is_an_address_is_refused(server: Server) -> None:
    assert why(server, "anna@example.com", "--identity").exit_code == 2


def test_without_a_placement_somebody_must_say_what_they_want(server: Server) -> None:
    done = why(server, "u_1")
    assert done.exit_code == 2
    assert "--identity" in done.output


def test_what_a_client_tells_is_known_at_once_and_settled_when_it_is_time(server: Server) -> None:
    """All the way: the door, the stream, the worker beside the server."""
    said = {"event": "identify", "customer": {"user_id": "u_way", "anonymous_id": "way"}}
    assert httpx.post(f"{server.url}/v1/events", json=said).json()["accepted"] == 1

    def told() -> Any:
        found = httpx.get(f"{server.url}/v1/customers/u_way/identities").json()
        return found if found["identities"] and found["complete_until"] else None

    give_up_at = time.monotonic() + 20
    while (found := told()) is None:
        assert time.monotonic() < give_up_at, server.log()
        time.sleep(0.05)
    (identity,) = found["identities"]
    assert (identity["state"], identity["customer"], identity["linked_to"]) == ("pending", "u_way", None)
    waits = datetime.fromisoformat(identity["due"]) - datetime.fromisoformat(identity["told"][0]["first_at"])
    assert waits == timedelta(hours=72)
