"""The record of a request: what was known, what was decided, and why not for every candidate, in at most 2 KB.

One MessagePack array a request. It holds indexes into its bundle, not names, and the bundle's digest; it holds only
facts that the decision was allowed to read, so a `generic` record proves by itself that nothing personal was used.
Values of facts, predicted responses and the seed are exact: the record decides again to the same bytes (`replay`).

Layout, version 1. New members are appended, none is moved:

    0 version · 1 packed base id · 2 customer · 3 bundle digest (32 bytes) · 4 now (ms) · 5 seed
    6 request  [placement indexes, context, budget_ms, Global Privacy Control]
    7 facts    [exists, region, timezone, language, consent, suppressions, fact indexes, values, as-of, kinds, contacts,
                general version, ledger version,
                nil or [past outcomes, best hours, exposures, merge pending, features unread (absent: false)]]
    8 decisions, one array each (`_decision`)
    9 elapsed µs until the commit · 10 trace id (16 bytes) or nil · 11 release
   12 control  nil, or [switches, stale, spent budgets, what the chosen messages' variants earned]
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from operator import attrgetter
from typing import Any, NamedTuple

import ormsgpack

from app.core.decision.arbitrate import Decision, Exposure, Funnel
from app.core.decision.exclusion import Excluded
from app.core.decision.gate import Gate
from app.core.decision.limits import SendWindow
from app.core.decision.readable import impersonal_names, readable
from app.core.decision.situation import Situation, facts_read, situation
from policy.bundle import Bundle, Placement
from policy.codes import Action, Arm, Degraded, Exclusion, Reason, Rung, SuppressionReason, SwitchKind
from policy.control import NO_CONTROL, Control, Switch
from policy.facts import ConsentEntry, Contact, ContactKind, Facts, PastOutcome, Suppression
from policy.limits import contact_matters

VERSION = 1
#: Records beyond this are deflated. It takes a ledger of dozens of contacts to get here.
DEFLATE_OVER_BYTES = 1900
_DEFLATED = b"\x00"  # no MessagePack array starts with it

_ACTIONS, _RUNGS, _REASONS = tuple(Action), tuple(Rung), tuple(Reason)
_EXCLUSIONS, _DEGRADED, _SUPPRESSIONS = tuple(Exclusion), tuple(Degraded), tuple(SuppressionReason)
_ARMS, _SWITCH_KINDS = tuple(Arm), tuple(SwitchKind)
_INDEX, _PERSONAL = attrgetter("index"), attrgetter("personal")


#: What reading a broken record ends in, wherever a part of it is first looked at.
_BROKEN = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, OSError)


class UnreadableRecord(ValueError):
    """Bytes that are no record, or that no release wrote. Its text quotes nothing of them."""


@contextmanager
def reading_a_record() -> Iterator[None]:
    """Whatever a broken record does to who reads it, or looks at what was read, is an `UnreadableRecord`."""
    try:
        yield
    except UnreadableRecord:
        raise
    except _BROKEN as error:
        raise UnreadableRecord(type(error).__name__) from error


class Asked(NamedTuple):
    """The request, as far as the decision depends on it or its reader wants to know it."""

    customer: str
    placements: tuple[Placement, ...]
    context: Mapping[str, Any]
    budget_ms: int
    trace_id: bytes | None
    gpc: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """A record, read back."""

    base: str
    asked: Asked
    bundle: Bundle
    facts: Facts
    seed: int
    decisions: tuple[Decision, ...]
    answer_digests: tuple[bytes, ...]
    elapsed_us: int
    release: str
    control: Control = NO_CONTROL

    @property
    def situation(self) -> Situation:
        """What the decisions looked at."""
        asked = self.asked
        return situation(self.bundle, self.facts, asked.context, self.seed, asked.customer, asked.gpc, self.control)


def answer_digest(answer: bytes) -> bytes:
    """Eight bytes that tell whether a replay gave the same answer."""
    return blake2b(answer, digest_size=8).digest()


def encode(
    base: str,
    asked: Asked,
    seen: Situation,
    decisions: Sequence[Decision],
    answers: Sequence[bytes],
    gates: Sequence[Gate],
    elapsed_us: int,
    release: str,
    explanation: bool = True,
) -> bytes:
    """The bytes for the decision log.

    Args:
        answers: rendered decisions, without `excluded`.
        gates: for each decision what was allowed to be read.
        explanation: False leaves out facts, scores and reasons; only to measure what explaining costs.
    """
    if not explanation:
        seen, decisions = _unexplained(seen, decisions)
    bundle = seen.bundle
    packed = ormsgpack.packb(
        [
            VERSION,
            bytes.fromhex(base),
            asked.customer,
            _digest(bundle),
            seen.now_ms,
            seen.seed,
            [list(map(_INDEX, asked.placements)), asked.context, asked.budget_ms, asked.gpc],
            _facts(seen, asked.placements, gates),
            [_decision(decision, answer) for decision, answer in zip(decisions, answers, strict=True)],
            elapsed_us,
            asked.trace_id,
            release,
            _control(seen, decisions),
        ]
    )
    return packed if len(packed) <= DEFLATE_OVER_BYTES else _DEFLATED + zlib.compress(packed, 1)


@lru_cache(maxsize=64)
def _digest(bundle: Bundle) -> bytes:
    return bytes.fromhex(bundle.digest.removeprefix("sha256:"))


def _unexplained(seen: Situation, decisions: Sequence[Decision]) -> tuple[Situation, list[Decision]]:
    """What was decided, without what would explain it."""
    facts = seen.facts._replace(values={}, as_of_ms={}, contacts=(), not_filled=frozenset())
    bare = [d._replace(excluded={}, scored=(), responses=(), scores=(), admissible=()) for d in decisions]
    return seen._replace(facts=facts), bare


def _facts(seen: Situation, placements: tuple[Placement, ...], gates: Sequence[Gate]) -> list[Any]:
    facts, bundle = seen.facts, seen.bundle
    indexes, names, sources, sensitive = _allowed_facts(bundle, placements, tuple(map(_PERSONAL, gates)))
    values = facts.values
    if sensitive or seen.control.switches:
        values = _values_read(seen, placements, gates)
    kinds: dict[ContactKind, int] = {}
    contacts = [
        [packed, kinds.setdefault(kind, len(kinds)), not_before_ms, not_after_ms, confirmed + 2 * engaged]
        for packed, kind, not_before_ms, not_after_ms, confirmed, engaged in facts.contacts
        if contact_matters(bundle, kind)
    ]
    rare = None  # nearly always: two bytes less, and nothing made
    lost = facts.features_unread or facts.not_filled
    if facts.outcomes or facts.best_hours or facts.exposures or facts.merge_pending or lost:
        rare = _rare_facts(seen, kinds)
    return [
        facts.exists,
        facts.region,
        facts.timezone,
        facts.language,
        [entry[:6] if entry.expires_ms is None else entry[:] for entry in facts.consent],
        [[entry.scope, entry.reason.place, entry.at_ms] for entry in facts.suppressions] if facts.suppressions else [],
        indexes,
        list(map(values.get, names)),  # nil where the fact is missing, or was not read
        {source: at_ms for source, at_ms in facts.as_of_ms.items() if source in sources},
        list(map(_kind, kinds)),
        contacts,
        facts.general_version,
        facts.ledger_version,
        rare,
    ]


@lru_cache(maxsize=65536)
def _kind(kind: ContactKind) -> tuple[str, ...]:
    return kind.placement, kind.channel, kind.klass, kind.message, kind.category, kind.campaign


def _rare_facts(seen: Situation, kinds: dict[ContactKind, int]) -> list[Any]:
    """What most customers have none of. `kinds` learns the kinds that outcomes followed."""
    facts = seen.facts
    outcomes = [
        [kind_of_outcome, None if kind is None else kinds.setdefault(kind, len(kinds)), at_ms]
        for kind_of_outcome, kind, at_ms in (facts.outcomes if seen.bundle.cooldowns else ())
    ]
    rare = [outcomes, facts.best_hours, dict(facts.exposures), facts.merge_pending]
    if facts.not_filled:
        return [*rare, facts.features_unread, sorted(facts.not_filled)]
    return [*rare, True] if facts.features_unread else rare


def _values_read(seen: Situation, placements: Sequence[Placement], gates: Sequence[Gate]) -> Mapping[str, Any]:
    """The values without those that no decision may have read: what is switched off, and what is sensitive and was
    not granted in so many words."""
    if len(placements) == 1:  # whoever asks takes only what the placement may have read
        return readable(placements[0], seen, gates[0])
    read: dict[str, Any] = {}
    for placement, gated in zip(placements, gates, strict=True):
        values = readable(placement, seen, gated)
        read.update({name: values[name] for name in facts_read(placement) if name in values})
    return read


def _control(seen: Situation, decisions: Sequence[Decision]) -> list[Any] | None:
    """The control facts that these decisions may have looked at; who threw a switch, and why, stays out."""
    control = seen.control
    if control == NO_CONTROL:  # nearly always
        return None
    switches = [[each.kind.place, each.name, each.until_ms] for each in control.switches if each.in_force(seen.now_ms)]
    earned = []
    for decision in decisions if control.earned else ():
        message = decision.message
        if message is not None:
            keys = [(message.id, message.version, variant.id) for variant in message.variants]
            earned += [[*key, *control.earned[key]] for key in keys if key in control.earned]
    if not (switches or control.stale or control.exhausted or earned):
        return None
    return [switches, control.stale, sorted(control.exhausted), earned]


@lru_cache(maxsize=1024)
def _allowed_facts(
    bundle: Bundle, placements: tuple[Placement, ...], personal: tuple[bool, ...]
) -> tuple[tuple[int, ...], tuple[str, ...], frozenset[str], bool]:
    """Indexes and names of the facts that these placements may have read, who writes them, and whether any of the
    placements reads something sensitive."""
    names: set[str] = set()
    for placement, may_be_read in zip(placements, personal, strict=True):
        read = facts_read(placement)
        names.update(read if may_be_read else impersonal_names(bundle).intersection(read))
    allowed = [fact for fact in bundle.facts if fact.name in names]
    return (
        tuple(fact.index for fact in allowed),
        tuple(fact.name for fact in allowed),
        frozenset(fact.source for fact in allowed),
        any(placement.sensitive for placement in placements),
    )


def _decision(decision: Decision, answer: bytes) -> list[Any]:
    window, funnel = decision.window, decision.funnel
    return [
        decision.action.place,
        decision.rung.place,
        decision.reason.place,
        decision.detail,
        decision.position,
        decision.variant,
        None if window is None else [window.not_before_ms, window.not_after_ms, window.basis],
        decision.score,
        decision.propensity,
        [code.place for code in decision.degraded] if decision.degraded else [],
        [funnel.candidates, funnel.eligible, funnel.scored, funnel.admissible],
        decision.retryable,
        bytes(decision.scored) if len(decision.placement.candidates) < 256 else decision.scored,
        array("f", decision.responses).tobytes(),  # what ONNX gave is float32: nothing is lost
        array("d", decision.scores).tobytes(),
        bytes(decision.admissible) if len(decision.placement.candidates) < 256 else decision.admissible,
        [[at, why.code.place, why.detail] for at, why in decision.excluded.items()] if decision.excluded else [],
        answer_digest(answer),
        _extras(decision),
    ]


def _extras(decision: Decision) -> list[Any] | None:
    """What most decisions do without."""
    said = decision.variant_propensity is not None or decision.exposures or decision.weights or decision.fatigue
    if decision.arm is Arm.TREATMENT and not said:
        return None
    return [
        decision.arm.place,
        decision.variant_propensity,
        [list(exposure) for exposure in decision.exposures],
        array("d", decision.weights).tobytes(),
        array("d", decision.fatigue).tobytes(),
    ]


@reading_a_record()
def bundle_digest_of(raw: bytes) -> str:
    """The digest of the bundle that the record's indexes refer to. Raises UnreadableRecord, as do all that read."""
    return f"sha256:{_unpack(raw)[3].hex()}"


