"""The bundle of the mix, put together from the standard job and what is in `loadtests/mix/bundle`."""

from __future__ import annotations

import shutil
from pathlib import Path

from loadtests.standard import job

OWN = Path(__file__).parent / "bundle"
#: Files of one list each, which begin alike: ours goes on where the standard's ends. All others are replaced.
LISTS = {"messages.yaml": "messages:\n", "placements.yaml": "placements:\n"}


def write(folder: Path) -> Path:
    """Writes it into a new folder, and returns that."""
    shutil.copytree(job.BUNDLE, folder)
    for path in sorted(OWN.glob("*.yaml")):
        own, target = path.read_text(encoding="utf-8"), folder / path.name
        if path.name in LISTS:
            own = target.read_text(encoding="utf-8") + own.removeprefix(LISTS[path.name])
        target.write_text(own, encoding="utf-8")
    return folder
