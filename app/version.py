"""The version of the product."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def product_version() -> str:
    """The version of the installed package; `dev` for a checkout that is not installed."""
    try:
        return version("nextbest")
    except PackageNotFoundError:
        return "dev"
