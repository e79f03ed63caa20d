"""A bundle that was cut or changed where the store keeps it: told as that, never decided or explained by, and put right
by whoever serves it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import ormsgpack
import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from typer.testing import CliRunner

from app.cli import app
from app.store import keys
from app.store.bundles import BundleArchive, DamagedBundle, deflated
from policy.compile import digest_of
from tests.http.test_damaged_records import changed
from tests.http.test_outcomes import tell
from tests.support.contract import Caller, contract_bundle, problem
from tests.support.serving import Server

_NUMBERS = count(1)

Damage = Callable[[bytes], bytes]


def cut(kept: bytes) -> bytes:
    return kept[: len(kept) // 2]


def flipped(kept: bytes) -> bytes:
    at = len(kept) // 2
    return kept[:at] + bytes([kept[at] ^ 1]) + kept[at + 1 :]


def another(kept: bytes) -> bytes:
    """Whole, readable, and not what was authored: the least that is owed by it is that nobody believes it."""
    return deflated(zlib.decompress(kept) + b" ")


def nothing(_: bytes) -> bytes:
    return b""


DAMAGES = [cut, flipped, another, nothing]


@contextmanager
def decided_under_an_old_one(store: Redis, decision: str, damage: Damage | None) -> Iterator[str]:
    """The decision's record as if its bundle were no longer served; with the damage, nobody has read it since."""
    canonical = contract_bundle().canonical + b" " * next(_NUMBERS)
    digest = digest_of(canonical)
    kept = deflated(canonical)
    store.set(keys.bundle(digest), kept if damage is None else damage(kept))

    def under(raw: bytes) -> bytes:
        members = ormsgpack.unpackb(raw)
        members[3] = bytes.fromhex(digest.removeprefix("sha256:"))
        return ormsgpack.packb(members)

    try:
        with changed(store, decision, under):
            yield digest
    finally:
        store.delete(keys.bundle(digest))


def test_an_old_one_that_is_whole_explains(caller: Caller, store: Redis) -> None:
    decision = caller.decision(caller.customer())["decision_id"]
    with decided_under_an_old_one(store, decision, None) as digest:
        assert caller.record(decision)["bundle"] == digest


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_explanation_by_it_is_a_410_that_says_how_it_is_put_right(
    caller: Caller, server: Server, store: Redis, damage: Damage
) -> None:
    decision = caller.decision(caller.customer())["decision_id"]
    with decided_under_an_old_one(store, decision, damage) as digest:
        told = problem(caller.http.get(f"/v1/decisions/{decision}"), 410, "bundle_unreadable")
        assert f"the bundle `{digest}` in the store is damaged: start a server with that bundle" in told["detail"]
        assert f"the bundle `{digest}` in the store is damaged" in server.log()
        assert caller.decision(caller.customer())["action"] == "send"  # what is served is what was loaded
    assert 'code="bundle_unreadable"' in caller.http.get("/metrics").text
    assert "Traceback" not in server.log()


def test_what_is_told_of_a_message_of_it_still_stops_whom_it_concerns(caller: Caller, store: Redis) -> None:
    """Closed: a stop is not lost because nobody can read why something was sent."""
    customer = caller.customer()
    decision = caller.decision(customer)["decision_id"]
    pointer = f"{{s{int(decision[4:7], 16):03d}}}:d:{decision}"
    known: Any = store.get(pointer)
    at, who, *_ = known.split(b" ")
    store.set(pointer, b" ".join((at, who)), keepttl=True)  # so that the record must be looked into
    with decided_under_an_old_one(store, decision, flipped):
        assert tell(caller, decision, "complained")["applied"]
    assert caller.decision(customer)["reason"].startswith("suppressed")


def test_an_export_says_so_of_the_decision_and_holds_the_rest(caller: Caller, store: Redis) -> None:
    customer = caller.customer()
    first, second = (caller.decision(customer, each)["decision_id"] for each in ("weekly", "thrice"))
    with decided_under_an_old_one(store, first, cut):
        exported = caller.http.get(f"/v1/customers/{customer}/export").json()["decisions"]
    assert [each.get("decision_id") for each in exported] == [None, second]
    assert exported[0]["request"] == first[4:-2]
    assert "bundle" in exported[0]["note"]


def test_the_log_is_copied_without_it_and_its_records_are_not_replayed(
    caller: Caller, server: Server, store: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEXTBEST_REDIS_URL", f"unix://{server.store.socket_path}")
    decision = caller.decision(caller.customer())["decision_id"]
    with decided_under_an_old_one(store, decision, another) as digest:
        copied = CliRunner().invoke(app, ["records", str(tmp_path / "records"), "--since", "10s"])
    assert copied.exit_code == 0, copied.output
    assert f"the bundle `{digest}` in the store is damaged" in copied.output
    replayed = CliRunner().invoke(app, ["replay", str(tmp_path / "records"), "--processes", "1"])
    assert replayed.exit_code == 1
    assert "bundle" in replayed.output


@pytest.mark.parametrize("damage", DAMAGES)
async def test_whoever_serves_it_puts_it_right(server: Server, damage: Damage) -> None:
    bundle = contract_bundle()
    async with AsyncRedis(unix_socket_path=str(server.store.socket_path)) as client:
        key = keys.bundle(bundle.digest)
        kept = deflated(bundle.canonical)
        await client.set(key, damage(kept))
        await BundleArchive(client, bundle).keep(bundle)
        assert await client.get(key) == kept


async def test_what_is_damaged_is_not_remembered(server: Server) -> None:
    """Put right, it is read by processes that met the damage."""
    bundle = contract_bundle()
    canonical = bundle.canonical + b"\n"
    digest = digest_of(canonical)
    async with AsyncRedis(unix_socket_path=str(server.store.socket_path)) as client:
        archive, key = BundleArchive(client, bundle), keys.bundle(digest)
        await client.set(key, cut(deflated(canonical)))
        with pytest.raises(DamagedBundle):
            await archive.get(digest)
        assert await archive.get_readable(digest) is None
        await client.set(key, deflated(canonical))
        found = await archive.get(digest)
        await client.delete(key)
    assert found is not None
    assert found.digest == digest
