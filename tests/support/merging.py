"""What two customers make together, as facts; and facts written into a store as a customer of it."""

from __future__ import annotations

from functools import cache
from typing import Any

import orjson
from hypothesis import strategies as st

from app.core.merging import Place, consent_of_both, first_of_both, later_of_both, place_of_both
from app.store.fields import FieldRegistry, names_of
from app.store.keys import Keys
from app.store.ledger import LedgerCodec, kind_name
from app.store.profile import exposure_field, exposure_name, outcome_field, suppression_field
from policy.bundle import Bundle
from policy.codes import OutcomeType
from policy.consent import merged_suppressions
from policy.facts import Contact, ContactKind, Facts, PastOutcome
from tests.support.deciding import DAY_MS, NOW_MS
from tests.support.strategies import contacts, customers, kinds_of

TRIALS = ["global", "winback"]


def united(winner: Facts, loser: Facts, bundle: Bundle) -> Facts:
    """The winner's facts once it has taken in the loser."""
    place = place_of_both(Place(winner.region, winner.timezone), Place(loser.region, loser.timezone))
    filled = {bundle.fact_by_name[name].owner for name in loser.values if name not in winner.values}
    ages = {owner: at_ms for owner, at_ms in loser.as_of_ms.items() if owner in filled}
    as_of = dict(winner.as_of_ms) | {o: min(at_ms, winner.as_of_ms.get(o, at_ms)) for o, at_ms in ages.items()}
    sides = ({(each.type, each.kind): each.at_ms for each in side.outcomes} for side in (winner, loser))
    ledgers = ({each.decision: each for each in side.contacts} for side in (winner, loser))
    return winner._replace(
        exists=winner.exists or loser.exists,
        region=place.region,
        timezone=place.timezone,
        language=winner.language or loser.language,
        consent=consent_of_both(winner.consent, loser.consent, winner.now_ms),
        suppressions=merged_suppressions(winner.suppressions, loser.suppressions),
        values=first_of_both(winner.values, loser.values),
        as_of_ms=as_of,
        contacts=tuple(sorted(first_of_both(*ledgers).values(), key=lambda each: (each.not_before_ms, each.decision))),
        outcomes=tuple(PastOutcome(*key, at_ms) for key, at_ms in later_of_both(*sides).items()),
        best_hours=winner.best_hours or loser.best_hours,
        exposures=first_of_both(winner.exposures, loser.exposures),
    )


@st.composite
def people(draw: st.DrawFn, bundle: Bundle, number: int) -> Facts:
    """All that may be known of a customer, outcomes and trials included. Of two with different numbers no contact is
    the same. Whoever has attributes has them since some time."""
    facts = draw(customers(bundle))
    kinds = [None, *_kinds(bundle)]
    types = st.sampled_from([OutcomeType.CONVERTED, OutcomeType.CLICKED, OutcomeType.COMPLAINED])
    of = st.dictionaries(st.tuples(types, st.sampled_from(kinds)), st.integers(NOW_MS - 9 * DAY_MS, NOW_MS), max_size=4)
    own = tuple(each._replace(decision=bytes([number]) + each.decision[1:]) for each in draw(contacts(bundle)))
    return facts._replace(
        contacts=own,
        as_of_ms=dict.fromkeys(sorted({fact.owner for fact in bundle.facts}), NOW_MS) | dict(facts.as_of_ms),
        suppressions=tuple({each[:2]: each for each in facts.suppressions}.values()),
        outcomes=tuple(PastOutcome(str(what), kind, at_ms) for (what, kind), at_ms in draw(of).items()),
        exposures=draw(st.dictionaries(st.sampled_from(TRIALS), st.sampled_from(["treatment", "holdout"]))),
        best_hours=draw(st.sampled_from([None, None, "08:00-10:00", "18:00-21:00"])),
    )


@cache
def _kinds(bundle: Bundle) -> list[ContactKind]:
    """One object a kind, as the store hands them out."""
    return kinds_of(bundle)


