"""Whatever the order in which edges arrive, however often, and whoever takes them down: the graph is the same one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.core.identity_graph import Claim, claims_of, joined, owner_of
from tests.support.identities import HASH_KEY, HOUR_MS, T0_MS, Said, visitor

users = st.sampled_from(["u_1", "u_2", "u_3"])
visitors = st.sampled_from(["a", "b"])
tellings = st.builds(
    lambda at, user, names: Said(T0_MS + at, user, tuple(("anonymous_id", name) for name in sorted(names))),
    st.integers(0, 3 * HOUR_MS), users, st.sets(visitors, min_size=1),
)  # fmt: skip


def kept(said: Sequence[Said], name: str) -> dict[str, int]:
    claims: list[Claim] = [claim for each in said for claim in claims_of(each.entry(), HASH_KEY)]
    return joined((claim.customer, claim.at_ms) for claim in claims if claim.identity == visitor(name))


@given(st.lists(tellings, max_size=8), st.data())
def test_an_owner_depends_on_what_was_told_and_on_nothing_else(said: list[Said], data: Any) -> None:
    again = data.draw(st.lists(st.sampled_from(said), max_size=4)) if said else []
    shuffled = data.draw(st.permutations([*said, *again]))
    cut = data.draw(st.integers(0, len(shuffled)))
    now_ms = T0_MS + data.draw(st.integers(0, 6 * HOUR_MS))
    for name in ("a", "b"):
        here, there = kept(shuffled[:cut], name), kept(shuffled[cut:], name)
        in_parts = joined([*here.items(), *there.items()])
        assert owner_of(in_parts, now_ms, HOUR_MS) == owner_of(kept(said, name), now_ms, HOUR_MS)


@given(st.lists(tellings, min_size=1, max_size=8), st.integers(0, 5 * HOUR_MS))
def test_an_owner_only_ever_becomes_settled_and_then_shared(said: list[Said], waited: int) -> None:
    """Nothing that a later moment says takes back what an earlier one did, but for a second user."""
    order = {"Unclaimed": 0, "Pending": 1, "Belongs": 2, "Shared": 3}
    for count in range(len(said)):
        before = owner_of(kept(said[:count], "a"), T0_MS, HOUR_MS)
        after = owner_of(kept(said[: count + 1], "a"), T0_MS + waited, HOUR_MS)
        assert order[type(before).__name__] <= order[type(after).__name__]
