"""What the doctor says of events and identities."""

from __future__ import annotations

from app.doctor.events import Identities, behind, letters, silent
from app.doctor.finding import Severity
from app.store.estate import Claimed, Streams
from tests.support.customers import BUNDLE
from tests.support.event_bundle import event_bundle

NOW_MS = 1_800_000_000_000


def streams(*lags_s: int | None, collected: int = 5, **more: int) -> Streams:
    applied = tuple(None if lag is None else NOW_MS - lag * 1000 for lag in lags_s)
    return Streams(applied, more, collected, more.pop("letters", 0), NOW_MS)


def test_events_without_a_worker_are_told_of_and_an_empty_store_is_not() -> None:
    (finding,) = behind(BUNDLE, streams(None, None))
    assert (finding.code, finding.count, finding.of) == ("no_worker", 2, 2)
    assert not list(behind(BUNDLE, streams(None, None, collected=0)))


def test_shards_that_are_behind_are_counted_and_far_behind_is_severe() -> None:
    assert not list(behind(BUNDLE, streams(1, 59)))
    (late,) = behind(BUNDLE, streams(1, 61))
    assert (late.count, late.of, late.severity) == (1, 2, Severity.WARNING)
    (far,) = behind(BUNDLE, streams(1, 601))
    assert far.severity is Severity.SEVERE


def test_events_that_never_came_and_that_no_longer_come() -> None:
    bundle = event_bundle()
    ids = sorted({rule.id for rule in bundle.events.by_name.values()})
    told = streams(0)._replace(types_ms={ids[0]: NOW_MS, ids[1]: NOW_MS - 8 * 86_400_000})
    findings = list(silent(bundle, told))
    assert len(findings) == len(ids) - 1
    assert "last 8 days ago" in findings[0].what
    assert findings[0].severity is Severity.WARNING
    assert all("never" in each.what for each in findings[1:])


def test_an_address_of_two_customers_is_a_duplicate_and_a_shared_device_is_not() -> None:
    identities = Identities()
    for kind, customers in (("email_sha256", "ab"), ("email_sha256", "c"), ("anonymous_id", "de")):
        identities.add(Claimed(kind, frozenset(customers)))
    device, address = sorted(identities.findings(), key=lambda finding: finding.severity)
    assert (address.code, address.count, address.of) == ("duplicates", 1, 2)
    assert address.what.startswith("2 customers")
    assert (device.code, device.severity) == ("shared_identity", Severity.NOTE)


def test_letters_are_told_of() -> None:
    assert [each.count for each in letters(streams(0)._replace(letters=3))] == [3]
    assert not list(letters(streams(0)))
