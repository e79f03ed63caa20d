"""What of a stream is about somebody, what a tombstone says, and in which order an erasure goes on."""

from __future__ import annotations

import pytest

from app.core.erasure import FOR_EVER, Erased, Job, Step, Taken, names_one_of
from app.core.events.event import Collected

GONE = {"cus_gone", "cus_was_gone"}


def told(customer: str, kind: str = "viewed", previous: str = "", **properties: str) -> Collected:
    return Collected(customer, kind, 1, 1, 2, b"12345678", b"", properties, previous_customer=previous)


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        (told("cus_gone"), "cus_gone"),
        (told("cus_was_gone", "$take_in"), "cus_was_gone"),
        (told("cus_a", previous="cus_gone"), "cus_gone"),
        (told("cus_a", "$carry", to="cus_gone"), "cus_gone"),
        (told("cus_a", "viewed", to="cus_gone"), None),  # a property of that name says nothing of a customer
        (told("cus_a"), None),
        (told("cus_gone2"), None),
    ],
)
def test_an_entry_is_about_whoever_it_names_as_a_customer(entry: Collected, named: str | None) -> None:
    assert names_one_of(entry, GONE) == named


def test_events_are_nobody_s_for_ever_or_until_the_erasure_that_a_consent_ended() -> None:
    assert Erased(5, "ers_1").until_ms == FOR_EVER
    assert Erased(5, None).until_ms == 5


def test_steps_are_taken_in_their_order_and_the_file_that_holds_all_comes_last() -> None:
    job = Job("ers_1", ("hash",), 1, "desk", ("cus_gone",), 2)
    order = []
    while (step := job.next_step) is not None:
        order.append(step)
        job = Job(*(getattr(job, name) for name in ("erasure", "hashes", "requested_ms", "who", "names", "erased_ms")),
                  steps=(*job.steps, Taken(step, 0, 3)))  # fmt: skip
    assert order == list(Step)
    assert order[-1] is Step.APPEND_ONLY_FILE
    assert order.index(Step.EVENTS) < order.index(Step.ARCHIVE)