@reading_a_record()
def base_of_record(raw: bytes) -> str:
    """The shared part of the record's decision ids."""
    return _unpack(raw)[1].hex()  # type: ignore[no-any-return]  # MessagePack has no types


class Heading(NamedTuple):
    """Whose a record is, without its bundle."""

    base: str  # the shared part of its decision ids
    customer: str
    now_ms: int
    decisions: int


@reading_a_record()
def heading_of(raw: bytes) -> Heading:
    """What can be read of a record whatever its bundle was."""
    _, base, customer, _, now_ms, *rest = _unpack(raw)
    if not (isinstance(customer, str) and isinstance(now_ms, int)):
        raise UnreadableRecord("it names nobody, or no time")
    return Heading(base.hex(), customer, now_ms, len(rest[3]))


def _unpack(raw: bytes) -> list[Any]:
    if raw.startswith(_DEFLATED):
        try:
            raw = zlib.decompress(raw[1:])
        except zlib.error as error:  # of no common kind
            raise UnreadableRecord("it cannot be inflated") from error
    unpacked: list[Any] = ormsgpack.unpackb(raw)
    return unpacked


@reading_a_record()
def decode(raw: bytes, bundle: Bundle) -> Record:
    """Read a record under the bundle that it was made with."""
    unpacked = _unpack(raw)
    _, base, customer, _, now_ms, seed, request, facts, decisions, elapsed_us, trace_id, release = unpacked[:12]
    by_index = {placement.index: placement for placement in bundle.placements.values()}
    placements = tuple(by_index[index] for index in request[0])
    return Record(
        base=base.hex(),
        asked=Asked(customer, placements, request[1], request[2], trace_id, *request[3:4]),
        bundle=bundle,
        facts=_decode_facts(facts, now_ms, bundle),
        seed=seed,
        decisions=tuple(_decode_decision(placement, raw) for placement, raw in zip(placements, decisions, strict=True)),
        answer_digests=tuple(decision[17] for decision in decisions),
        elapsed_us=elapsed_us,
        release=release,
        control=_decode_control(unpacked[12] if len(unpacked) > 12 else None),
    )


