"""Proofs that take long are marked `long`, and left out unless asked for: `pytest -m long`.

A conftest imports the hooks: `from tests.support.long import pytest_collection_modifyitems, pytest_configure`.
"""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: a proof that takes long (`pytest -m long`)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "long" in (config.option.markexpr or ""):
        return
    left = [item for item in items if item.get_closest_marker("long")]
    if left:
        items[:] = [item for item in items if not item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=left)
