"""What requests are answered with: the parts of a server process, as the composition root put them together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.telemetry import series

if TYPE_CHECKING:  # whoever makes the parts imports them; this file only names them
    from redis.asyncio import Redis

    from app.admission import Admission
    from app.core.decision.commit import Idempotency
    from app.flows.budgets import Budgets
    from app.flows.collect import Collector
    from app.flows.control import ControlWatch
    from app.flows.decide import Decider
    from app.flows.erase import Erasures
    from app.flows.merge import Merges
    from app.flows.reconcile import Reconciler
    from app.flows.take_outcomes import OutcomeTaker
    from app.flows.take_webhooks import WebhookTaker
    from app.flows.watch_features import FeatureWatch
    from app.http.auth import Authenticator
    from app.scoring import ModelRunner
    from app.settings import Settings
    from app.store.bundles import BundleArchive
    from app.store.control import ControlStore
    from app.store.decision_log import DecisionLog
    from app.store.decisions import DecisionStore
    from app.store.fields import FieldRegistry
    from app.store.keys import Keys
    from app.store.link import Link
    from app.store.outcomes import OutcomeStore
    from app.telemetry.decisions import Observer
    from app.telemetry.metrics import Metrics
    from app.telemetry.spans import Tracer
    from policy.bundle import Bundle


@dataclass(slots=True)
class Services:
    """What requests are answered with. One a process."""

    settings: Settings
    bundle: Bundle
    release: str
    keys: Keys
    client: Redis
    link: Link
    fields: FieldRegistry
    hash_key: bytes  # empty until the store was reached once
    metrics: Metrics
    tracer: Tracer
    models: ModelRunner
    store: DecisionStore
    reconciler: Reconciler
    budgets: Budgets
    control: ControlWatch
    features: FeatureWatch
    switches: ControlStore
    merges: Merges
    erasures: Erasures
    decider: Decider
    decision_log: DecisionLog
    bundles: BundleArchive
    authenticator: Authenticator
    admission: Admission
    observer: Observer
    idempotency_of: Callable[[str, bytes], Idempotency]
    collector: Collector
    outcome_taker: OutcomeTaker
    outcome_store: OutcomeStore
    outcome_link: Link
    webhooks: WebhookTaker
    webhook_urls: Mapping[str, str]  # as entered at providers, where configured
    event_link: Link
    store_findings: list[str] = field(default_factory=list)  # what the last look at the server found

    def readiness(self) -> list[str]:
        """Why this node should get no traffic; empty when it should."""
        findings = list(self.store_findings)
        if not self.link.connected:
            findings.insert(0, f"the store cannot be reached: {self.link.last_error}")
        return findings + self.control.findings + self.authenticator.findings

    def observe_delay(self, late_s: float) -> None:
        """`late_s`: how late the event loop got to something that was due. A request that comes now waits as long to be
        read, and then, where decisions stand in line, for those ahead of it."""
        in_line_s = self.admission.delay_s if self.admission.waiting else 0.0
        self.metrics.observe(series.QUEUE_DELAY_SECONDS, max(0, int((late_s + in_line_s) * 1e9)))

    def refresh_gauges(self) -> None:
        """Bring this worker's gauges up to date: before a scrape, and all the time for scrapes of other workers."""
        self.metrics.set(self.metrics.slot(series.REQUESTS_IN_FLIGHT), self.admission.in_flight)
        self.metrics.set(self.metrics.slot(series.STORE_CONNECTED), int(self.link.connected))
        self.metrics.set(self.metrics.slot(series.SWITCHES_OFF), len(self.control.current.switches))
        self.metrics.set(self.metrics.slot(series.CONTROL_AGE_SECONDS), int(self.control.age_s))
        self.metrics.set(self.metrics.slot(series.FEATURES_NOT_FILLED), len(self.features.names))
