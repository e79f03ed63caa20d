"""Proofs that take long are marked `long`, and left out unless asked for."""

from __future__ import annotations

from tests.support.long import pytest_collection_modifyitems, pytest_configure

__all__ = ["pytest_collection_modifyitems", "pytest_configure"]
