"""Who met a trial is noted once, together with the decision; and decisions are kept as long as the bundle says."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import ormsgpack
import pytest

from app.core.decision.commit import Reading
from app.core.decision.ids import parse_id
from app.core.decision.record import decode
from app.core.decision.replay import replay
from app.http.auth import Authenticator
from app.settings import Settings
from app.store.keys import message
from app.store.profile import exposure_field, exposure_name
from app.wiring import open_services
from tests.flows.conftest import Flow, Interrupting
from tests.support.trials import FOLDER
from tests.support.valkey import Store

CONSENT = {
    "source": "signup_form",
    "basis": "consent",
    "at": "2026-01-01T00:00:00Z",
    "state": "granted",
    "channel": "*",
}
KNOWN: dict[str, Any] = {
    "attributes": {"recency": 3, "member": False, "channel": "Phone"},
    "region": "FR",
    "timezone": "Europe/Paris",
    "consent": [CONSENT | {"purpose": purpose} for purpose in ("marketing", "personalisation")],
}
DAY_S = 86_400
YEAR_AND_A_BIT_S = 400 * DAY_S


@asynccontextmanager
async def flow_of(folder: Path, store: Store, url: str) -> AsyncIterator[Flow]:
    async with AsyncExitStack() as stack:
        settings = Settings(bundle=folder, redis_url=url, trace_exporter="none")  # type: ignore[arg-type]  # pydantic reads a text
        services = await open_services(settings, Authenticator(None), stack)
        assert await services.link.wait_connected(5), services.link.last_error
        made = Flow(services, store)
        services.decider._models = Interrupting(made)  # type: ignore[assignment]  # a stand-in
        yield made
        await asyncio.sleep(0)


@pytest.fixture
async def flow(store_server: Store, store_url: str) -> AsyncIterator[Flow]:
    async with flow_of(FOLDER, store_server, store_url) as made:
        yield made


async def log_of(flow: Flow, customer: str) -> list[dict[bytes, bytes]]:
    stream = flow.services.keys.of(customer).decisions
    return [fields for _, fields in await flow.services.client.xrange(stream) if customer.encode() in fields[b"r"]]


def first_met(entry: dict[bytes, bytes]) -> list[str]:
    """What a log entry says was met for the first time: trial, arm, trial, arm …"""
    return ormsgpack.unpackb(entry[b"x"]) if b"x" in entry else []


async def profile_of(flow: Flow, customer: str) -> dict[bytes, bytes]:
    return await flow.services.client.hgetall(flow.services.keys.profile(customer))


def field_of(flow: Flow, trial: str) -> bytes:
    return exposure_field(flow.services.fields.id_of(exposure_name(trial)))


async def test_a_holdout_is_noted_once_though_nothing_is_sent(flow: Flow) -> None:
    await flow.know("cus_1", **KNOWN)
    answers = [orjson.loads((await flow.decide("cus_1", "held")).body)["decisions"][0] for _ in range(3)]
    assert {(each["action"], each["reason"], each["arm"]) for each in answers} == {("suppress", "holdout", "holdout")}
    assert [first_met(entry) for entry in await log_of(flow, "cus_1")] == [["all_held/a", "holdout"], [], []]
    assert (await profile_of(flow, "cus_1"))[field_of(flow, "all_held/a")] == b"holdout"
    assert await flow.services.client.exists(flow.services.keys.of("cus_1").ledger) == 0


async def test_trials_and_contacts_of_one_request_are_written_together(flow: Flow) -> None:
    await flow.know("cus_2", **KNOWN)
    answered = await flow.decide("cus_2", "told", "best", "held")
    actions = [each["action"] for each in orjson.loads(answered.body)["decisions"]]
    assert actions.count("send") == 2
    (entry,) = await log_of(flow, "cus_2")
    met = first_met(entry)
    assert met[::2] == ["tone/s3", "all_held/a"]
    assert await flow.services.client.zcard(flow.services.keys.of("cus_2").ledger) == 2
    profile = await profile_of(flow, "cus_2")
    for trial, arm in zip(met[::2], met[1::2], strict=True):
        assert profile[field_of(flow, trial)] == arm.encode()


async def test_what_another_process_noted_meanwhile_is_not_noted_again(flow: Flow) -> None:
    await flow.know("cus_3", **KNOWN)
    profile, field = flow.services.keys.profile("cus_3"), field_of(flow, "all_held/a")

    def happen() -> None:
        flow.before_commit = None
        flow.store.commands(("HSET", profile, field, "treatment"))

    flow.before_commit = happen
    await flow.decide("cus_3", "held")
    assert [first_met(entry) for entry in await log_of(flow, "cus_3")] == [[]]
    assert (await profile_of(flow, "cus_3"))[field] == b"treatment", "the first arm stands"


async def test_many_decisions_at_once_meet_a_trial_once(flow: Flow) -> None:
    await flow.know("cus_4", **KNOWN)
    await asyncio.gather(*(flow.decide("cus_4", "told", "held") for _ in range(20)))
    met = [trial for entry in await log_of(flow, "cus_4") for trial in first_met(entry)[::2]]
    assert sorted(met) == ["all_held/a", "tone/s3"]


async def test_an_exposure_moves_no_version(flow: Flow) -> None:
    """No limit and no consent depends on it: nobody else's commit need be decided again."""
    await flow.know("cus_5", **KNOWN)
    before = await profile_of(flow, "cus_5")
    await flow.decide("cus_5", "held")
    after = await profile_of(flow, "cus_5")
    assert {name for name in after if after[name] != before.get(name)} == {field_of(flow, "all_held/a")}


