"""What is made of an event that arrived: it is collected, or put aside with the reason, or passed over.

The bundle declares what is collected, and nothing else is: undeclared events are passed over (a CDP sends hundreds of
kinds), undeclared properties dropped, or the event refused where the bundle says so. What does not fit its declaration
is put aside, masked, to be looked at and judged again. Who belongs to whom is collected whatever the event was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from app.core.events.event import Arrived, Collected, Edge, Letter, Misfit, Misfits, Scalar
from app.core.events.masking import hash64, shown_name, shown_source
from app.core.events.properties import Unfit, fitting, masked, undeclared_names
from app.core.events.times import occurred_at_ms
from app.core.events.who import Who, edge
from app.core.webhooks.decision_ids import PROPERTIES
from policy.event_rules import EventRule, EventRules

#: Names of properties beyond these are no event of ours.
PROPERTIES_MAX = 256
NO_SUCH_VERSION = Misfit(Misfits.UNKNOWN_VERSION, "the bundle has no such version of it")
#: What these calls say is who somebody is; a bundle may declare an event of the same name to keep more of them.
LINKING = frozenset({"identify", "alias"})


class Receipt(NamedTuple):
    """What is known of all events of one request. `nonce` is chance: it stands for ids that senders left out."""

    at_ms: int  # by the store's clock
    sender: str  # the id of the write key: message ids are its own
    nonce: bytes


class Passed(NamedTuple):
    """An event that the bundle does not declare, and that links nobody."""

    misfit: Misfit


class Judged(NamedTuple):
    """What becomes of an event, how many undeclared properties it lost on the way, and whether it is collected for
    whom it links alone: the bundle declares no such event."""

    result: Collected | Letter | Passed
    properties_dropped: int = 0
    links_alone: bool = False


class Found(NamedTuple):
    """Whom it is about, and the customer that this is; of an alias also the customer of the earlier user id, where it
    may be one."""

    who: Who
    customer: str
    previous_customer: str = ""


def judge(arrived: Arrived, found: Found, rules: EventRules, receipt: Receipt, hash_key: bytes, index: int) -> Judged:
    """What becomes of an event. `index`: its place in the request."""
    who = found.who
    rule = rules.find(arrived.name)
    links = len(who.aliases) > 1 or bool(who.previous) or (bool(who.aliases) and isinstance(who.subject, str))
    if rule is None and not links:
        if arrived.kind in LINKING:
            return Judged(Passed(Misfit(Misfits.UNKNOWN_EVENT, "it links nobody")))
        return Judged(Passed(Misfit(Misfits.UNKNOWN_EVENT, f"the bundle declares no event {shown_name(arrived.name)}")))
    return _Judge(arrived, found, rule, receipt, hash_key, index, rules.link_lateness_ms).judged(links)


def judge_again(letter: Letter, rules: EventRules, hash_key: bytes) -> Collected | Misfit:
    """What becomes of a letter under the bundle as it is now. Its time was judged when it was received: that it waited
    here does not make it old."""
    rule = rules.find(letter.type)
    if rule is None or not letter.redrivable or letter.occurred_at_ms is None:
        return letter.misfit
    rule = rule.at(letter.version or None)
    if rule is None:
        return NO_SUCH_VERSION
    if letter.misfit.code is Misfits.UNDECLARED_PROPERTY and rule.refuses_undeclared:
        return letter.misfit
    if letter.received_at_ms - letter.occurred_at_ms > rule.lateness_ms:
        return Misfit(Misfits.TOO_OLD, "it was older on arrival than the bundle allows")
    try:
        kept = fitting(rule, letter.properties, hash_key, again=True)
    except Unfit as unfit:
        return unfit.misfit
    return Collected(
        letter.customer,
        rule.id,
        rule.version,
        letter.occurred_at_ms,
        letter.received_at_ms,
        letter.message_id,
        once_of(rule, kept, hash_key),
        kept,
        letter.edges,
        letter.previous,
        letter.source,
        letter.known,
        letter.previous_customer,
    )


def letter_of_nobody(misfit: Misfit, receipt: Receipt, hash_key: bytes, index: int, source: str = "") -> Letter:
    """What is kept of something that is no event, or about nobody: the reason."""
    return Letter(misfit, "", "", 0, None, receipt.at_ms, _no_id(receipt, hash_key, index), {}, source=source)


def once_of(rule: EventRule, properties: Mapping[str, Any], hash_key: bytes) -> bytes:
    """What stands for a thing that happens once: its name as it is stored, so that it is the same when a letter is
    judged again."""
    if rule.once_per is None or (value := properties.get(rule.once_per)) is None:
        return b""
    return hash64(f"once\0{rule.id}", str(value), hash_key)


class _Judge:
    """One event on its way."""

    def __init__(
        self,
        arrived: Arrived,
        found: Found,
        rule: EventRule | None,
        receipt: Receipt,
        hash_key: bytes,
        index: int,
        link_lateness_ms: int,
    ) -> None:
        self._arrived, self._who, self._customer, self._rule = arrived, found.who, found.customer, rule
        self._previous_customer = found.previous_customer
        self._receipt, self._hash_key, self._index = receipt, hash_key, index
        self._link_lateness_ms = link_lateness_ms

    def judged(self, links: bool) -> Judged:
        arrived, rule, receipt = self._arrived, self._rule, self._receipt
        when = occurred_at_ms(arrived.at, arrived.sent_at, receipt.at_ms, arrived.zoned)
        if isinstance(when, Misfit):
            return Judged(self._letter(when, None))
        if receipt.at_ms - when > (self._link_lateness_ms if rule is None else rule.lateness_ms):
            return Judged(self._letter(Misfit(Misfits.TOO_OLD, "it is older than the bundle allows"), when))
        edges = self._edges() if links else ()
        if rule is None:
            # `identify` and `alias` say nothing else, and need no declaration.
            return Judged(self._collected("", 0, when, b"", {}, edges), links_alone=arrived.kind not in LINKING)
        told = _version(arrived.version)
        rule = rule.at(told)
        if rule is None:
            return Judged(self._letter(NO_SUCH_VERSION, when))
        try:
            kept = self._kept(rule)
        except Unfit as unfit:
            return Judged(self._letter(unfit.misfit, when))
        dropped = len(undeclared_names(rule, arrived.properties)) if len(arrived.properties) > len(kept) else 0
        once = once_of(rule, kept, self._hash_key)
        return Judged(self._collected(rule.id, rule.version, when, once, kept, edges), dropped)

    def _kept(self, rule: EventRule) -> dict[str, Scalar]:
        """The properties that are kept. Raises Unfit."""
        properties = self._given(rule)
        if len(properties) > PROPERTIES_MAX:
            raise Unfit(Misfits.TOO_LARGE, f"at most {PROPERTIES_MAX} properties")
        return fitting(rule, properties, self._hash_key)

    def _given(self, rule: EventRule) -> Mapping[str, Any]:
        """What came as properties, and the decision whose mail led to the page, where the bundle declares a property
        for it and the event does not name one itself."""
        given, landed = self._arrived.properties, self._arrived.landed
        name = next((each for each in PROPERTIES if each in rule.properties), None) if landed else None
        return given if name is None or any(given.get(each) for each in PROPERTIES) else {**given, name: landed}

    def _collected(
        self, kind: str, version: int, when: int, once: bytes, kept: Mapping[str, Any], edges: tuple[Edge, ...]
    ) -> Collected:
        return Collected(
            self._customer,
            kind,
            version,
            when,
            self._receipt.at_ms,
            self._message_id(),
            once,
            kept,
            edges,
            self._previous(),
            shown_source(self._arrived.source),
            bool(edges or self._who.previous) and self._known,
            self._previous_customer,
        )

    def _letter(self, misfit: Misfit, when: int | None) -> Letter:
        rule = self._rule
        kept, whole = ({}, False) if rule is None else masked(rule, self._given(rule), self._hash_key)
        return Letter(
            misfit,
            self._customer,
            "" if rule is None else rule.id,
            _version(self._arrived.version) or 0,
            when,
            self._receipt.at_ms,
            self._message_id(),
            kept,
            self._edges(),
            self._previous(),
            shown_source(self._arrived.source),
            whole,
            self._known,
            self._previous_customer,
        )

    @property
    def _known(self) -> bool:
        """Whether something was told together with a customer who was told by a key or a user id."""
        who = self._who
        links = bool(who.aliases or who.previous)
        return links and (isinstance(who.subject, str) or who.subject.kind == "user_id")

    def _edges(self) -> tuple[Edge, ...]:
        return tuple(edge(alias, self._hash_key) for alias in self._who.aliases)

    def _previous(self) -> tuple[Edge, ...]:
        return tuple(edge(alias, self._hash_key) for alias in self._who.previous)

    def _message_id(self) -> bytes:
        said = self._arrived.message_id
        if isinstance(said, int) and not isinstance(said, bool):
            said = str(said)
        if isinstance(said, str) and said:
            return hash64(f"message\0{self._receipt.sender}", said, self._hash_key)
        return _no_id(self._receipt, self._hash_key, self._index)


def _version(said: Any) -> int | None:
    """The version that a sender names; −1 is one that nothing has."""
    if said is None:
        return None
    text = str(said)
    return int(text) if text.isdecimal() and 0 < len(text) < 10 and not isinstance(said, bool) else -1


def _no_id(receipt: Receipt, hash_key: bytes, index: int) -> bytes:
    """Stands for the id of a message that has none: it is like no other, so it cannot be a repeat."""
    return hash64("receipt", f"{receipt.nonce.hex()}\0{index}", hash_key)
