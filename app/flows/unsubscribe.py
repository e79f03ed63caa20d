"""What a recipient says of the messages that they get: withdrawn or granted, purpose by purpose.

A withdrawal is a denied consent, written as every other one: acknowledged once the store has applied it, from when on
it wins over every decision that is not committed (G3). It is also told to the loop, as what became of the mail that the
link was in: an unsubscription that stops no channel, since the purpose is narrower than that, and that the decision's
reward is charged with.

Fails closed. Nothing stands between a link that is ours and its withdrawal: not a customer who is unknown, erased or
merged, and no record that is gone. Consent comes first; where the store fails after it, the caller is told to repeat
all of it, which is harmless.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Literal

from app.core.customers import ConsentChange, CustomerWrite
from app.core.decision.ids import parse_id, unpack_id
from app.core.heard import Heard
from app.core.outcomes import OF_PURPOSE, Outcome
from app.core.preferences import Preferences, of_nobody, preferences
from app.core.unsubscribe import Link
from app.errors import Problem
from policy.bundle import Bundle
from policy.codes import OutcomeType

if TYPE_CHECKING:  # handed in by whoever answers requests
    from app.store.customer_reads import CustomerReader
    from app.store.customers import CustomerStore

#: Where a consent was said, as histories show it: by the mailbox provider's button, or on our own page.
Source = Literal["one_click", "unsubscribe_page"]
#: Who is named in histories: nobody else holds the link.
RECIPIENT = "recipient"
BASIS = "consent"


class Unsubscriptions:
    """Takes what recipients say. Raises Problem: `store_unavailable`, `durability_unmet`; repeating is harmless."""

    def __init__(
        self,
        bundle: Bundle,
        reader: CustomerReader,
        store: CustomerStore,
        tell: Callable[[Heard, Source], Awaitable[None]],
    ) -> None:
        """`tell` hands an outcome to the loop, and returns when all that follows from it is applied."""
        self._bundle = bundle
        self._reader = reader
        self._store = store
        self._tell = tell

    async def preferences(self, link: Link) -> Preferences:
        """What can be chosen, and how it stands."""
        try:
            known = await self._reader.read(link.customer)
        except Problem as problem:
            if problem.code in ("unknown_customer", "erased"):
                return of_nobody(self._bundle, link.purpose, link.channel, problem.code == "erased")
            raise
        profile = known.profile
        stops = [stop for stop, _ in profile.suppressions]
        return preferences(
            self._bundle, link.purpose, link.channel, profile.consent, stops, profile.region, known.now_ms
        )

    async def withdraw(self, link: Link, purposes: Sequence[str], source: Source) -> None:
        """No more for `purposes` on the link's channel. What is withdrawn already is not written again: repeats would
        push everything else out of the history."""
        refused = await self._refused(link)
        await self._say(link, [each for each in purposes if each not in refused], "denied", source)
        # Also of a repeat: whoever said it first may have got no further than the consent. The loop knows it by its id.
        if link.purpose in purposes and (decision := parse_id(unpack_id(link.decision))) is not None:
            outcome = Outcome(OutcomeType.UNSUBSCRIBED, event_id=f"unsubscribe:{decision}", scope=OF_PURPOSE)
            await self._tell(Heard(outcome, decision, customer=link.customer, channel=link.channel), source)

    async def grant(self, link: Link, purposes: Sequence[str], source: Source) -> None:
        """`purposes` may be served on the link's channel again, from now on. Not of who is unknown: an old link brings
        nobody back who was erased."""
        if (await self.preferences(link)).known:
            await self._say(link, purposes, "granted", source)

    async def _refused(self, link: Link) -> frozenset[str]:
        """What is withdrawn on the link's channel, as far as that can be read: a profile that cannot be is no reason to
        keep a withdrawal out of it."""
        try:
            return (await self.preferences(link)).refused
        except Problem:
            return frozenset()

    async def _say(
        self, link: Link, purposes: Sequence[str], state: Literal["granted", "denied"], source: Source
    ) -> None:
        if not purposes:
            return
        changes = tuple(ConsentChange(each, link.channel, state, source, BASIS, None) for each in purposes)
        why = f"by the link in the mail of {unpack_id(link.decision)}"
        await self._store.write(CustomerWrite(link.customer, consents=changes, why=why))
