"""The bundle that is served under chaos: everything that policy can say (`tests.support.everything`), a placement that
a model ranks, which hangs when it is told to, and an event that is counted."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

from tests.support.everything import Everything, written
from tests.support.server import BUNDLE as MOODY_BUNDLE

RANKED, VIEWED, VIEWS = "moody", "product_viewed", "views_7d"
#: What the model does with a customer: it ranks, takes a fifth of a second, or several seconds.
WELL, SLOW, ENDLESS = 0, 4, 5

_MOOD = {"type": "float", "range": [0, 9], "owner": "crm", "sensitivity": "personal", "purposes": ["personalisation"]}
_MORE: dict[str, dict[str, Any]] = {
    "attributes": {"attributes": {"mood": _MOOD}},
    "placements": {
        "placements": [
            {"id": RANKED, "channel": "email", "purpose": "marketing", "budget_ms": 200, "model": "moody",
             "default": "moody_low", "rules_order": ["moody_low", "moody_high"]},
        ]
    },
    "messages": {
        "messages": [
            {"id": f"moody_{pull}", "placements": [RANKED], "category": RANKED, "features": {"pull": worth}}
            for worth, pull in enumerate(("low", "high"))
        ]
    },
    "models": {
        "models": [
            {"id": "moody", "version": 1, "predicts": "response", "inputs": ["customer.mood", "message.pull"],
             "purposes": ["personalisation"], "on_missing": "nan"},
        ]
    },
    # Nearly all that is told here is bad news: the brake would rightly stop messages in the middle of a run.
    "outcomes": {"watch": {"complained": {"alert": 0.001}}},
    "events": {"events": {VIEWED: {"owner": "web", "properties": {"product_id": {"type": "string"}}}}},
    "features": {"features": {VIEWS: {"on": VIEWED, "count": {}, "window": "7d", "sensitivity": "none"}}},
}  # fmt: skip


def chaos_bundle(folder: Path) -> Everything:
    """Write it into a folder, for now."""
    served = written(folder)
    for name, more in _MORE.items():
        path = folder / f"{name}.yaml"
        have = yaml.safe_load(path.read_text()) if path.exists() else {}
        for key, content in more.items():
            have[key] = _joined(have.get(key), content)
        path.write_text(yaml.safe_dump(have, sort_keys=False))
    shutil.copytree(MOODY_BUNDLE / "registry" / "moody", folder / "registry" / "moody")
    return served


def _joined(have: Any, more: Any) -> Any:
    return more if have is None else have + more if isinstance(have, list) else have | more
