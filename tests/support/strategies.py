"""Hypothesis strategies: customers, ledgers and requests of a bundle, whatever may be known or missing of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from policy.bundle import Bundle, ContextField, Fact
from policy.codes import SuppressionReason
from policy.facts import ConsentEntry, Contact, ContactKind, Facts, Suppression
from tests.support.deciding import DAY_MS, NOW_MS, decide, kind

REGIONS = [None, "DE", "US", "US-CA", "CA", "FR", "ZZ"]
ZONES = [None, "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Kiritimati", "UTC"]
LANGUAGES = [None, "en", "de", "fr", "pt-BR"]


def value_of(declared: Fact | ContextField) -> st.SearchStrategy[Any]:
    """A value that fits what is declared."""
    low, high = declared.minimum, declared.maximum
    match declared.type:
        case "int":
            return st.integers(-1000 if low is None else int(low), 1000 if high is None else int(high))
        case "float":
            return st.floats(-1e6 if low is None else low, 1e6 if high is None else high, allow_nan=False)
        case "bool":
            return st.booleans()
        case "enum":
            return st.sampled_from(declared.values)
        case "region":
            return st.sampled_from([each for each in REGIONS if each])
        case "timezone":
            return st.sampled_from([each for each in ZONES if each])
        case "language":
            return st.sampled_from([each for each in LANGUAGES if each])
    return st.text(max_size=8)


def some_of(declared: Mapping[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Values of some of the declared names."""
    return st.fixed_dictionaries({}, optional={name: value_of(each) for name, each in declared.items()})


def consents(bundle: Bundle) -> st.SearchStrategy[tuple[ConsentEntry, ...]]:
    channels = sorted({placement.channel for placement in bundle.placements.values()} | {"*"})
    purposes = [*bundle.purposes, "marketing", "transactional"]
    entry = st.builds(
        ConsentEntry,
        st.sampled_from(purposes),
        st.sampled_from(channels),
        st.sampled_from(["granted", "granted", "granted", "denied"]),
        st.sampled_from(["consent", "consent", "consent", "existing_customer", "legitimate_interest"]),
        st.just("signup_form"),
        st.integers(0, NOW_MS),
        st.sampled_from([None, None, None, NOW_MS, NOW_MS + 1, NOW_MS + DAY_MS]),
    )
    return st.lists(entry, max_size=6, unique_by=lambda each: each[:2]).map(tuple)


def suppressions() -> st.SearchStrategy[tuple[Suppression, ...]]:
    one = st.builds(
        Suppression, st.sampled_from(["*", "email", "sms"]), st.sampled_from(SuppressionReason), st.integers(0, NOW_MS)
    )
    return st.one_of(st.just(()), st.just(()), st.just(()), st.lists(one, max_size=2).map(tuple))


def kinds_of(bundle: Bundle) -> list[ContactKind]:
    """Kinds that the bundle makes, and one of a bundle long gone."""
    own = [
        kind(placement, candidate.message.id)
        for placement in bundle.placements.values()
        for candidate in placement.candidates
    ]
    return [*own, ContactKind("gone", "email", "marketing", "gone", "", "")]


@st.composite
def contacts(draw: st.DrawFn, bundle: Bundle, now_ms: int = NOW_MS) -> tuple[Contact, ...]:
    """A ledger, in order of time; reservations in the future included."""
    found = []
    for number in range(draw(st.integers(0, 6))):
        starts_ms = draw(st.integers(now_ms - 40 * DAY_MS, now_ms + 10 * DAY_MS))
        length_ms = draw(st.sampled_from([0, 0, 3_600_000, 3 * DAY_MS]))
        what = draw(st.sampled_from(kinds_of(bundle)))
        found.append(Contact(number.to_bytes(14, "big"), what, starts_ms, starts_ms + length_ms))
    return tuple(sorted(found, key=lambda each: each.not_before_ms))


@st.composite
def customers(draw: st.DrawFn, bundle: Bundle) -> Facts:
    """All that may be known of one customer."""
    owners = sorted({fact.owner for fact in bundle.facts})
    ages_ms = st.sampled_from([0, 3_600_000, 2 * DAY_MS, 50 * DAY_MS])
    as_of = draw(st.dictionaries(st.sampled_from(owners), ages_ms)) if owners else {}
    return Facts(
        now_ms=NOW_MS,
        exists=draw(st.booleans()),
        region=draw(st.sampled_from(REGIONS)),
        timezone=draw(st.sampled_from(ZONES)),
        language=draw(st.sampled_from(LANGUAGES)),
        consent=draw(consents(bundle)),
        suppressions=draw(suppressions()),
        values=draw(some_of(bundle.fact_by_name)),
        as_of_ms={owner: NOW_MS - age_ms for owner, age_ms in as_of.items()},
        contacts=draw(contacts(bundle)),
        general_version=draw(st.integers(0, 2**40)),
        ledger_version=draw(st.integers(0, 2**40)),
    )


@st.composite
def requests(draw: st.DrawFn, bundle: Bundle) -> dict[str, Any]:
    """What `decide` takes beside bundle and facts."""
    names = draw(st.lists(st.sampled_from(sorted(bundle.placements)), min_size=1, max_size=8, unique=True))
    salt = draw(st.integers(0, 1000))
    return {
        "placements": names,
        "context": draw(some_of(bundle.context)),
        "seed": draw(st.integers(0, 2**64 - 1)),
        "model": lambda message: _probability(salt, message),
    }


def _probability(salt: int, message: str) -> float:
    """Arbitrary, and the same every time."""
    return hashlib.blake2b(f"{salt} {message}".encode(), digest_size=2).digest()[0] / 255


__all__ = ["consents", "contacts", "customers", "decide", "kinds_of", "requests", "some_of", "suppressions", "value_of"]
