"""What an operator is told who starts a worker that cannot work."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.settings import Settings
from app.worker import CannotWork, run


def test_without_a_store_it_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(CannotWork, match="NEXTBEST_REDIS_URL"):
        run(Settings(data=tmp_path / "nothing"))


def test_a_bundle_with_mistakes_is_told_with_its_mistakes(tmp_path: Path) -> None:
    with pytest.raises(CannotWork, match=r"bundle\.yaml"):
        run(Settings(bundle=tmp_path, data=tmp_path))


def test_an_address_that_cannot_be_understood_is_not_repeated() -> None:
    with pytest.raises(CannotWork, match="cannot be understood") as refused:
        run(Settings(), "nonsense://user:password@store.example.com")
    assert "password@" not in str(refused.value)