def registry_names(bundle: Bundle, *people: Facts) -> list[str]:
    """All names that must have ids before these can be written."""
    kinds = [each.kind for facts in people for each in facts.contacts]
    kinds += [each.kind for facts in people for each in facts.outcomes if each.kind is not None]
    said = [entry for facts in people for entry in facts.consent]
    return [
        *names_of(bundle),
        *(exposure_name(trial) for trial in TRIALS),
        *(_kind_name(kind) for kind in kinds),
        *(part for entry in said for part in (f"p:{entry.purpose}", f"c:{entry.channel}")),
        *(part for entry in said for part in (f"b:{entry.basis}", f"s:{entry.source}")),
        "s:desk",
    ]


def _kind_name(kind: ContactKind) -> str:
    return kind_name(kind.placement, kind.channel, kind.klass, kind.message, kind.category, kind.campaign)


async def write(client: Any, keys: Keys, registry: FieldRegistry, customer: str, facts: Facts) -> None:
    """Write these facts as a customer; names must have ids."""
    id_of, names = registry.id_of, keys.of(customer)
    fields: dict[bytes, Any] = {b"!g": facts.general_version, b"!l": facts.ledger_version}
    if facts.exists:
        fields[b"!u"] = NOW_MS
    places = ((b"!r", facts.region), (b"!z", facts.timezone), (b"!n", facts.language))
    fields |= {field: text for field, text in places if text is not None}
    for entry in facts.consent:
        end = "" if entry.expires_ms is None else f",{entry.expires_ms}"
        basis, source = id_of(f"b:{entry.basis}").decode(), id_of(f"s:{entry.source}").decode()
        field = id_of(f"p:{entry.purpose}") + b"." + id_of(f"c:{entry.channel}")
        fields[field] = f"{entry.state[0]}{basis},{source},{entry.at_ms}{end}"
    for stop in facts.suppressions:
        fields[suppression_field(stop.scope, stop.reason)] = b"%d,%b" % (stop.at_ms, id_of("s:desk"))
    if facts.suppressions:
        fields[b"!s"] = len(facts.suppressions)
    fields |= {id_of(f"a:{name}"): orjson.dumps(value) for name, value in facts.values.items()}
    fields |= {b"@" + id_of(f"o:{owner}"): at_ms for owner, at_ms in facts.as_of_ms.items()}
    for what, kind, at_ms in facts.outcomes:
        fields[outcome_field(what, b"" if kind is None else id_of(_kind_name(kind)))] = at_ms
    fields |= {exposure_field(id_of(exposure_name(trial))): arm for trial, arm in facts.exposures.items()}
    if facts.best_hours is not None:
        fields[b"%best_hours"] = f'"{facts.best_hours}"'
    if facts.contacts:
        fields[b"!t"] = min(NOW_MS, facts.contacts[-1].not_before_ms)
        codec = LedgerCodec(registry)
        await client.zadd(names.ledger, {codec.encode(each): each.not_before_ms for each in facts.contacts})
    await client.hset(names.profile, mapping=fields)


def comparable(facts: Facts) -> dict[str, Any]:
    """Without versions, and where order or identity of objects says nothing, without them."""
    now_ms = facts.now_ms
    in_force = {each for each in facts.consent if each.expires_ms is None or now_ms < each.expires_ms}
    return {
        "exists": facts.exists,
        "place": (facts.region, facts.timezone, facts.language),
        "consent": in_force,
        "suppressions": set(facts.suppressions),
        "values": dict(facts.values),
        "as_of": dict(facts.as_of_ms),
        "contacts": {_plain(each) for each in facts.contacts},
        "outcomes": {(what, None if kind is None else _kind_name(kind), at_ms) for what, kind, at_ms in facts.outcomes},
        "best_hours": facts.best_hours,
        "exposures": dict(facts.exposures),
        "merging": (facts.merge_pending, facts.merged_into),
    }


def _plain(contact: Contact) -> tuple[Any, ...]:
    return (contact.decision, _kind_name(contact.kind), *contact[2:])
