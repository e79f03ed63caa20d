"""What `nextbest doctor` does: reads the store beside its servers, and puts together what is wrong. Only reads."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from redis.asyncio import Redis

from app.command_context import in_words, with_store
from app.doctor import events, names
from app.doctor.customers import Survey
from app.doctor.finding import Finding, Severity
from app.settings import Settings
from app.store.estate import Estate
from app.store.keys import Keys
from policy.audit import audit
from policy.bundle import Bundle
from policy.compile import load
from policy.lint import examine

Tell = Callable[[int], None]  # customers so far


class Diagnosis(NamedTuple):
    """What was found, the most severe first."""

    bundle: str
    customers: int  # that were looked at
    sampled: bool  # not all were
    findings: tuple[Finding, ...]
    ages: dict[str, tuple[int, int]]  # owner → Unix ms of its oldest and of its newest write

    @property
    def is_severe(self) -> bool:
        return any(finding.severity is Severity.SEVERE for finding in self.findings)


def diagnose(settings: Settings, address: str | None, sample: int | None, per_s: int, tell: Tell) -> Diagnosis:
    """Look at `sample` customers (None: all), `per_s` a second. `address`: of the store; None: of the settings, or the
    data folder's own. Raises Trouble."""
    with in_words():
        bundle = load(settings.bundle)

    async def work(client: Redis, keys: Keys) -> Diagnosis:
        return await _diagnose(settings.bundle, bundle, Estate(client, keys.shards, per_s), sample, tell)

    return with_store(settings, address, work, client_name="nextbest-doctor", unused="there is nothing to look at")


async def _diagnose(folder: Path, bundle: Bundle, estate: Estate, sample: int | None, tell: Tell) -> Diagnosis:
    streams = await estate.streams()
    survey, identities, sampled = Survey(bundle, streams.now_ms), events.Identities(), False
    # One more than asked for tells whether there are more.
    async for seen in estate.customers(None if sample is None else sample + 1):
        if survey.seen == sample:
            sampled = True
            break
        survey.add(seen.profile)
        tell(survey.seen)
    count = 0
    async for claimed in estate.identities(None if sample is None else sample + 1):
        if count == sample:
            identities.all = False
            break
        count += 1
        identities.add(claimed)
    findings = [
        *_of_the_bundle(folder),
        *survey.findings(sampled=sampled),
        *identities.findings(),
        *events.silent(bundle, streams),
        *events.behind(bundle, streams),
        *events.letters(streams),
    ]
    ordered = sorted(findings, key=lambda finding: (-finding.severity, -(finding.share or 0.0)))
    return Diagnosis(bundle.name, survey.seen, sampled, tuple(ordered), survey.ages())


def _of_the_bundle(folder: Path) -> list[Finding]:
    """What the bundle alone tells; an approval that has ended is lint's to say."""
    _, documents = examine(folder)
    if documents is None:  # it was loaded a moment ago
        return []
    return [*names.alike(documents), *names.unread(audit(documents, round(time.time() * 1000)))]
