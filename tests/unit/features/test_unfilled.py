"""Which features a shard lacks events of, and until when: from what is noted of its folding and filling alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.events.event import Event
from app.core.features.backfill import CannotFill, Change, Missing, lanes_of, missing
from app.core.features.codec import decode, encode
from app.core.features.fold import fold
from app.core.features.history import folded
from app.core.features.plan import FoldPlan, State
from app.core.features.read import read
from app.core.features.unfilled import CLOCKS_APART_MS, NEVER_MS, Noted, lacking, wanted_of, whole_from_ms
from tests.support.folding import EVERYTHING, event, rules_of

DAY_MS = 86_400_000
AT_MS = 1_795_507_140_000  # when the shard's worker took over with the plan that has more features
VIEWS = "views: {on: viewed, count: 1, window: 7d}"
SALES = "sales: {on: bought, count: 1, window: 7d}"
TOTAL = "total: {on: bought, sum: revenue}"
OLD, NEW = VIEWS, f"{VIEWS}\n{SALES}\n{TOTAL}"


def lanes(text: str) -> dict[str, int]:
    return lanes_of(FoldPlan.of_rules(rules_of(text)))


def change(text: str, ms: int, number: int = 0) -> Change:
    return Change(lanes(text), (ms, number))


def whole(
    *changes: Change, of: str = NEW, passed: bool = True, filled: dict[str, Missing] | None = None
) -> dict[str, int]:
    return whole_from_ms(wanted_of(rules_of(of)), Noted(changes, filled or {}, passed))


BEFORE = change(OLD, 0)
TAKEN_OVER = change(NEW, AT_MS)


def test_a_new_feature_lacks_what_passed_and_the_others_nothing() -> None:
    assert set(whole(BEFORE, TAKEN_OVER)) == {"sales", "total"}
    assert whole(BEFORE, TAKEN_OVER, of=OLD) == {}, "servers of the release before go on"


def test_it_is_whole_when_it_was_folded_for_as_long_as_it_reaches_back() -> None:
    found = whole(BEFORE, TAKEN_OVER)
    whole_ms = AT_MS + 7 * DAY_MS + CLOCKS_APART_MS
    assert found == {"sales": whole_ms, "total": NEVER_MS}, "a sum without a window waits for ever"
    assert lacking(found, whole_ms - 1) == {"sales", "total"}
    assert lacking(found, whole_ms) == {"total"}


def test_what_was_filled_lacks_nothing_and_only_that() -> None:
    changes = [BEFORE, TAKEN_OVER]
    filled = missing(lanes(SALES), changes, {})
    assert set(whole(*changes, filled=filled)) == {"total"}
    assert whole(*changes, filled=missing(lanes(NEW), changes, {})) == {}


def test_filled_up_to_another_position_is_not_filled() -> None:
    """The shard was taken over once more since, by a worker that folded it from later on."""
    filled = missing(lanes(NEW), [BEFORE, TAKEN_OVER], {})
    assert set(whole(BEFORE, change(NEW, AT_MS + 1), filled=filled)) == {"sales", "total"}


def test_of_a_feature_that_no_worker_folds_yet_everything_is_lacking_whatever_time_passes() -> None:
    assert whole(BEFORE) == {"sales": NEVER_MS, "total": NEVER_MS}
    assert set(whole()) == {"views", "sales", "total"}, "events passed, and nobody noted with which plan"


def test_a_fresh_store_lacks_nothing() -> None:
    assert whole(passed=False) == {}
    assert whole(BEFORE, change(NEW, 0), passed=False) == {}, "released anew before anything happened"
    assert whole(change(NEW, 0)) == {}


def test_a_worker_of_an_older_release_that_takes_over_again_ends_the_use_of_what_it_does_not_fold() -> None:
    back = change(OLD, AT_MS + 1)
    filled = missing(lanes(NEW), [BEFORE, TAKEN_OVER], {})
    assert whole(BEFORE, TAKEN_OVER, back, filled=filled) == {"sales": NEVER_MS, "total": NEVER_MS}
    with pytest.raises(CannotFill, match="start the worker with it") as told:
        missing(lanes(NEW), [BEFORE, TAKEN_OVER, back], filled)
    assert told.value.position is None


def test_what_was_folded_with_a_gap_is_whole_again_only_when_its_window_has_passed() -> None:
    again_ms = AT_MS + 5 * DAY_MS
    changes = [BEFORE, TAKEN_OVER, change(OLD, AT_MS + DAY_MS), change(NEW, again_ms)]
    filled = missing(lanes(NEW), changes[:2], {})
    assert whole(*changes, filled=filled) == {"sales": again_ms + 7 * DAY_MS + CLOCKS_APART_MS, "total": NEVER_MS}
    with pytest.raises(CannotFill, match="not all the time since") as told:
        missing(lanes(NEW), changes, filled)
    assert told.value.position == (again_ms, 0)


def test_a_plan_under_which_nothing_was_folded_leaves_no_gap() -> None:
    """Shards change hands while a release is rolled out: an older worker may have one again and find nothing to do."""
    filled = missing(lanes(NEW), [BEFORE, TAKEN_OVER], {})
    back, again = change(OLD, AT_MS + 1, 4), change(NEW, AT_MS + 1, 4)
    assert whole(BEFORE, TAKEN_OVER, back, again, filled=filled) == {}
    assert missing(lanes(NEW), [BEFORE, TAKEN_OVER, back, again], filled) == {}


def test_a_first_plan_that_is_not_the_shards_beginning_is_believed_to_have_folded() -> None:
    """Of a shard's plans the newest hundred are kept: what was before the first of them is not known."""
    first = change(OLD, AT_MS)
    assert set(whole(first, change(NEW, AT_MS))) == {"sales", "total"}


