"""Standard Webhooks: what the specification says, with the vendors' own packages as the other side."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook
from svix.webhooks import Webhook as SvixWebhook

from app.core.webhooks.provider import Delivery, Untrusted
from app.core.webhooks.standard import TOLERANCE_S, check_standard, message_id
from tests.support.webhooks.standard import standard

SECRET, OTHER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAAAAAAAKYqrTwjUPD8ILPZIo2LaLaSw"
NOW_S = 1_767_604_320.0
BODY = b'{"type": "ping"}'


def delivery(body: bytes, headers: dict[str, str], now_s: float = NOW_S) -> Delivery:
    return Delivery(body, headers, now_s)


@given(body=st.text(max_size=200), key=st.binary(min_size=24, max_size=64))
def test_what_the_reference_package_signs_is_taken(body: str, key: bytes) -> None:
    theirs = Webhook(key)
    moment = datetime.fromtimestamp(NOW_S, UTC)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(NOW_S)),
        "webhook-signature": theirs.sign("msg_1", moment, body),
    }
    from base64 import b64encode

    check_standard(delivery(body.encode(), headers), ["whsec_" + b64encode(key).decode()])


def test_what_svix_signs_is_taken_under_its_names() -> None:
    signature = SvixWebhook(SECRET).sign("msg_1", datetime.fromtimestamp(NOW_S, UTC), BODY.decode())
    headers = {"svix-id": "msg_1", "svix-timestamp": str(int(NOW_S)), "svix-signature": signature}
    check_standard(delivery(BODY, headers), [SECRET])
    assert message_id(delivery(BODY, headers)) == "msg_1"


def test_the_reference_package_takes_what_our_recipe_signs() -> None:
    now_s = time.time()
    Webhook(SECRET).verify(BODY, standard(BODY, SECRET, now_s))
    SvixWebhook(SECRET).verify(BODY, standard(BODY, SECRET, now_s, "svix-"))


def test_one_of_several_signatures_is_enough_and_unknown_versions_are_passed_over() -> None:
    headers = standard(BODY, SECRET, NOW_S)
    wrong = standard(BODY, OTHER, NOW_S)["webhook-signature"]
    headers["webhook-signature"] = f"v1a,abc {wrong} v9,zzz {headers['webhook-signature']} nonsense"
    check_standard(delivery(BODY, headers), [SECRET])


def test_a_signature_of_an_unknown_version_alone_proves_nothing() -> None:
    headers = standard(BODY, SECRET, NOW_S)
    headers["webhook-signature"] = headers["webhook-signature"].replace("v1,", "v2,")
    with pytest.raises(Untrusted, match="not made with"):
        check_standard(delivery(BODY, headers), [SECRET])


@pytest.mark.parametrize("off_s", [TOLERANCE_S, -TOLERANCE_S])
def test_five_minutes_either_way_are_tolerated_and_not_a_second_more(off_s: int) -> None:
    headers = standard(BODY, SECRET, NOW_S)
    check_standard(delivery(BODY, headers, NOW_S + off_s), [SECRET])
    with pytest.raises(Untrusted):
        check_standard(delivery(BODY, headers, NOW_S + off_s + (1 if off_s > 0 else -1)), [SECRET])


@pytest.mark.parametrize("header", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_every_header_is_needed(header: str) -> None:
    headers = standard(BODY, SECRET, NOW_S)
    del headers[header]
    with pytest.raises(Untrusted, match=header):
        check_standard(delivery(BODY, headers), [SECRET])


def test_an_id_with_a_dot_could_shift_what_is_signed_and_is_refused() -> None:
    headers = standard(BODY, SECRET, NOW_S, message_id="msg.1")
    with pytest.raises(Untrusted, match="dot"):
        check_standard(delivery(BODY, headers), [SECRET])


@pytest.mark.parametrize("timestamp", ["", "now", "1e9", "-5", "1767604320.5", "９９", "9" * 13])
def test_a_time_is_digits_and_nothing_else(timestamp: str) -> None:
    with pytest.raises(Untrusted):
        check_standard(delivery(BODY, standard(BODY, SECRET, NOW_S) | {"webhook-timestamp": timestamp}), [SECRET])


def test_a_secret_that_is_none_proves_nothing() -> None:
    with pytest.raises(Untrusted, match="whsec_"):
        check_standard(delivery(BODY, standard(BODY, SECRET, NOW_S)), ["not base64!"])
