"""The same sentences about the store, on a cluster: some of each part. All of them: `NEXTBEST_TEST_STORE=cluster`."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis.asyncio import Redis

from app.store.append_only_file import write_anew
from app.store.erasure_sweeps import Sweeps
from tests.store.test_archive import test_every_entry_is_a_row_once_and_the_workers_may_trim
from tests.store.test_budgets import test_callers_at_once_send_exactly_the_budget
from tests.store.test_deliverability_watch import (
    house,
    test_an_hour_is_read_over_all_shards_and_what_is_no_number_is_passed_over,
    test_complaints_above_the_limit_switch_the_message_off_with_the_reason,
)
from tests.store.test_erasure import (
    client,
    job_of,
    test_each_erasure_is_handed_to_one_process_until_that_one_is_silent,
    test_many_are_swept_up_in_one_pass_and_others_are_left,
)
from tests.store.test_fold_notes import test_servers_read_what_workers_and_fillings_note
from tests.store.test_merge import test_many_merges_into_one_winner_at_once_end_with_all_of_them
from tests.store.test_outcomes import (
    desk,
    test_a_customer_who_became_another_one_is_stopped_as_that_one,
    test_a_variant_counts_a_sending_once_and_a_response_once,
    test_whatever_is_released_meanwhile_a_limit_of_one_holds_and_its_room_is_used,
)
from tests.store.test_worker_leases import (
    test_a_lease_that_is_over_can_be_taken_and_its_token_is_a_new_one,
    test_workers_that_begin_at_once_begin_at_different_shards,
)
from tests.support.cluster import Cluster
from tests.support.server import eventually
from tests.support.working import KEYS, NOW_MS, collected, features_in, viewed, worked_off

__all__ = [
    "client", "desk", "house",
    "test_a_customer_who_became_another_one_is_stopped_as_that_one",
    "test_a_lease_that_is_over_can_be_taken_and_its_token_is_a_new_one",
    "test_a_variant_counts_a_sending_once_and_a_response_once",
    "test_an_hour_is_read_over_all_shards_and_what_is_no_number_is_passed_over",
    "test_callers_at_once_send_exactly_the_budget",
    "test_complaints_above_the_limit_switch_the_message_off_with_the_reason",
    "test_each_erasure_is_handed_to_one_process_until_that_one_is_silent",
    "test_every_entry_is_a_row_once_and_the_workers_may_trim",
    "test_many_are_swept_up_in_one_pass_and_others_are_left",
    "test_many_merges_into_one_winner_at_once_end_with_all_of_them",
    "test_servers_read_what_workers_and_fillings_note",
    "test_whatever_is_released_meanwhile_a_limit_of_one_holds_and_its_room_is_used",
    "test_workers_that_begin_at_once_begin_at_different_shards",
]  # fmt: skip


@pytest.fixture
def store_url(cluster: Cluster) -> str:
    """Of the cluster, for all of these."""
    return cluster.url


async def test_events_of_all_shards_are_worked_off_by_one_worker(client: Redis, store_url: str) -> None:
    customers = [f"cus_{number}" for number in range(20)]  # in all of the eight shards, at all three primaries
    events = [viewed(each, 100 * n + m, NOW_MS + m) for n, each in enumerate(customers) for m in range(n + 1)]
    await collected(client, events)
    counted = await worked_off(store_url)
    assert not counted.troubles
    views = [(await features_in(client, each))["views_7d"] for each in customers]
    assert views == [n + 1 for n in range(20)]


async def test_receipts_at_all_primaries_are_gone_after_an_erasure(client: Redis) -> None:
    keys = [KEYS.decision(shard, b"dec_" + b"0" * 28) for shard in range(KEYS.shards)]
    for key in keys:
        await client.set(key, b"1-1 cus_gone")
    became = next(f"cus_{n}" for n in range(99) if KEYS.shard_of(f"cus_{n}") != KEYS.shard_of("cus_gone"))
    found = await Sweeps(client, KEYS).receipts([job_of("ers_1", 10, "cus_gone", became)])
    assert found["ers_1"] == len(keys)
    assert not [key for key in keys if await client.exists(key)]


async def test_every_server_writes_its_file_anew_after_an_erasure(
    client: Redis, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica's file holds what was deleted as well."""
    await eventually(cluster.is_known, 20)
    monkeypatch.setattr("app.store.append_only_file.LOOK_EVERY_S", 0.01)
    for node in cluster.nodes:
        node.store.command("CONFIG", "SET", "auto-aof-rewrite-percentage", 0)
    before = {node.id: b"".join(_files(node.store.folder)) for node in cluster.nodes}
    await client.set("{s001}:f:somebody_to_erase", 1)
    await client.delete("{s001}:f:somebody_to_erase")
    assert await write_anew(client) == ""
    for node in cluster.nodes:
        held = b"".join(_files(node.store.folder))
        assert b"somebody_to_erase" not in held
        assert held != before[node.id]


def _files(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("appendonlydir/*"))]
