"""What profiles hold beside attributes, consent and suppressions: outcomes, exposures, own hours, merging, ends."""

from __future__ import annotations

import dataclasses
from itertools import permutations

import pytest
from redis.asyncio import Redis

from app.store.described import describe_profile
from app.store.fields import FieldRegistry, names_of
from app.store.ledger import LedgerCodec
from app.store.profile import UnknownField, exposure_field, exposure_name, outcome_field
from app.store.profile_decoder import ProfileDecoder, decode_profile
from policy.bundle import Handling
from policy.facts import Facts
from tests.support.customers import BUNDLE

NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000
KIND = "k:weekly/email/marketing/mens/men/spring"


def registry(*more: str) -> FieldRegistry:
    known = FieldRegistry(Redis())
    names = [*names_of(BUNDLE), "s:form", "b:consent", KIND, exposure_name("holdout/h1"), *more]
    known.learn((name, b"%d" % i) for i, name in enumerate(names))
    return known


def decoded(known: FieldRegistry, *fields: tuple[bytes, bytes]) -> Facts:
    return decode_profile([part for field in fields for part in field], known, BUNDLE, NOW_MS, ())


def test_an_outcome_is_known_with_the_kind_of_contact_that_it_followed() -> None:
    known = registry()
    ledger = LedgerCodec(known)
    field = outcome_field("converted", known.id_of(KIND))
    facts = ProfileDecoder(BUNDLE, known, ledger.kind_named).decode([b"!u", b"1", field, b"123"], NOW_MS, ())
    (outcome,) = facts.outcomes
    assert (outcome.type, outcome.at_ms) == ("converted", 123)
    assert outcome.kind is ledger.kind_named(KIND)


def test_an_outcome_may_have_followed_no_contact_that_is_known() -> None:
    (outcome,) = decoded(registry(), (outcome_field("converted", b""), b"123")).outcomes
    assert outcome == ("converted", None, 123)


@pytest.mark.parametrize("value", [b"", b"soon", b"-1", b"1.5"])
def test_an_outcome_that_cannot_be_read_is_never_passed_over(value: bytes) -> None:
    known = registry()
    with pytest.raises(UnknownField):
        decoded(known, (outcome_field("converted", known.id_of(KIND)), value))


@pytest.mark.parametrize("kind_id", [b"zz", b"0"])
def test_an_outcome_of_a_kind_yet_unknown_is_never_passed_over(kind_id: bytes) -> None:
    with pytest.raises(UnknownField):
        decoded(registry(), (outcome_field("converted", kind_id), b"1"))


def test_wherever_outcomes_lie_the_rest_reads_the_same() -> None:
    known = registry()
    others = [(b"!r", b"DE"), (known.id_of("a:recency"), b"3"), (b"=" + known.id_of("x:holdout/h1"), b"treatment")]
    past = [(outcome_field("clicked", b""), b"5"), (outcome_field("converted", known.id_of(KIND)), b"7")]
    seen = {
        (facts.region, facts.values["recency"], facts.exposures["holdout/h1"], *sorted(o.at_ms for o in facts.outcomes))
        for facts in (decoded(known, *order) for order in permutations([*others, *past]))
    }
    assert seen == {("DE", 3, "treatment", 5, 7)}


def test_outcomes_do_not_multiply_what_a_decoder_remembers() -> None:
    known = registry()
    decoder = ProfileDecoder(BUNDLE, known)
    for outcome in ("sent", "clicked", "opened", "converted"):
        decoder.decode([b"!r", b"DE", outcome_field(outcome, b""), b"1"], NOW_MS, ())
    assert len(decoder._layouts) == 1


def test_the_arm_in_which_a_customer_was_seen_is_known_and_an_unheard_trial_is_passed_over() -> None:
    known = registry()
    facts = decoded(known, (exposure_field(known.id_of("x:holdout/h1")), b"holdout"), (exposure_field(b"zz"), b"a"))
    assert facts.exposures == {"holdout/h1": "holdout"}
    assert not facts.exists


@pytest.mark.parametrize(
    ("stored", "hours"),
    [
        (b'"18:00-21:00"', "18:00-21:00"),
        (b'"22:30-06:00"', "22:30-06:00"),
        (b'"24:00-06:00"', None),
        (b'"evenings"', None),
        (b"18", None),
        (b"null", None),
    ],
)
def test_a_customers_own_hours_are_known_and_what_is_no_time_is_no_preference(stored: bytes, hours: str | None) -> None:
    assert decoded(registry(), (b"%best_hours", stored)).best_hours == hours


