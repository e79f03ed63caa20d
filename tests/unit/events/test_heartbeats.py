"""Heartbeats: a source that has nothing to tell says for which events it speaks."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.events import cloudevents, native, segment
from app.core.events.event import Arrived, Misfit, Misfits
from app.core.events.heartbeat import alive
from policy.event_rules import EventRules
from tests.support.event_bundle import event_bundle

BEAT = {"type": "heartbeat"}


def spoken_for(said: dict[str, Any], rules: EventRules | None = None) -> frozenset[str] | Misfit:
    arrived = native.message(said)
    return arrived if isinstance(arrived, Misfit) else alive(arrived, event_bundle().events if rules is None else rules)


def test_it_speaks_for_the_events_that_it_names_by_any_of_their_names() -> None:
    said = BEAT | {"events": ["order_completed", "Product Viewed", "com.example.product.viewed"], "source": "shop"}
    assert spoken_for(said) == {"order_completed", "product_viewed"}


def test_without_names_it_speaks_for_all_events_of_the_bundle() -> None:
    assert spoken_for(BEAT) == {"basket_bought", "order_completed", "product_viewed"}
    assert spoken_for(BEAT, EventRules()) == frozenset()


def test_one_that_names_none_speaks_for_none() -> None:
    assert spoken_for(BEAT | {"events": []}) == frozenset()


@pytest.mark.parametrize("events", [["order_complete"], [None], ["order_completed", 7], ["ana@example.com"]])
def test_one_that_names_what_the_bundle_does_not_declare_says_so(events: list[Any]) -> None:
    """A name that is misspelt would keep nothing fresh, and nobody would know why."""
    found = spoken_for(BEAT | {"events": events})
    assert isinstance(found, Misfit)
    assert found.code is Misfits.UNKNOWN_EVENT
    assert "@" not in found.detail


@pytest.mark.parametrize("more", [{"events": "order_completed"}, {"customer": "cus_1"}, {"event": "x"}])
def test_one_that_is_no_heartbeat_is_malformed(more: dict[str, Any]) -> None:
    found = spoken_for(BEAT | more)
    assert isinstance(found, Misfit)
    assert found.code is Misfits.MALFORMED


def test_other_formats_know_no_heartbeats() -> None:
    assert isinstance(segment.message(BEAT, None, None), Misfit)
    told = cloudevents.structured({"specversion": "1.0", "id": "1", "source": "x", **BEAT})
    assert not isinstance(told, Arrived) or told.kind == "track"
