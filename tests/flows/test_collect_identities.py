"""What the door writes down of who is who: enough to link later, whatever is linked by then."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.events import native, segment
from app.core.events.event import Collected
from app.core.events.who import edge
from app.core.identity import Alias
from tests.flows.test_collect import Surroundings, around
from tests.support.event_bundle import HASH_KEY

__all__ = ["around"]


async def collected(around: Surroundings, said: dict[str, Any], read: Any = native.message) -> Collected:
    await around.collector.collect([said], read, "key_1")
    (found,) = around.store.events
    return found


@pytest.mark.parametrize(
    ("customer", "known"),
    [
        ({"user_id": "u_1", "anonymous_id": "a"}, True),
        ({"customer": "cus_1", "anonymous_id": "a"}, True),
        ({"anonymous_id": "a", "external": "crm 7"}, False),
    ],
)
async def test_a_customer_is_known_who_was_told_by_a_key_or_a_user_id(
    around: Surroundings, customer: dict[str, str], known: bool
) -> None:
    found = await collected(around, {"event": "identify", "customer": customer})
    assert found.known is known
    assert edge(Alias("anonymous_id", "a"), HASH_KEY) in found.edges


async def test_an_event_that_links_nobody_is_as_short_as_before(around: Surroundings) -> None:
    said = {"event": "product_viewed", "customer": "cus_1", "properties": {"product_id": "p1"}}
    assert not (await collected(around, said)).known


async def test_an_alias_says_which_customer_the_earlier_user_is(around: Surroundings) -> None:
    """Nobody could tell it later from the hash of the id."""
    found = await collected(around, {"event": "alias", "customer": "u_2", "previous": "u_1"})
    assert (found.customer, found.previous_customer, found.known) == ("u_2", "u_1", True)
    assert found.previous == (edge(Alias("user_id", "u_1"), HASH_KEY),)


async def test_an_alias_of_a_visitor_says_of_no_customer(around: Surroundings) -> None:
    found = await collected(around, {"event": "alias", "customer": "u_2", "previous": {"anonymous_id": "a"}})
    assert (found.previous_customer, found.known) == ("", True)


async def test_segment_s_alias_may_mean_either(around: Surroundings) -> None:
    said = {"type": "alias", "userId": "u_2", "previousId": "x"}
    found = await collected(around, said, lambda item: segment.message(item, None, None))
    assert (found.previous_customer, len(found.previous), found.known) == ("x", 2, True)
