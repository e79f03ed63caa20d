"""Where the archive is when nobody says so, and that `serve` runs an archiver where there is one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from app import serve
from app.archive import CannotArchive, run
from app.settings import Settings
from policy.compile import load
from tests.support.event_bundle import FOLDER

HERE = Path("/srv/shop")


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({}, "/srv/shop/archive"),
        ({"redis_url": "unix:///run/store.sock"}, "/srv/shop/archive"),
        ({"redis_url": "rediss://store.example.com:6379/0"}, None),  # each machine would hold a part
        ({"redis_url": "rediss://store.example.com:6379/0", "archive": "s3://bucket/events"}, "s3://bucket/events"),
        ({"archive": "off"}, None),
    ],
)
def test_the_archive_is_where_all_that_write_to_it_can_reach_it(given: dict[str, str], where: str | None) -> None:
    settings = Settings(data=HERE, **given)  # type: ignore[arg-type]  # as the environment gives them
    assert settings.archive_address() == where
    modules = [child._command[-1] for child in serve._children(settings)]
    assert ("app.archive" in modules) == (where is not None)


def test_without_an_archive_the_archiver_says_what_to_set() -> None:
    with pytest.raises(CannotArchive, match="NEXTBEST_ARCHIVE"):
        run(Settings(data=HERE, archive="off"))


def test_an_address_that_is_none_is_refused_without_repeating_it() -> None:
    with pytest.raises(CannotArchive, match="the archive's address cannot be used") as refused:
        run(Settings(data=HERE, archive="ftp://user:secret@example.com/x"))
    assert "secret" not in str(refused.value)


def test_how_long_events_are_archived_is_in_the_bundle_and_in_force(tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "bundle")
    assert load(folder).events_retention_s is None
    (folder / "data.yaml").write_text("retention: {events: 30d}\n")
    bundle = load(folder)
    assert bundle.events_retention_s == 30 * 86_400
    assert not [part for part in bundle.not_in_force if "retention" in part]
