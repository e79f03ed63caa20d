"""What pytest does differently while a mutant is under test: the same examples every time, fewer of them, and the tests
first that are nearest to the mutant."""

from __future__ import annotations

import os

import pytest
from hypothesis import Phase, settings

#: Enough to find what a property test finds easily. Whoever found less would not be worth waiting for 3,000 times.
EXAMPLES_MAX = 20
#: Where a file of `policy/` has no test file of its own name.
NEAREST = {
    **dict.fromkeys(("compile", "catalogue", "durations"), "test_bundle"),
    **dict.fromkeys(("confirmation", "cooldowns", "exclusions", "fatigue"), "test_contact_cases"),
    **dict.fromkeys(("data_checks", "purpose_checks"), "test_lint_privacy"),
    **dict.fromkeys(("checks", "rule_checks", "limit_checks", "time_checks", "rule_types", "grammar"), "test_lint"),
    **dict.fromkeys(("findings", "reading", "source", "types", "wording"), "test_lint"),
    **dict.fromkeys(("audit", "lineage"), "test_lineage"),
    "quick": "test_quick_rules",
}

# The same mutants survive in every run; a failure is not made smaller, since nobody reads it.
settings.register_profile(
    "mutation", derandomize=True, database=None, deadline=None, phases=(Phase.explicit, Phase.generate)
)
settings.load_profile("mutation")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    module = os.environ.get("MUTANT_UNDER_TEST", "").partition(".x")[0].rpartition(".")[2]
    near = NEAREST.get(module, f"test_{module}")
    for item in items:
        if _is_property(item):
            own = item.obj._hypothesis_internal_use_settings  # type: ignore[attr-defined]
            few = settings(own, max_examples=min(own.max_examples, EXAMPLES_MAX))
            item.obj._hypothesis_internal_use_settings = few  # type: ignore[attr-defined]
    items.sort(key=lambda item: (_is_property(item), near not in item.nodeid))


def _is_property(item: pytest.Item) -> bool:
    return hasattr(getattr(item, "obj", None), "_hypothesis_internal_use_settings")
