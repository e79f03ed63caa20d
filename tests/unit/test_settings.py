"""Settings come from the environment, are checked as they are read, and reach worker processes unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Durability, Settings


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"NEXTBEST_{name.upper()}", raising=False)


def test_a_server_without_settings_serves_the_packaged_demo_on_loopback() -> None:
    settings = Settings()
    assert settings.listens_on_loopback()
    assert (settings.bundle / "bundle.yaml").is_file()
    assert settings.redis_url is None


def test_the_environment_is_read_and_an_argument_wins_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTBEST_PORT", "9000")
    monkeypatch.setenv("NEXTBEST_DURABILITY", "strict")
    assert (Settings().port, Settings().durability) == (9000, Durability.STRICT)
    assert Settings(port=9001).port == 9001


def test_an_empty_variable_is_an_absent_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTBEST_REDIS_URL", "")
    assert Settings().redis_url is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("workers", "0"), ("port", "70000"), ("durability", "always"), ("trace_ratio", "5"), ("hash_key", "short")],
)
def test_a_setting_out_of_range_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"NEXTBEST_{name.upper()}", value)
    with pytest.raises(ValidationError, match=name):
        Settings()


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.7", False),
        ("box.example.com", False),
    ],
)
def test_only_loopback_addresses_count_as_loopback(host: str, loopback: bool) -> None:
    assert Settings(host=host).listens_on_loopback() is loopback


def test_a_worker_reads_the_same_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(
        port=9001, data=Path("/srv/data"), redis_url="redis://u:pw@store.example.com", record_explanation=False
    )
    for name, value in settings.as_environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


def test_secrets_do_not_show_when_settings_are_printed() -> None:
    shown = repr(Settings(redis_url="redis://u:pw-in-url@store.example.com", hash_key="k" * 32))
    assert "pw-in-url" not in shown
    assert "k" * 32 not in shown


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