def _decode_control(raw: list[Any] | None) -> Control:
    if raw is None:
        return NO_CONTROL
    switches, stale, exhausted, earned = raw[:4]
    return Control(
        switches=tuple(Switch(_SWITCH_KINDS[kind], name, "", "", until_ms, 0) for kind, name, until_ms in switches),
        stale=stale,
        exhausted=frozenset(exhausted),
        earned={(message, version, variant): (good, sends) for message, version, variant, good, sends in earned},
    )


def _decode_facts(raw: list[Any], now_ms: int, bundle: Bundle) -> Facts:
    exists, region, timezone, language, consent, suppressions, indexes = raw[:7]
    values, as_of, kinds, contacts, general, ledger = raw[7:13]
    rare: Sequence[Any] = (raw[13] if len(raw) > 13 else None) or ((), None, {}, False)
    outcomes, best_hours, exposures, merge_pending = rare[:4]
    kind_of = [ContactKind(*kind) for kind in kinds]
    return Facts(
        now_ms=now_ms,
        exists=exists,
        region=region,
        timezone=timezone,
        language=language,
        consent=tuple(ConsentEntry(*entry) for entry in consent),
        suppressions=tuple(Suppression(scope, _SUPPRESSIONS[reason], at_ms) for scope, reason, at_ms in suppressions),
        values={
            bundle.facts[index].name: value for index, value in zip(indexes, values, strict=True) if value is not None
        },
        as_of_ms=as_of,
        contacts=tuple(_decode_contact(contact, kind_of) for contact in contacts),
        general_version=general,
        ledger_version=ledger,
        outcomes=tuple(
            PastOutcome(what, None if kind is None else kind_of[kind], at_ms) for what, kind, at_ms in outcomes
        ),
        best_hours=best_hours,
        exposures=exposures,
        merge_pending=merge_pending,
        features_unread=any(rare[4:5]),
        not_filled=frozenset(*rare[5:6]),
    )