def test_a_merge_under_way_and_one_that_is_over_are_told_apart() -> None:
    known = registry()
    assert decoded(known, (b"!r", b"DE")).merge_pending is False
    pending = decoded(known, (b"!m", b"p"))
    assert (pending.merge_pending, pending.merged_into) == (True, None)
    merged = decoded(known, (b"!m", b">winner"))
    assert (merged.merge_pending, merged.merged_into) == (False, "winner")
    for garbled in (b"", b">", b"q"):
        with pytest.raises(UnknownField):
            decoded(known, (b"!m", garbled))


def consent(known: FieldRegistry, *times: bytes) -> tuple[bytes, bytes]:
    field = known.id_of("p:marketing") + b"." + known.id_of("c:*")
    return field, b",".join((b"g" + known.id_of("b:consent"), known.id_of("s:form"), *times))


def test_a_consent_may_have_an_end() -> None:
    known = registry()
    assert decoded(known, consent(known, b"5")).consent[0].expires_ms is None
    (entry,) = decoded(known, consent(known, b"5", b"9")).consent
    assert (entry.at_ms, entry.expires_ms, entry.source) == (5, 9, "form")
    assert len(consent(known, b"1" * 13, b"1" * 13)[1]) <= 64


@pytest.mark.parametrize("times", [(b"5", b""), (b"5", b"soon"), (b"", b"9"), (b"soon", b"9"), (b"5", b"9", b"9")])
def test_a_consent_whose_end_cannot_be_read_is_never_passed_over(times: tuple[bytes, ...]) -> None:
    known = registry()
    with pytest.raises(UnknownField):
        decoded(known, consent(known, *times))


AGING = dataclasses.replace(BUNDLE, handling={"recency": Handling(delete_s=30 * 86_400)})


def aged(known: FieldRegistry, *times: tuple[bytes, int]) -> Facts:
    fields = [(b"@" + name, b"%d" % at_ms) for name, at_ms in times]
    values = [(known.id_of("a:recency"), b"3"), (known.id_of("a:history"), b"1.5")]
    reply = [part for field in (*values, *fields) for part in field]
    return decode_profile(reply, known, AGING, NOW_MS, ())


def test_an_attribute_older_than_the_bundle_keeps_it_is_missing() -> None:
    known = registry()
    own, owner = known.id_of("a:recency"), known.id_of("o:crm")
    kept, gone = {"recency": 3, "history": 1.5, "newbie": 0}, {"history": 1.5, "newbie": 0}
    assert aged(known, (own, NOW_MS - 30 * DAY_MS + 1), (owner, 1)).values == kept
    assert aged(known, (own, NOW_MS - 30 * DAY_MS), (owner, NOW_MS)).values == gone
    assert aged(known, (owner, NOW_MS - DAY_MS)).values == kept  # set before the bundle said so
    assert aged(known, (owner, NOW_MS - 31 * DAY_MS)).values == gone
    assert aged(known).values == gone  # of no age that is known
    assert aged(known, (own, 1), (owner, 1)).as_of_ms == {"crm": 1}


def test_a_deleted_attribute_takes_the_bundles_default() -> None:
    known = registry()
    bundle = dataclasses.replace(BUNDLE, handling={"newbie": Handling(delete_s=60)})
    stored = [known.id_of("a:newbie"), b"1", b"@" + known.id_of("o:crm"), b"1"]
    assert decode_profile(stored, known, bundle, NOW_MS, ()).values == {"newbie": 0}


def test_people_see_by_name_what_a_profile_holds() -> None:
    known = registry()
    profile = describe_profile(
        {
            b"!u": b"1",
            b"!m": b"p",
            b"@" + known.id_of("o:crm"): b"5",
            b"@" + known.id_of("a:recency"): b"6",
            outcome_field("clicked", known.id_of(KIND)): b"7",
            exposure_field(known.id_of("x:holdout/h1")): b"holdout",
            **dict([consent(known, b"8", b"9")]),
        },
        known,
    )
    assert (profile.as_of_ms, profile.set_at_ms) == ({"crm": 5}, {"recency": 6})
    assert profile.merge_pending
    assert profile.exposures == {"holdout/h1": "holdout"}
    (outcome,) = profile.outcomes
    assert (outcome.type, outcome.kind and outcome.kind.message, outcome.at_ms) == ("clicked", "mens", 7)
    assert profile.consent[0].expires_ms == 9
