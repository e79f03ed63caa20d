"""What a provider said, and what is heard of it: nothing that names a person goes further."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.heard import Heard, message_hash
from app.core.webhooks.decision_ids import ridden
from app.core.webhooks.hearing import hear
from app.core.webhooks.machines import is_machine
from app.core.webhooks.masking import kept_reason, masked, shown_url
from app.core.webhooks.provider import Said, Unfit
from app.core.webhooks.times import from_iso, from_unix_ms, from_unix_s
from policy.codes import OutcomeType, SuppressionReason
from policy.facts import Suppression

DECISION = "dec_0110197a1c2b3c4d5e6f70819200"
JANE = sha256(b"jane@example.com").hexdigest()


def heard(kind: OutcomeType = OutcomeType.DELIVERED, provider: str = "postmark", **more: Any) -> Heard:
    return hear(provider, Said(kind, "Delivery", **{"recipient": "jane@example.com"} | more), False, lambda _: "other")


@pytest.mark.parametrize("written", ["jane@example.com", " Jane@Example.COM ", "Jane Doe <jane@example.com>"])
def test_an_address_is_hashed_whole_stripped_and_in_lower_case(written: str) -> None:
    assert heard(recipient=written).recipient == JANE


@pytest.mark.parametrize("written", ["", "nobody", "undisclosed-recipients:;", None])
def test_what_is_no_address_is_nobody(written: str | None) -> None:
    assert heard(recipient=written, message_id="m1").recipient is None


def test_something_must_say_whose_mail_it_was() -> None:
    with pytest.raises(Unfit, match="no recipient, no message and no decision"):
        heard(recipient=None)


def test_only_an_id_of_our_form_is_a_decision() -> None:
    assert str(heard(decision_id=DECISION).decision) == DECISION
    assert heard(decision_id="order-17").decision is None


def test_a_message_is_known_by_its_id_with_or_without_brackets() -> None:
    assert heard(message_id="<m1@mx>").message == heard(message_id="m1@mx").message == message_hash("postmark", "m1@mx")


def test_an_event_without_id_is_known_by_what_it_says() -> None:
    first = heard(message_id="m1", at_ms=5).outcome
    assert first == heard(message_id="m1", at_ms=5).outcome
    others = [
        heard(message_id="m1", at_ms=6),
        heard(message_id="m2", at_ms=5),
        heard(message_id="m1", at_ms=5, url="u"),
    ]
    assert len({first.event_id, *(each.outcome.event_id for each in others)}) == 4


def test_an_id_that_several_recipients_share_is_told_apart_by_recipient() -> None:
    ids = {
        hear(
            "ses", Said(OutcomeType.COMPLAINED, "c", recipient=each, event_id="e1"), True, lambda _: ""
        ).outcome.event_id
        for each in ("a@example.com", "b@example.com")
    }
    assert len(ids) == 2


@pytest.mark.parametrize(
    ("provider", "scope", "means"),
    [
        ("sendgrid", None, None),
        ("sendgrid", "all", None),
        ("sendgrid", "14", "email/sendgrid-14"),
        ("postmark", "Broadcasts", "email/postmark-broadcasts"),
        ("generic", "sms", "sms"),
        ("generic", "*", "*"),
    ],
)
def test_a_group_of_a_provider_is_a_scope_within_the_channel(provider: str, scope: str, means: str | None) -> None:
    assert heard(OutcomeType.UNSUBSCRIBED, provider, scope=scope).outcome.scope == means


def test_a_group_with_a_strange_name_is_told_apart_all_the_same() -> None:
    scopes = {heard(OutcomeType.UNSUBSCRIBED, scope=f"Frühling {n}").outcome.scope for n in range(3)}
    assert len(scopes) == 3
    assert all(scope is not None and scope.isascii() and ":" not in scope for scope in scopes)


def test_a_stop_of_a_group_stops_its_channel_and_no_other() -> None:
    stop = Suppression("email/sendgrid-14", SuppressionReason.UNSUBSCRIBED, 0)
    assert (stop.covers("email"), stop.covers("sms"), stop.covers("emailing")) == (True, False, False)
    assert Suppression("*", SuppressionReason.COMPLAINT, 0).covers("sms")


@pytest.mark.parametrize(
    ("agent", "machine"),
    [
        ("Mozilla/5.0", True),
        ("Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)", True),
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537.36", False),
        (None, False),
    ],
)
def test_machines_are_known_by_what_they_call_themselves(agent: str | None, machine: bool) -> None:
    assert is_machine(agent) == machine
    assert heard(OutcomeType.OPENED, user_agent=agent).outcome.machine == machine
    assert not heard(OutcomeType.DELIVERED, user_agent=agent, machine=True).outcome.machine


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("550 5.1.1 <jane@example.com>: user unknown", "550 5.1.1 <…>: user unknown"),
        ("blocked [192.0.2.17]\r\n try later", "blocked […] try later"),
        ("refused 2001:db8:85a3:0:0:8a2e:370:7334", "refused …"),
        ("call +49 30 1234567", None),
        ("", None),
        (None, None),
    ],
)
def test_a_reason_stays_readable_without_whom_it_names(words: str | None, kept: str | None) -> None:
    assert kept_reason(words) == kept


@given(
    before=st.text(max_size=30),
    after=st.text(max_size=30),
    name=st.from_regex(r"[a-z]{1,8}\.?[a-z]{0,8}", fullmatch=True),
)
def test_no_address_is_left_in_a_reason(before: str, after: str, name: str) -> None:
    kept = kept_reason(f"{before} {name}@example.com {after}")
    assert kept is None or "@example.com" not in kept


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://shop.example.com/sale?id=7", "https://shop.example.com/sale?id=7"),
        ("https://shop.example.com/?email=jane%40example.com&x=1", "https://shop.example.com/"),
        ("https://shop.example.com/u/jane@example.com", None),
        ("https://shop.example.com/?e=jane%2540example.com", "https://shop.example.com/"),
        (None, None),
    ],
)
def test_a_link_is_shown_as_far_as_it_names_nobody(url: str | None, shown: str | None) -> None:
    assert shown_url(url) == shown


def test_what_is_kept_of_an_unknown_item_has_its_shape_and_names_nobody() -> None:
    item = {
        "event": "brand_new", "email": "jane@example.com", "first_name": "Jane", "n": 5, "ok": True, "note": "Jane Doe",
        "deep": {"a": {"b": {"c": {"d": {"e": {"f": 1}}}}}}, "many": list(range(100)), "none": None, "big": 2**70,
        "jane@example.com": 1, "metadata": {"decision_id": DECISION},
    }  # fmt: skip
    kept = masked(item)
    text = repr(kept).lower()
    assert "jane" not in text
    assert (kept["event"], kept["n"], kept["ok"], kept["none"]) == ("brand_new", 5, True, None)
    assert kept["metadata"] == {"decision_id": DECISION}
    assert len(kept["many"]) == 40


@pytest.mark.parametrize(
    "place",
    [
        {"decision_id": DECISION},
        {"decision_id": [DECISION]},
        [{"name": "decision_id", "value": DECISION}],
        ["vip", f"did:{DECISION}"],
        f"did:{DECISION}",
        DECISION,
        f'{{"decision_id": "{DECISION}"}}',
        f"https://shop.example.com/?utm=1&did={DECISION}",
    ],
)
def test_our_id_is_found_wherever_a_provider_hands_it_back(place: Any) -> None:
    assert ridden({"decision_id": "an order of yours"}, None, "", 7, place) == DECISION


@given(
    st.recursive(
        st.none() | st.text() | st.integers() | st.floats(),
        lambda each: st.lists(each) | st.dictionaries(st.text(), each),
    )
)
def test_what_rides_there_otherwise_is_nobodys(place: Any) -> None:
    assert ridden(place) is None
    masked(place)


def test_times_are_read_as_providers_write_them() -> None:
    assert from_unix_s("1767604320") == from_unix_s(1767604320.0) == from_unix_ms(1767604320000) == 1767604320000
    written = (
        "2026-01-05T09:12:00Z",
        "2026-01-05 09:12:00",
        "2026-01-05 10:12:00 +01:00",
        "2026-01-05T09:12:00.0000001Z",
    )
    assert {from_iso(each) for each in written} == {1767604320000}


@pytest.mark.parametrize("said", [True, None, [], "x", "nan", float("nan"), float("inf"), -1, 1e18])
def test_what_is_no_time_is_refused(said: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        from_unix_s(said)
    with pytest.raises((ValueError, TypeError)):
        from_iso(said)
