"""The demo as plain lines, for pipes and CI."""

from __future__ import annotations

import typer

from app.demo_shop.scene import Scene

SUMMARY_EVERY_S = 10.0


class Lines:
    """Prints each change once, and every ten seconds how things stand."""

    def __init__(self) -> None:
        self._summary_at_s = 0.0
        self._told_until_s = -1.0

    def step(self, words: str) -> None:
        typer.echo(words)

    def show(self, scene: Scene) -> None:
        for told in scene.told:
            if told.at_s > self._told_until_s:
                typer.echo(f"{told.clock}  {told.change.sentence()}")
        if scene.told:
            self._told_until_s = scene.told[-1].at_s
        if scene.seconds >= self._summary_at_s:
            self._summary_at_s += SUMMARY_EVERY_S
            typer.echo(summary(scene))

    def close(self, words: str) -> None:
        if words:
            typer.echo(words)


def summary(scene: Scene) -> str:
    """How things stand, in one line."""
    parts = [f"{scene.seconds:.0f} s", f"{scene.events:,} events", f"{scene.rate:.0f} a second"]
    if scene.lag_ms is not None:
        parts.append(f"event to feature {scene.lag_ms:.0f} ms (worst {scene.lag_worst_ms:.0f})")
    if scene.worker is not None:
        parts.append(worker_words(scene))
    if scene.waiting:
        parts.append(f"waits: {scene.waiting}")
    return "  ·  ".join(parts)


def worker_words(scene: Scene) -> str:
    """The event worker's state."""
    worker = scene.worker
    if worker is None:
        return "worker: unknown"
    if not worker.held:
        return "worker: none runs"
    behind = "" if worker.behind_ms is None else f", {worker.behind_ms / 1000:.1f} s behind at most"
    by = "" if worker.owners == 1 else f" by {worker.owners}"
    return f"worker: {worker.held} of {worker.shards} shards held{by}{behind}"
