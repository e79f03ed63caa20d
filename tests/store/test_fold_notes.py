"""What is noted of shards' folding and filling, as servers read it; `test_on_cluster.py` runs it on a cluster too."""

from __future__ import annotations

from app.core.features.backfill import lanes_of, missing
from app.store.clients import open_client
from app.store.fold_notes import FoldNotes
from app.store.fold_plans import FoldPlans
from app.store.keys import Keys
from tests.support.folding import plan_of
from tests.support.link import linked, soon
from tests.support.working import FEATURES, PLAN, collected, viewed, worked_off

MORE = plan_of(f"{FEATURES}\nviews_30d: {{on: viewed, count: 1, window: 30d}}")


async def test_servers_read_what_workers_and_fillings_note(store_url: str) -> None:
    keys = Keys(20)  # two groups
    async with open_client(store_url) as client, linked(store_url) as link:
        plans, notes = FoldPlans(client, keys), FoldNotes(keys)
        await collected(client, [viewed("cus_1", 1)], keys)
        for plan in (PLAN, MORE):
            await worked_off(store_url, plan=plan, keys=keys)
        changes = await plans.changes()
        lacking = {shard: missing(lanes_of(MORE), changes[shard], {}) for shard in range(keys.shards)}
        await plans.filled_now({shard: lanes for shard, lanes in lacking.items() if lanes}, {})
        filled = await plans.filled()
        for shards in notes.groups():
            read = await notes.read(shards, link, soon(5))
            assert read is not None
            now_ms, noted = read
            assert now_ms > 1_700_000_000_000
            for shard in shards:
                assert list(noted[shard].changes) == changes[shard]
                assert noted[shard].filled == filled.get(shard, {})
                assert noted[shard].passed is (shard == keys.shard_of("cus_1"))
            again = await notes.read(shards, link, soon(5))
            assert again is not None
            assert all(again[1][shard] is noted[shard] for shard in shards), "what is as it was is not read anew"
