"""The keys file holds hashes, survives writers side by side, and refuses what it does not understand."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app import keys_file
from app.keys_file import KeysFileError


def test_a_key_is_returned_once_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    stored, key = keys_file.add(path, ["decide", "read"])
    assert key not in path.read_text()
    assert keys_file.read(path) == (stored,)
    assert stored.hash == keys_file.hash_of(key.encode())
    assert path.stat().st_mode & 0o077 == 0


def test_keys_added_side_by_side_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    with ThreadPoolExecutor(8) as pool:
        added = [stored.id for stored, _ in pool.map(lambda _: keys_file.add(path, ["decide"]), range(24))]
    assert sorted(key.id for key in keys_file.read(path)) == sorted(added)


def test_a_revoked_key_is_gone_and_the_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    first, second = (keys_file.add(path, ["decide"])[0] for _ in range(2))
    assert keys_file.revoke(path, first.id)
    assert not keys_file.revoke(path, first.id)
    assert keys_file.read(path) == (second,)


def test_a_replaced_file_keeps_the_mode_its_operator_chose(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    keys_file.add(path, ["decide"])
    path.chmod(0o640)
    keys_file.add(path, ["read"])
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("scopes", [[], ["everything"], ["approve:"], ["approve:Legal Team"], ["decide", "root"]])
def test_a_key_without_a_known_scope_is_refused(tmp_path: Path, scopes: list[str]) -> None:
    with pytest.raises(KeysFileError, match="scope"):
        keys_file.add(tmp_path / "keys.jsonl", scopes)


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "[]",
        '{"id": "key_1"}',
        '{"id": "key_1", "hash": "blake2b:abc", "scopes": ["decide"], "created": ""}',
        '{"id": "key_1", "hash": 7, "scopes": ["decide"], "created": ""}',
        '{"id": "key_1", "hash": "blake2b:%s", "scopes": ["root"], "created": ""}' % ("0" * 64),
    ],
)
def test_a_line_that_is_no_key_is_named_by_number_and_not_repeated(tmp_path: Path, line: str) -> None:
    path = tmp_path / "keys.jsonl"
    keys_file.add(path, ["decide"])
    with path.open("a") as file:
        file.write(f"\n{line}\n")
    with pytest.raises(KeysFileError, match="line 3") as refusal:
        keys_file.read(path)
    assert line not in str(refusal.value)


def test_a_file_that_is_not_there_holds_no_keys(tmp_path: Path) -> None:
    assert keys_file.read(tmp_path / "keys.jsonl") == ()
