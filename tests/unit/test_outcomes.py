"""What outcomes mean, before anything is written."""

from __future__ import annotations

import dataclasses

import pytest

from app.core.decision.record import decode
from app.core.outcomes import (
    MEANINGS,
    Outcome,
    Sending,
    consequences,
    kept_for_ms,
    kept_for_pauses,
    sending_of,
)
from policy.codes import Action, OutcomeType, SuppressionReason
from policy.facts import ContactKind
from tests.support.deciding import decide, facts_of
from tests.support.outcomes import bundle

KIND = ContactKind("once", "email", "marketing", "only", "red", "spring")
SENT = Sending("cus_1", KIND, "only@4.a")


def test_every_type_of_outcome_has_its_meaning() -> None:
    assert set(MEANINGS) == set(OutcomeType)


def test_no_outcome_both_sets_and_lifts_a_suppression() -> None:
    assert not [each for each in MEANINGS.values() if each.stop and each.lift]


def test_only_an_unsubscription_can_be_lifted_by_an_outcome() -> None:
    assert {each.lift for each in MEANINGS.values()} == {None, SuppressionReason.UNSUBSCRIBED}


@pytest.mark.parametrize(
    ("what", "scope", "expected"),
    [
        (OutcomeType.BOUNCED_HARD, None, ("email", SuppressionReason.HARD_BOUNCE)),
        (OutcomeType.COMPLAINED, None, ("*", SuppressionReason.COMPLAINT)),
        (OutcomeType.UNSUBSCRIBED, None, ("email", SuppressionReason.UNSUBSCRIBED)),
        (OutcomeType.UNSUBSCRIBED, "*", ("*", SuppressionReason.UNSUBSCRIBED)),
        (OutcomeType.BOUNCED_SOFT, None, None),
    ],
)
def test_a_stop_is_of_the_message_s_channel_unless_it_says_otherwise(
    what: OutcomeType, scope: str | None, expected: tuple[str, SuppressionReason] | None
) -> None:
    assert consequences(Outcome(what, scope=scope), SENT, ()).stop == expected


def test_a_stop_of_a_channel_that_nobody_knows_any_more_is_one_of_all() -> None:
    unknown = SENT._replace(kind=None)
    for what in (OutcomeType.BOUNCED_HARD, OutcomeType.UNSUBSCRIBED):
        stop = consequences(Outcome(what), unknown, ()).stop
        assert stop is not None
        assert stop[0] == "*"


def test_purchases_complaints_and_unsubscriptions_are_kept_always_and_others_while_a_pause_asks_for_them() -> None:
    asked = kept_for_pauses(bundle())
    assert asked == {OutcomeType.CLICKED, OutcomeType.CONVERTED}
    kept = {each for each in OutcomeType if consequences(Outcome(each), SENT, asked).kept}
    assert kept == {OutcomeType.CLICKED, OutcomeType.CONVERTED, OutcomeType.COMPLAINED, OutcomeType.UNSUBSCRIBED}
    assert not consequences(Outcome(OutcomeType.CLICKED, machine=True), SENT, asked).kept


def test_a_refund_says_that_it_arrived_and_nothing_more() -> None:
    refund = consequences(Outcome(OutcomeType.CONVERTED, value=-12.5), SENT, ())
    assert (refund.standing, refund.engaged, refund.response, refund.kept) == ("reached", False, False, False)
    free = consequences(Outcome(OutcomeType.CONVERTED, value=0.0), SENT, ())
    assert (free.engaged, free.response, free.kept) == (True, True, True)


def test_what_is_kept_lasts_as_long_as_the_longest_pause() -> None:
    served = bundle()
    assert kept_for_ms(served) == served.ledger_retention_s * 1000
    patient = dataclasses.replace(served.cooldowns[0], for_s=served.ledger_retention_s * 2)
    assert kept_for_ms(dataclasses.replace(served, cooldowns=(patient,))) == served.ledger_retention_s * 2000


def test_what_was_taken_back_teaches_nothing_of_its_variant() -> None:
    assert consequences(Outcome(OutcomeType.CLICKED), SENT, ()).variant == "only@4.a"
    assert consequences(Outcome(OutcomeType.CLICKED), SENT._replace(aborted=True), ()).variant is None


def test_a_repeat_is_known_by_the_sender_s_id_or_by_type_and_time() -> None:
    by_id = Outcome(OutcomeType.OPENED, 5, event_id="e")
    assert by_id.fingerprint() == by_id._replace(at_ms=6).fingerprint()
    assert len(by_id.fingerprint()) == 8
    by_time = by_id._replace(event_id=None)
    assert by_time.fingerprint() != by_time._replace(at_ms=6).fingerprint()
    assert by_time._replace(at_ms=None).fingerprint() == b"", "it happens now, and again"


def test_outcomes_that_differ_are_never_taken_for_repeats() -> None:
    known = Outcome(OutcomeType.UNSUBSCRIBED, 5, event_id="5")
    others = [
        known,
        known._replace(event_id=None),
        known._replace(type=OutcomeType.COMPLAINED),
        known._replace(scope="*"),
        known._replace(scope="push"),
        known._replace(machine=True),
        known._replace(event_id="6"),
    ]
    assert len({each.fingerprint() for each in others}) == len(others)


def test_the_record_says_what_was_sent_and_whether_its_variants_are_compared() -> None:
    made = decide(bundle(), facts_of(), ["once", "open"])
    record = decode(made.record, bundle())
    sent, other = (sending_of(record, place, aborted=False) for place in (0, 1))
    assert sent is not None
    assert sent.kind is not None
    assert dataclasses.astuple(sent.kind) == dataclasses.astuple(KIND)
    assert (sent.customer, sent.variant, sent.aborted) == ("cus_1", "only@4.a", False)
    assert other is not None
    assert other.variant is None


def test_what_sent_nothing_has_no_sending() -> None:
    made = decide(bundle(), facts_of(consent=()), ["once"])
    assert made.first.action is Action.SUPPRESS
    assert sending_of(decode(made.record, bundle()), 0, aborted=False) is None
