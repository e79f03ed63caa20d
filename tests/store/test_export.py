"""What an export reads: counts behind features, events in streams and in the archive, for all keys of one person."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from app.archiving.folder import Folder
from app.archiving.personal import events_of
from app.core.attribution import claims_in
from app.core.events.entry import encode, encode_letter
from app.core.events.event import Event, Letter, Misfit, Misfits
from app.core.features import codec
from app.core.features.fold import fold
from app.core.features.plan import FoldPlan, new_state
from app.core.heard import Heard
from app.core.outcomes import Outcome
from app.http.export import Sources, export
from app.store.bundles import BundleArchive
from app.store.clients import open_client
from app.store.fields import FieldRegistry
from app.store.keys import Keys, identity, waiting_for_message
from app.store.waiting import Waiting, WaitingStore
from policy.codes import OutcomeType
from policy.compile import load
from tests.support.archive import START_MS, append, archiver_of, collected, visit_all
from tests.support.conversions import NOW_MS, bought, decided, packed, rules

KEYS = Keys(32)
BUNDLE = load(Path("policy/bundles/shop_demo"))
NAMES = ("cus_before", "cus_now")


@pytest.fixture
async def client(store_url: str) -> AsyncIterator[Redis]:
    async with open_client(store_url) as opened:
        await opened.hset(KEYS.profile("cus_before"), "!m", ">cus_now")
        await opened.sadd(KEYS.aliases("cus_now"), KEYS.profile("cus_before"), "id:external:" + "ab" * 16)
        yield opened


async def exported(client: Redis, customer: str = "cus_now") -> dict[str, Any]:
    sources = Sources(client, KEYS, FieldRegistry(client), BundleArchive(client, BUNDLE), BUNDLE)
    pieces = [piece async for piece in await export(sources, customer)]
    document: dict[str, Any] = orjson.loads(b"".join(pieces))
    return document


async def test_the_counts_behind_features_are_shown_by_name(client: Redis) -> None:
    plan = FoldPlan.of(BUNDLE)
    state = new_state(plan)
    for number, kind in enumerate(sorted(plan.routes)):
        fold(plan, state, Event(kind, START_MS + number, {}, number.to_bytes(8, "big")))
    held = {g.key: codec.encode(g, s) for g, s in zip(plan.groups, state, strict=True) if s is not None}
    assert held
    await client.hset(KEYS.of("cus_now").features, mapping={**held, "an older bundle's": b"\x00bytes"})
    document = await exported(client)
    states = document["feature_states"]
    assert set(states) == {*held, "an older bundle's"}
    for group in plan.groups:
        if group.key in held:
            assert set(states[group.key]["lanes"]) == {lane.key for lane in group.lanes}
            assert states[group.key]["newest_ms"] >= START_MS
    assert {name for name, each in document["features"].items() if each["value"] is not None}


async def test_events_of_all_keys_of_the_person_are_in_it_and_of_nobody_else(client: Redis) -> None:
    await append(client, KEYS, [collected(name, number) for number, name in enumerate((*NAMES, "cus_other"))])
    letter = Letter(Misfit(Misfits.TOO_OLD, ""), "cus_now", "viewed", 1, 1, 2, b"12345678", {"product": "p9"})
    await client.xadd(KEYS.dead_letters(KEYS.shard_of("cus_now")), {"e": encode_letter(letter)})
    for asked in NAMES:
        document = await exported(client, asked)
        assert (document["customer"], document["also_known_as"]) == ("cus_now", ["cus_before"])
        assert sorted(event["customer"] for event in document["events"]) == sorted(NAMES)
        assert [each["properties"] for each in document["dead_letters"]] == [{"product": "p9"}]
        assert document["identities"] == [{"kind": "external", "hash": "ab" * 16}]


async def test_what_is_known_of_mail_beyond_decisions_is_in_it(client: Redis) -> None:
    decision = decided(1, NOW_MS)
    (claim,) = claims_in(bought(customer="cus_now"), rules())
    claim = claim._replace(decision=decision, way="last_click", done=True)
    waits = Waiting(
        Heard(Outcome(OutcomeType.OPENED, NOW_MS), message=b"m" * 16, recipient="ab" * 32), "webhook", "esp"
    )
    await WaitingStore(client).keep([(waiting_for_message(b"m" * 16), waits, False)], ["cd" * 16])
    await client.sadd(KEYS.aliases("cus_now"), identity("email_sha256", "cd" * 16))
    told: dict[Any, Any] = {"f12345678": f"complained,{NOW_MS}", "b12345678": NOW_MS, "^-email:unsubscribed": NOW_MS}
    told |= {b"c" + packed(decision): "k1", claim.key: claim.encode()}
    await client.hset(KEYS.mail("cus_now"), mapping=told)
    await client.hset(KEYS.mail("cus_before"), "b87654321", str(NOW_MS - 1000))
    at, earlier = "2026-12-01T00:00:00.000Z", "2026-11-30T23:59:59.000Z"
    assert (await exported(client))["mail"] == {
        "outcomes": [{"type": "complained", "at": at}],
        "waiting": [{"type": "opened", "at": at}],
        "soft_bounces": [earlier, at],
        "lifted": {"email:unsubscribed": at},
        "released": [decision],
        "conversions": [
            {"conversion": "purchase", "at": at, "value": 80.0, "refund": False, "decision_id": decision,
             "attribution": "last_click"}
        ],
    }  # fmt: skip


async def test_an_entry_that_nobody_can_read_does_not_end_an_export(client: Redis) -> None:
    stream = KEYS.events(KEYS.shard_of("cus_now"))
    await client.xadd(stream, {"e": b"\xc1 not of ours"})
    await client.xadd(stream, {"e": encode(collected("cus_now", 1))})
    assert len((await exported(client))["events"]) == 1


async def test_what_was_archived_of_a_person_is_read_back(client: Redis, tmp_path: Path) -> None:
    told = [collected(name, number) for number, name in enumerate((*NAMES, "cus_other", *NAMES))]
    await append(client, KEYS, told)
    await visit_all(archiver_of(client, KEYS, tmp_path), 32)
    found = list(events_of(Folder.at(str(tmp_path)), KEYS, NAMES))
    assert sorted(found, key=lambda each: each.message_id) == [each for each in told if each.customer in NAMES]
