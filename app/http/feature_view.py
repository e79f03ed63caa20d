"""The features of a customer as people may see them: masked as attributes are, each with what it is made of and until
when its events are known to be complete."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from app.core.features.live import events_of
from app.core.keeping import NOT_HANDLED
from app.http.customer_view import MASK, iso
from app.store.customer_reads import KnownFeatures
from policy.bundle import Bundle
from policy.feature_rules import FeatureRule


def features_view(
    known: KnownFeatures | None, now_ms: int, bundle: Bundle, not_filled: Mapping[int, Collection[str]]
) -> dict[str, Any]:
    """What `GET /v1/customers/{customer}` says of features: nothing, under a bundle that has none. `not_filled`: by
    shard, those that no decision uses, since they lack events that passed."""
    if known is None:
        return {}
    values = None if known.state is None else known.live.values(known.state, now_ms)
    views = {rule.name: _feature(rule, values, known, now_ms, bundle) for rule in known.live.rules}
    for name in not_filled.get(known.shard, ()):
        views[name]["not_filled"] = True
    return {"features": views}


def _feature(
    rule: FeatureRule, values: dict[str, Any] | None, known: KnownFeatures, now_ms: int, bundle: Bundle
) -> dict[str, Any]:
    fact = bundle.fact_by_name[rule.name]
    hidden = fact.sensitivity != "none" or bundle.handling.get(rule.name, NOT_HANDLED).never_shown
    as_of_ms = known.watermarks.as_of_ms(events_of(rule), known.shard)
    view = {
        "value": MASK if hidden else (values or {}).get(rule.name),
        "type": fact.type,
        "owner": fact.owner,
        "version": rule.version,
        "definition": rule.definition,
        "events": list(events_of(rule)),
        "as_of": None if as_of_ms is None else iso(as_of_ms),
    }
    if rule.max_lag_ms is not None:
        view["stale"] = as_of_ms is None or now_ms - as_of_ms > rule.max_lag_ms
    if values is None:
        view["unreadable"] = True
    return view