def test_a_lane_that_grew_is_whole_for_features_that_reach_no_further_than_before() -> None:
    longer = "views: {on: viewed, count: 1, window: 7d}\nmore: {on: viewed, count: 1, window: 8d}"
    assert set(whole(BEFORE, change(longer, AT_MS), of=longer)) == {"more"}


def test_a_feature_of_two_lanes_waits_for_the_one_that_is_folded_since_later() -> None:
    rate = "buys: {rate: {of: bought, per: viewed}, window: 7d}"
    later = change(f"{VIEWS}\n{rate}", AT_MS + DAY_MS)
    changes = (change(SALES, 0), change(f"{SALES}\n{VIEWS}", AT_MS), change(VIEWS, AT_MS + 1), later)
    assert whole(*changes, of=rate) == {"buys": AT_MS + 8 * DAY_MS + CLOCKS_APART_MS}


RULES = rules_of(EVERYTHING)
PLAN = FoldPlan.of_rules(RULES)

events = st.builds(
    lambda kind, ago_h, product, price: event(
        kind, AT_MS + ago_h * 3_600_000, product=f"p{product}", category=f"c{product % 20}", price=price, revenue=price
    ),
    st.sampled_from(["viewed", "added", "bought"]),
    st.integers(-40 * 24, 40 * 24),
    st.integers(0, 40),
    st.floats(0, 100),
)


def under(plan: FoldPlan, held: State, before: FoldPlan) -> State:
    """What one plan wrote, as another one reads it."""
    stored = {g.key: encode(g, each) for g, each in zip(before.groups, held, strict=True) if each is not None}
    return [decode(group, stored[group.key]) if group.key in stored else None for group in plan.groups]


@given(
    st.lists(events, max_size=30),
    st.sets(st.sampled_from(range(len(RULES)))),
    st.integers(0, 120 * 24),
)
def test_a_feature_that_lacks_nothing_is_what_it_would_be_if_it_had_always_been_folded(
    told: list[Event], declared: set[int], hours: int
) -> None:
    """Whatever was declared before, and whenever it is asked: events come in as they happen."""
    told = sorted(told, key=lambda each: each.occurred_at_ms)
    old = FoldPlan.of_rules([RULES[number] for number in sorted(declared)])
    before = [each for each in told if each.occurred_at_ms <= AT_MS]
    now_ms = AT_MS + hours * 3_600_000 + 2 * CLOCKS_APART_MS
    after = [each for each in told if AT_MS < each.occurred_at_ms <= now_ms]
    state = under(PLAN, folded(old, before), old)
    for each in after:
        fold(PLAN, state, each)
    noted = Noted([Change(lanes_of(old), (0, 0)), Change(lanes_of(PLAN), (AT_MS, 0))], {}, bool(told))
    unused = lacking(whole_from_ms(wanted_of(RULES), noted), now_ms)
    served, always = read(PLAN, state, now_ms), read(PLAN, folded(PLAN, before + after), now_ms)
    assert {name: value for name, value in served.items() if name not in unused} == {
        name: value for name, value in always.items() if name not in unused
    }
    assert unused.isdisjoint({rule.name for rule in old.features}), "what was always folded is used"
