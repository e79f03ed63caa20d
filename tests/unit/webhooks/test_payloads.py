"""Whole payloads from the vendors' documentation, and what each is read as: `payloads/<provider>/<name>.said.yaml`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.core.webhooks.hearing import hear
from app.core.webhooks.provider import Aside, Delivery, Said
from app.core.webhooks.registry import NAMES, provider_of
from policy.codes import OutcomeType
from tests.support.webhooks import secret_of
from tests.support.webhooks.door import proven, sample_of
from tests.support.webhooks.payloads import PAYLOADS

FILES = sorted(each for each in PAYLOADS.glob("*/*") if each.suffix in (".json", ".txt"))
#: Outcomes that a provider never tells, so that no payload of it can show them (reference: its table of events).
DEFAULTS = {name: Said._field_defaults.get(name, ...) for name in Said._fields}


def read_from(file: Path) -> list[Said]:
    """What is read from a payload that arrived as its provider sends it."""
    provider, sample = provider_of(file.parent.name), sample_of(file.parent.name)
    assert provider is not None
    headers = proven(provider.name, sample.body, secret_of(sample), time.time())[1]
    delivery = Delivery(file.read_bytes(), headers, time.time(), sample.url)
    return [said for item in provider.items(delivery) for said in provider.read(item)]


def shown(said: Said) -> dict[str, Any]:
    """The fields that are not at their defaults. The id of a delivery that is in a header is the sample's."""
    shown = {name: getattr(said, name) for name in DEFAULTS}
    return {name: _plain(value) for name, value in shown.items() if value != DEFAULTS[name]}


def _plain(value: Any) -> Any:
    return value.value if hasattr(value, "value") else value


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_payload_is_read_as_it_is_meant(file: Path) -> None:
    expected = yaml.safe_load(file.with_suffix(".said.yaml").read_text())
    assert [shown(each) for each in read_from(file)] == expected


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_nothing_that_is_heard_of_a_payload_names_an_address(file: Path) -> None:
    for said in read_from(file):
        if isinstance(said.type, OutcomeType) and (said.recipient or said.message_id or said.decision_id):
            heard = hear(file.parent.name, said, False, lambda _: "other")
            # Of these only hashes are kept, or they are one.
            kept = heard._replace(message=None)
            own = kept.outcome._replace(event_id=None) if "@" in (said.event_id or "") else kept.outcome
            assert "@" not in repr(kept._replace(outcome=own))


@pytest.mark.parametrize("name", NAMES)
def test_every_provider_has_payloads_and_every_expectation_a_payload(name: str) -> None:
    folder = PAYLOADS / name
    bodies = {each.stem for each in FILES if each.parent == folder}
    assert bodies, f"no payload of {name}"
    assert bodies == {each.name.removesuffix(".said.yaml") for each in folder.glob("*.said.yaml")}


@pytest.mark.parametrize("name", NAMES)
def test_the_payloads_of_a_provider_show_what_matters_most(name: str) -> None:
    """Delivery, a hard bounce, and both ways in which somebody says no."""
    seen = {each.type for file in FILES if file.parent.name == name for each in read_from(file)}
    missing = {OutcomeType.DELIVERED, OutcomeType.BOUNCED_HARD, OutcomeType.COMPLAINED, OutcomeType.UNSUBSCRIBED} - seen
    excused = {"iterable": {OutcomeType.DELIVERED}, "generic": {OutcomeType.COMPLAINED, OutcomeType.UNSUBSCRIBED}}
    assert missing <= excused.get(name, set()), missing
    assert seen - {Aside.IGNORED, Aside.UNKNOWN}
