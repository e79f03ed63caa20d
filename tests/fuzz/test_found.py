"""What fuzzing found, each as what happens instead."""

from __future__ import annotations

import gzip
import zlib
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from app.core.decision.commit import Twin, Unknown, Unreadable
from app.core.decision.record import bundle_digest_of
from app.core.webhooks.hearing import hear
from app.core.webhooks.provider import Said
from app.errors import Problem
from app.http.unsubscribe_form import Posted, posted
from app.importing.rows import open_rows
from app.importing.trouble import Trouble
from policy.codes import OutcomeType
from policy.source import DEPTH_MAX, YamlMistake, read
from tests.fuzz import kept
from tests.fuzz.mutate import changed
from tests.fuzz.targets import NAMES, outcomes, store, target_of


@pytest.mark.parametrize("opening", ["- ", "[", "{a: ", "? "])
def test_a_file_nested_deeper_than_the_parser_can_bear_is_a_mistake(opening: str) -> None:
    """libyaml's composer recurses in C: 65,000 levels ended the process."""
    with pytest.raises(YamlMistake) as mistake:
        read(opening * 65_000)
    assert str(DEPTH_MAX) in mistake.value.message


def test_a_few_lines_of_aliases_do_not_stand_for_billions_of_values() -> None:
    doubled = [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)]
    with pytest.raises(YamlMistake, match=r"values, with its aliases written out"):
        read("\n".join(["a0: &a0 [x, x]", *doubled]))


def test_aliases_chained_deep_are_a_mistake_and_ordinary_ones_are_not() -> None:
    chained = [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, DEPTH_MAX + 10)]
    with pytest.raises(YamlMistake, match="deep, with its aliases written out"):
        read("\n".join(["a0: &a0 [x]", *chained]))
    assert read("a: &a [1, {b: 2}]\nb: *a\nc: *a\n").data() == {name: [1, {"b": 2}] for name in "abc"}


@pytest.mark.parametrize(
    "value", ["!!int x", "!!int ''", "!!float .inf", "!!bool yes", "!!null x", "9" * 5_000, "9" * 20]
)
def test_a_value_that_is_not_what_its_tag_says_is_a_mistake_where_it_stands(value: str) -> None:
    with pytest.raises(YamlMistake, match="this is not") as mistake:
        read(f"a: 1\nb: {value}\n")
    assert mistake.value.line == 2


@pytest.mark.parametrize("name", ["damaged.csv.gz", "damaged.ndjson.gz"])
def test_a_packed_file_that_is_damaged_inside_is_said_to_be_broken(tmp_path: Path, name: str) -> None:
    packed = bytearray(gzip.compress(b"customer,region\n" + b"".join(b"cus_%d,DE\n" % n for n in range(20_000))))
    packed[20_000:20_040] = b"\xff" * 40
    (tmp_path / name).write_bytes(packed)
    with pytest.raises(Trouble, match="is broken"), closing(open_rows(tmp_path / name)) as rows:
        list(rows.after(0))


def test_a_record_that_cannot_be_inflated_is_set_aside_like_any_broken_one() -> None:
    """`zlib.error` is no ValueError: the archiver would have stopped at it for ever."""
    whole = b"\x00" + zlib.compress(b"x" * 100)
    with pytest.raises(ValueError, match="cannot be inflated"):
        bundle_digest_of(whole[:-4])


def test_a_form_whose_headers_the_library_cannot_take_apart_says_nothing() -> None:
    assert (
        posted("multipart/form-data; boundary=b; name*", b"--b\r\nContent-Type: a/b; name*\r\n\r\nx\r\n--b--")
        == Posted()
    )


def test_half_a_character_in_the_id_of_a_providers_event_is_taken_and_its_repeat_known() -> None:
    """Nothing could write it down, so the whole delivery was answered 500, and sent again for hours."""
    said = Said(OutcomeType.OPENED, "open", 1, recipient="reader@example.com", event_id="e\ud800")
    first, repeat = (hear("sendgrid", said, False, lambda _: "other").outcome.fingerprint() for _ in range(2))
    assert first == repeat
    other = hear("sendgrid", said.__class__(OutcomeType.OPENED, "open", 1, "reader@example.com", "e"), False, str)
    assert other.outcome.fingerprint() != first


@pytest.mark.parametrize("garbled", [b"1795/1440", b"", b"9" * 5_000])
def test_what_was_answered_to_somebody_whose_erasure_cannot_be_read_is_repeated_to_nobody(garbled: bytes) -> None:
    time = store.resp([b"1796083200", b"0"])
    kept = bytes.fromhex(store.BASE) + store.KEY.body_hash + b"=answer"
    replies = time + store.resp([b"!e", garbled + b",er_1"]) + store.resp([]) + store.resp(kept)
    answer = store.answered(replies, len(replies), lambda it, deadline: it.read("cus_1", store.KEY, deadline))
    assert not isinstance(answer, Twin)


@pytest.mark.parametrize("reply", [b":1\r\n", b"$-1\r\n", b"*0\r\n", b"*1\r\n$5\r\nmoved\r\n", b"*1\r\n$1\r\nx\r\n"])
def test_a_commit_that_is_answered_with_nonsense_may_have_happened_and_is_taken_back(reply: bytes) -> None:
    answer = store.answered(reply, len(reply), lambda it, deadline: it.commit(store.intent(), deadline))
    assert isinstance(answer, Unknown)


def test_a_reply_that_the_library_cannot_build_ends_the_connection() -> None:
    """A map of RESP 3 whose key is a list; the library raised it into the event loop."""
    answer = store.answered(b"%1\r\n*0\r\n:1\r\n", 99, lambda it, deadline: it.read("cus_1", None, deadline))
    assert answer == Unreadable("StoreDown", False)


def test_a_name_that_is_a_list_is_nobody_s_contact_and_no_crash() -> None:
    raw = (kept.FOLDER / "outcomes" / "found-list-where-a-name-is-kept").read_bytes()
    with pytest.raises(Problem) as refused:
        outcomes.answered(raw)
    assert refused.value.code == "store_unavailable"


def test_a_word_that_no_script_says_acknowledges_no_outcome() -> None:
    assert outcomes.acknowledged(b"*3\r\n$2\r\nok\r\n:1\r\n$0\r\n\r\n")[0].status == b"ok"
    with pytest.raises(Problem) as refused:
        outcomes.acknowledged(b"*1\r\n$5\r\nmaybe\r\n")
    assert refused.value.code == "store_unavailable"


def test_changes_are_the_same_for_the_same_seed_and_reach_further_than_their_input() -> None:
    target = target_of("headers")
    made = [
        [changed(target.seeds[0], target.seeds, target.words, Random(seed)) for seed in range(50)] for _ in range(2)
    ]
    assert made[0] == made[1]
    assert len(set(made[0])) > 40


def test_every_target_has_seeds_and_words() -> None:
    for name in NAMES:
        target = target_of(name)
        assert target.seeds, name
        assert target.words, name
