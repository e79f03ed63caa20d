"""Real workers that are killed while they close windows: each reward is written once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.core.decision.ids import base_of, id_at, pack_id
from app.store.clients import open_client
from app.store.fields import FieldRegistry
from app.store.ledger import kind_names
from tests.faults.test_worker_bad_days import until
from tests.support.rewards import FILES, bundle
from tests.support.valkey import StartStore
from tests.support.working import KEYS
from tests.support.working_process import WorkerProcess

DECISIONS = 3_000
AT_MS = 1_790_000_000_000


async def due(client: Any) -> int:
    counts = [await client.zcard(KEYS.due(shard)) for shard in range(KEYS.shards)]
    return sum(counts)


async def told(client: Any, kind_id: bytes) -> set[str]:
    """Decisions that are due, and were delivered and answered with a purchase."""
    pipeline = client.pipeline(transaction=False)
    made = set()
    for number in range(DECISIONS):
        customer = f"cus_{number}"
        shard = KEYS.shard_of(customer)
        decision = id_at(base_of(shard, AT_MS + number, number), 0)
        name = decision.encode()
        pipeline.set(KEYS.decision(shard, name), f"1-1 {customer}")
        pipeline.hset(KEYS.outcomes(shard, name), b"%08d" % number, f"converted,{AT_MS + number + 5000},1.5")
        pipeline.zadd(KEYS.due(shard), {pack_id(decision) + kind_id: AT_MS + number + 10_000})
        made.add(decision)
    await pipeline.execute()
    return made


async def written(client: Any) -> list[dict[bytes, bytes]]:
    """The entries of all outcome streams."""
    entries = []
    for shard in range(KEYS.shards):
        entries += [fields for _, fields in await client.xrange(KEYS.outcome_stream(shard))]
    return entries


async def until_fewer(client: Any, than: int) -> None:
    async def fewer() -> bool:
        return await due(client) < than

    await until(fewer, 30)


async def test_a_worker_that_is_killed_while_it_closes_doubles_and_loses_no_reward(
    own_store: StartStore, tmp_path: Path
) -> None:
    store_url = own_store().url
    folder = tmp_path / "bundle"
    _write(folder)
    async with open_client(store_url) as client:
        fields = FieldRegistry(client)
        await fields.ensure(kind_names(bundle()))
        kind = next(name for name in kind_names(bundle()) if name.startswith("k:once/"))
        made = await told(client, fields.id_of(kind))
        workers = [WorkerProcess(store_url, tmp_path / f"{number}.log", folder) for number in range(2)]
        try:
            await until_fewer(client, DECISIONS)
            workers[0].kill()  # in the middle of it
            left = await due(client)
            await until_fewer(client, 1)
        finally:
            for each in workers:
                each.end()
        entries = await written(client)
        assert left < DECISIONS
        assert sorted(each[b"d"].decode() for each in entries) == sorted(made)
        assert {each[b"v"] for each in entries} == {b"1.5"}


def _write(folder: Path) -> None:
    folder.mkdir()
    for name, text in FILES.items():
        (folder / f"{name}.yaml").write_text(text)
