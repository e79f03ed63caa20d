"""What a bundle may already say and this release does not act on yet. Nothing of it is ignored silently."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from policy.schema import Documents
from policy.schema.types import Identified


class Unused(NamedTuple):
    """A part that is accepted and not in force: where it stands, and what it is called."""

    file: str
    path: tuple[str | int, ...]
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


def not_in_force(documents: Documents) -> Iterator[Unused]:
    """Every authored part without effect, in the order of the files."""
    yield from _placements(documents)
    yield from _messages(documents)
    yield from _collections(documents)
    yield from _consent(documents)
    yield from _data(documents)


def _placements(documents: Documents) -> Iterator[Unused]:
    for placement in documents.placements.placements:
        here = ("placements", placement.id)
        parts = {
            "explore": placement.explore.method != "epsilon" or placement.explore.epsilon > 0,
            "confirm": placement.confirm == "required",
            "send_hours": placement.send_hours is not None,
            "unsubscribe": placement.unsubscribe,
        }
        for name, authored in parts.items():
            if authored:
                yield Unused("placements.yaml", (*here, name), f"`{name}` of placement `{placement.id}`")


def _messages(documents: Documents) -> Iterator[Unused]:
    for message in documents.messages.messages:
        if message.reveals:
            yield Unused("messages.yaml", ("messages", message.id, "reveals"), f"`reveals` of message `{message.id}`")


def _collections(documents: Documents) -> Iterator[Unused]:
    limits, experiments = documents.limits, documents.experiments
    collections: dict[tuple[str, str, str], Sequence[Identified]] = {
        ("features.yaml", "features", "feature"): documents.features.features,
        ("events.yaml", "events", "event"): documents.events.events,
        ("limits.yaml", "limits", "budget"): [limit for limit in limits.limits if limit.budget],
        ("limits.yaml", "cooldowns", "cooldown"): limits.cooldowns,
        ("limits.yaml", "exclusions", "exclusion"): limits.exclusions,
        ("experiments.yaml", "arms", "holdout"): experiments.arms,
        ("experiments.yaml", "experiments", "experiment"): experiments.experiments,
    }
    for (file, collection, word), items in collections.items():
        for item in items:
            yield Unused(file, (collection, item.id), f"{word} `{item.id}`")
    if limits.fatigue:
        yield Unused("limits.yaml", ("fatigue",), "`fatigue`")


def _consent(documents: Documents) -> Iterator[Unused]:
    for code, region in documents.consent.regions.items():
        for name in ("quiet", "gpc_denies", "restricted"):
            if getattr(region, name):
                yield Unused("consent.yaml", ("regions", code, name), f"`{name}` of region `{code}`")


def _data(documents: Documents) -> Iterator[Unused]:
    for name in ("features", "decisions", "events"):
        if getattr(documents.data.retention, name) is not None:
            yield Unused("data.yaml", ("retention", name), f"`retention.{name}`")
    for name in documents.data.data:
        yield Unused("data.yaml", ("data", name), f"handling of `{name}`")