async def test_a_stranger_who_meets_a_trial_stays_a_stranger_and_is_forgotten(flow: Flow) -> None:
    await flow.decide("cus_6", "receipt_held", context={"trigger": "browse"})
    keys = flow.services.keys.of("cus_6")
    assert await profile_of(flow, "cus_6") == {field_of(flow, "everywhere/h"): b"holdout"}
    assert YEAR_AND_A_BIT_S - 60 < await flow.services.client.ttl(keys.profile) <= YEAR_AND_A_BIT_S
    reading = await flow.services.store.read("cus_6", None, asyncio.get_running_loop().time() + 2)
    assert isinstance(reading, Reading)
    facts = reading.facts
    assert (facts.exists, dict(facts.exposures)) == (False, {"everywhere/h": "holdout"})


async def test_without_trials_a_decision_notes_nothing(flow: Flow) -> None:
    await flow.know("cus_7", **KNOWN)
    await flow.decide("cus_7", "best")
    (entry,) = await log_of(flow, "cus_7")
    assert set(entry) == {b"r"}
    assert not [name for name in await profile_of(flow, "cus_7") if name.startswith(b"=")]


async def test_a_dry_run_meets_no_trial(flow: Flow) -> None:
    await flow.know("cus_8", **KNOWN)
    await flow.decide("cus_8", "held", dry_run=True)
    assert field_of(flow, "all_held/a") not in await profile_of(flow, "cus_8")


async def test_a_logged_holdout_replays(flow: Flow) -> None:
    await flow.know("cus_9", **KNOWN)
    await flow.decide("cus_9", "held", "told", "half")
    (entry,) = await log_of(flow, "cus_9")
    assert all(each.same for each in replay(decode(entry[b"r"], flow.services.bundle)))


# How long decisions are kept


@pytest.fixture
async def forgetful(store_server: Store, store_url: str, tmp_path: Path) -> AsyncIterator[Flow]:
    folder = Path(shutil.copytree(FOLDER, tmp_path / "bundle"))
    (folder / "data.yaml").write_text("retention: {decisions: 2d}\n")
    async with flow_of(folder, store_server, store_url) as made:
        yield made


async def add_old_entries(flow: Flow, customer: str, days: int) -> bytes:
    stream = flow.services.keys.of(customer).decisions
    seconds, _ = await flow.services.client.time()
    old_ms = (seconds - days * DAY_S) * 1000
    pipeline = flow.services.client.pipeline(transaction=False)
    for number in range(300):
        pipeline.xadd(stream, {"r": "old"}, id=f"{old_ms + number}-1")
    await pipeline.execute()
    return stream


async def still_there(flow: Flow, stream: bytes) -> int:
    return sum(fields[b"r"] == b"old" for _, fields in await flow.services.client.xrange(stream))


async def send_ttl_s(flow: Flow, customer: str) -> int:
    answered = await flow.decide(customer, "best")
    decision_id = orjson.loads(answered.body)["decisions"][0]["decision_id"]
    ttl: int = await flow.services.client.ttl(flow.services.keys.of(customer).decision(decision_id.encode()))
    return ttl


async def test_decisions_older_than_the_bundle_keeps_them_leave_the_log(forgetful: Flow) -> None:
    await forgetful.know("cus_1", **KNOWN)
    stream = await add_old_entries(forgetful, "cus_1", days=3)
    ttl_s = await send_ttl_s(forgetful, "cus_1")
    assert await still_there(forgetful, stream) <= 100, "whole blocks of a hundred at once"
    assert 2 * DAY_S - 60 < ttl_s <= 2 * DAY_S


async def test_the_provider_s_id_of_a_mail_leads_to_its_decision_no_longer_than_that_is_kept(forgetful: Flow) -> None:
    decision = parse_id("dec_000190b1c2d3e4f5a6b7c8d9e000")
    assert decision is not None
    await forgetful.services.outcome_store.remember([(b"m" * 16, decision)])
    ttl_s: int = await forgetful.services.client.ttl(message(b"m" * 16))
    assert 2 * DAY_S - 60 < ttl_s <= 2 * DAY_S


async def test_decisions_that_are_kept_are_left_alone(forgetful: Flow) -> None:
    await forgetful.know("cus_1", **KNOWN)
    stream = await add_old_entries(forgetful, "cus_1", days=1)
    await forgetful.decide("cus_1", "best")
    assert await still_there(forgetful, stream) == 300


async def test_without_a_retention_only_size_bounds_the_log(flow: Flow) -> None:
    await flow.know("cus_1", **KNOWN)
    stream = await add_old_entries(flow, "cus_1", days=300)
    ttl_s = await send_ttl_s(flow, "cus_1")
    assert await still_there(flow, stream) == 300
    assert 35 * DAY_S - 60 < ttl_s <= 35 * DAY_S
