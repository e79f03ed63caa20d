"""A records file: whole or nothing, for its owner alone, and the same records back in the same order."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from app import records_file
from app.records_file import RecordsFileError, RecordsWriter, contents, records_of
from policy.compile import digest_of

BASE = bytes(range(13))
FIRST, SECOND = digest_of(b"{}"), digest_of(b"{ }")


def written(path: Path, records: int = 5) -> list[bytes]:
    raws = [b"record %d" % number for number in range(records)]
    with RecordsWriter(path) as writer:
        writer.bundle(FIRST, b"{}")
        for number, raw in enumerate(raws):
            if number == 3:
                writer.bundle(SECOND, b"{ }")
                writer.aborted(BASE)
            writer.record(raw)
    return raws


def read(path: Path, limit: int | None = None) -> list[bytes]:
    return [raw for chunk in contents(path, limit).chunks for raw in records_of(path, chunk)]


def test_what_was_written_is_read_back_in_its_order(tmp_path: Path) -> None:
    raws = written(tmp_path / "file")
    found = contents(tmp_path / "file")
    assert found.bundles == {FIRST: b"{}", SECOND: b"{ }"}
    assert found.aborted == {BASE.hex()}
    assert found.records == 5
    assert read(tmp_path / "file") == raws


@pytest.mark.parametrize("chunk", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("limit", [None, 1, 2, 4, 5, 9])
def test_chunks_hold_every_record_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, limit: int | None
) -> None:
    monkeypatch.setattr(records_file, "CHUNK", chunk)
    raws = written(tmp_path / "file")
    assert read(tmp_path / "file", limit) == raws[:limit]
    assert all(each.records <= chunk for each in contents(tmp_path / "file", limit).chunks)


def test_a_file_that_was_cut_anywhere_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "file")
    whole = (tmp_path / "file").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(RecordsFileError):
            contents(tmp_path / "cut")


def test_only_its_owner_may_read_it_since_it_holds_what_was_known_of_customers(tmp_path: Path) -> None:
    written(tmp_path / "file")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


def test_a_copy_that_breaks_off_leaves_what_was_there(tmp_path: Path) -> None:
    raws = written(tmp_path / "file")

    def broken() -> None:
        with RecordsWriter(tmp_path / "file") as writer:
            writer.record(b"another")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    assert read(tmp_path / "file") == raws
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_what_is_no_records_file_is_said_with_the_way_to_one(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("nothing of the kind")
    with pytest.raises(RecordsFileError, match="nextbest records"):
        contents(tmp_path / "notes")
    with pytest.raises(RecordsFileError, match="cannot be read"):
        contents(tmp_path / "nowhere")


def test_a_bundle_in_it_that_is_not_what_its_digest_says_is_not_decided_by(tmp_path: Path) -> None:
    with RecordsWriter(tmp_path / "file") as writer:
        writer.bundle(FIRST, b"{ }")
        writer.record(b"record")
    with pytest.raises(RecordsFileError, match="damaged: copy the log again"):
        contents(tmp_path / "file")