def _decode_contact(raw: list[Any], kind_of: Sequence[ContactKind]) -> Contact:
    packed, kind, start, end, *flags = raw
    flag = flags[0] if flags else 0
    return Contact(packed, kind_of[kind], start, end, bool(flag & 1), bool(flag & 2))


def _decode_decision(placement: Placement, raw: list[Any]) -> Decision:
    action, rung, reason, detail, position, variant, window, score, propensity, degraded, funnel = raw[:11]
    retryable, scored, responses, scores, admissible, excluded, _ = raw[11:18]
    extras = (raw[18] if len(raw) > 18 else None) or [0, None, [], b"", b""]
    arm, variant_propensity, exposures, weights, fatigue = extras[:5]
    return Decision(
        placement=placement,
        action=_ACTIONS[action],
        rung=_RUNGS[rung],
        reason=_REASONS[reason],
        detail=detail,
        position=position,
        variant=variant,
        window=None if window is None else SendWindow(*window),
        score=score,
        propensity=propensity,
        degraded=tuple(_DEGRADED[index] for index in degraded),
        funnel=Funnel(*funnel),
        retryable=retryable,
        excluded={position: Excluded(_EXCLUSIONS[code], tuple(why)) for position, code, why in excluded},
        scored=tuple(scored),
        responses=tuple(array("f", responses)),
        scores=tuple(array("d", scores)),
        admissible=tuple(admissible),
        arm=_ARMS[arm],
        variant_propensity=variant_propensity,
        exposures=tuple(Exposure(*exposure) for exposure in exposures),
        weights=tuple(array("d", weights)),
        fatigue=tuple(array("d", fatigue)),
    )


__all__ = [
    "Asked",
    "Record",
    "UnreadableRecord",
    "answer_digest",
    "base_of_record",
    "bundle_digest_of",
    "decode",
    "encode",
    "reading_a_record",
]
