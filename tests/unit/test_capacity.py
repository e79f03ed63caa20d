"""The capacity model: arithmetic that can be followed by hand, and a table in the docs that is what it says now."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer import BadParameter, Typer
from typer.testing import CliRunner

from app.settings import Settings
from app.store.decisions import DECISION_TTL_S, IDEMPOTENCY_TTL_S
from loadtests.capacity import measured
from loadtests.capacity.__main__ import count, main
from loadtests.capacity.model import DAY_S, SENT_DAYS, Wanted, needed, shards_for
from loadtests.capacity.table import PAGE, published

QUIET = Wanted(1_000_000, 1_000, keyed=0, events_a_day=0, sends_a_day=0, log_minutes=0)


def test_the_table_of_the_docs_is_what_the_model_says_now() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert published(page) == page, "python -m loadtests.capacity --publish"


def test_a_thousand_decisions_a_second_take_a_node_and_one_to_spare_and_a_tenth_of_a_store() -> None:
    found = needed(QUIET)
    assert found.nodes == 2
    assert found.primaries == 1
    assert found.store_cores == pytest.approx(1_000 * measured.STORE_US.value / 1e6)
    assert found.decision_log_bytes_s == 1_000 * measured.RECORD_BYTES.value
    assert found.first_limit == "nothing"


def test_nodes_grow_with_decisions_and_memory_with_customers() -> None:
    more, larger = needed(replace(QUIET, decisions_s=100_000)), needed(replace(QUIET, customers=100_000_000))
    assert more.nodes - 1 == -(-100_000 // int(measured.SERVER_PEAK.value * 0.6))
    assert more.memory["customers"] == needed(QUIET).memory["customers"]
    assert (more.first_limit, larger.first_limit) == ("store CPU", "store memory: customers")
    assert larger.memory["customers"] == 100 * needed(QUIET).memory["customers"]
    assert larger.nodes == needed(QUIET).nodes


def test_sends_are_counted_for_as_long_as_the_store_keeps_them_and_are_no_more_than_decisions() -> None:
    assert SENT_DAYS * DAY_S == DECISION_TTL_S
    assert IDEMPOTENCY_TTL_S == DAY_S  # the model holds one day of them
    some = needed(replace(QUIET, sends_a_day=1.0)).memory["sends of 35 days"]
    assert some == 1_000_000 * 35 * measured.SENT_BYTES.value
    few = needed(replace(QUIET, decisions_s=1, sends_a_day=1.0)).memory["sends of 35 days"]
    assert few == 0.25 * DAY_S * 35 * measured.SENT_BYTES.value


def test_what_an_esp_told_of_a_send_is_kept_as_long_and_its_streams_hold_no_more_than_their_setting() -> None:
    sending = replace(QUIET, sends_a_day=1.0, outcomes=2.0)
    kept = measured.MAIL_BYTES.value + measured.KNOWN_BYTES.value + 2 * measured.KNOWN_OUTCOME_BYTES.value
    assert needed(sending).memory["what became of sends of 35 days"] == 1_000_000 * 35 * kept
    assert needed(sending).memory["outcome streams"] == Settings().outcome_stream_bytes
    untold = needed(replace(sending, outcomes=0)).memory
    assert (untold["what became of sends of 35 days"], untold["outcome streams"]) == (0, 0)


@given(customers=st.integers(1, 10**9), decisions=st.integers(1, 10**6), factor=st.floats(1, 10), keyed=st.floats(0, 1))
def test_more_never_needs_less(customers: int, decisions: int, factor: float, keyed: float) -> None:
    one = Wanted(customers, decisions, keyed=keyed)
    for other in (replace(one, customers=round(customers * factor)), replace(one, decisions_s=decisions * factor)):
        less, more = needed(one), needed(other)
        assert more.nodes >= less.nodes >= 2
        assert more.primaries >= less.primaries >= 1
        assert more.primaries != 2  # two cannot outvote one
        assert more.memory_bytes >= less.memory_bytes
        assert more.shards >= less.shards >= 256
        assert more.archive_bytes_day >= less.archive_bytes_day


def test_shards_are_a_power_of_two_with_enough_for_each_primary() -> None:
    assert [shards_for(n) for n in (1, 16, 17, 36, 10_000)] == [256, 256, 512, 1024, 16_384]


def test_counts_are_written_as_people_write_them() -> None:
    assert [count(text) for text in ("10M", "250k", "1000", "1.5m")] == [10_000_000, 250_000, 1_000, 1_500_000]
    for text in ("", "many", "0", "-3"):
        with pytest.raises(BadParameter):
            count(text)


@pytest.mark.parametrize("option", ["--busy=1.1", "--keyed=-0.1", "--keyed=2", "--events=-1", "--log-minutes=-1"])
def test_a_share_is_at_most_all_of_it_and_nothing_is_less_than_none(option: str) -> None:
    command = Typer()
    command.command()(main)
    assert CliRunner().invoke(command, [option]).exit_code == 2


def test_every_constant_says_where_it_was_measured() -> None:
    for name, each in vars(measured).items():
        if isinstance(each, measured.Measured):
            assert each.value > 0, name
            assert each.where.startswith(("docs/", "loadtests.")), name
