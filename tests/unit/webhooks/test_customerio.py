"""Customer.io: pairs, a server's code for hard and soft, and that no bad event holds up the others."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.core.webhooks.provider import Aside, Delivery, Said, Unreadable, Untrusted
from app.core.webhooks.providers.customerio import OUTCOMES, PROVIDER
from policy.codes import OutcomeType, SuppressionReason
from tests.support.webhooks.customerio import SAMPLE, signed
from tests.support.webhooks.payloads import PAYLOADS

NOW_S = 1_644_228_000.0
DAY_S = 86_400
SECRET = SAMPLE.trust.secrets[0]


def read(object_type: str = "email", metric: str = "sent", **data: Any) -> Said:
    item = {
        "event_id": "01E2EMRMM6TZ12TF9WGZN0WJQT",
        "object_type": object_type,
        "metric": metric,
        "timestamp": 1644227937,
        "data": {"delivery_id": "RAECAAFwnUSneIa0ZXkmq8EdkAM==", **data},
    }
    (found,) = PROVIDER.read(item)
    return found


def verify(signed_s: float, **changed: str) -> None:
    headers = {**signed(SAMPLE.body, SECRET, signed_s), **{k.replace("_", "-"): v for k, v in changed.items()}}
    PROVIDER.verify(Delivery(SAMPLE.body, headers, NOW_S), SAMPLE.trust)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("550 5.1.1 The email account that you tried to reach does not exist", OutcomeType.BOUNCED_HARD),
        ("550 Requested action not taken: mailbox unavailable", OutcomeType.BOUNCED_HARD),
        ("smtp; 5.1.10 recipient not found", OutcomeType.BOUNCED_HARD),
        ("550 5.4.1 Recipient address rejected: Access denied", OutcomeType.BOUNCED_HARD),
        ("552 5.2.2 mailbox full", OutcomeType.BOUNCED_SOFT),
        ("552 mailbox full", OutcomeType.BOUNCED_SOFT),
        ("550 5.7.1 blocked by policy", OutcomeType.BOUNCED_SOFT),
        ("421 4.7.0 try again later", OutcomeType.BOUNCED_SOFT),
        ("452 4.2.2 over quota", OutcomeType.BOUNCED_SOFT),
        ("the mail weighed 550.5 kB on 10.5.1.1", OutcomeType.BOUNCED_SOFT),
        ("no words", OutcomeType.BOUNCED_SOFT),
        (None, OutcomeType.BOUNCED_SOFT),
    ],
)
def test_a_bounce_is_hard_where_the_server_refuses_the_address(words: str | None, kind: OutcomeType) -> None:
    assert read(metric="bounced", failure_message=words).type is kind


def test_the_pair_decides_not_the_metric_alone() -> None:
    assert read("customer", "unsubscribed", email_address="jane@example.com").type is OutcomeType.UNSUBSCRIBED
    assert read("push", "unsubscribed").type is Aside.IGNORED
    assert read("sms", "bounced", recipient="withheld").type is Aside.IGNORED
    assert read("customer", "delivered").type is Aside.UNKNOWN


def test_someone_who_unsubscribes_unsubscribes_from_all() -> None:
    for object_type in ("email", "customer"):
        assert read(object_type, "unsubscribed").scope == "all"
    assert read("customer", "subscribed").scope == "all"


def test_a_drop_copies_the_suppression_that_it_names() -> None:
    assert read(metric="dropped", failure_message="Unsubscribed Address").suppressed is SuppressionReason.UNSUBSCRIBED
    assert read(metric="dropped", failure_message="Spam Reporting Address").suppressed is SuppressionReason.COMPLAINT
    assert read(metric="failed", failure_message="template broken").suppressed is None


def test_a_retry_of_last_week_is_taken_and_an_old_one_is_not() -> None:
    verify(NOW_S)
    verify(NOW_S - 7 * DAY_S)
    for signed_s in (NOW_S - 9 * DAY_S, NOW_S + 3600):
        with pytest.raises(Untrusted):
            verify(signed_s)


def test_the_time_is_part_of_what_is_signed() -> None:
    for changed in (str(int(NOW_S) - 1), "soon", "", "१६४४२२८०००"):
        with pytest.raises(Untrusted):
            verify(NOW_S, x_cio_timestamp=changed)


@pytest.mark.parametrize("document", [None, [], "email", 7, {}, {"object_type": "email"}, {"metric": "sent"}])
def test_a_signed_body_that_is_no_event_is_one_rejected_event(document: Any) -> None:
    (item,) = PROVIDER.items(Delivery(orjson.dumps(document), {}, NOW_S))
    with pytest.raises((LookupError, TypeError, ValueError, AttributeError)):
        PROVIDER.read(item)


def test_a_body_that_is_no_json_is_unreadable() -> None:
    with pytest.raises(Unreadable):
        PROVIDER.items(Delivery(b"no json", {}, NOW_S))


def test_every_pair_of_the_table_is_in_a_payload() -> None:
    told = {
        (said["object_type"], said["metric"])
        for said in (orjson.loads(each.read_bytes()) for each in (PAYLOADS / "customerio").glob("*.json"))
    }
    assert set(OUTCOMES) | {("email", "bounced")} <= told
