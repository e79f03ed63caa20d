"""What was sent, and what happened to it, on a real store without a server: one customer, a bundle with a limit of one,
pauses after clicks and purchases, and variants that are compared."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from app.core.decision.commit import Committed, Intent, NewContact, Outcome, Reading
from app.core.decision.ids import DecisionId, id_at, pack_id, parse_id
from app.core.decision.ledger import new_contact
from app.core.decision.record import base_of_record
from app.core.heard import Heard, Take
from app.core.outcomes import Outcome as Happened
from app.errors import Problem
from app.flows.take_outcomes import OutcomeTaker
from app.outcome_taking import outcome_taker
from app.store.bundles import BundleArchive
from app.store.clients import open_client
from app.store.decisions import DecisionStore
from app.store.fields import FieldRegistry, names_of
from app.store.keys import Keys
from app.store.ledger import kind_names
from app.store.outcomes import OutcomeStore, Told
from policy.bundle import Bundle
from policy.codes import OutcomeType
from policy.compile import load
from policy.facts import Contact, Facts
from tests.support.deciding import decide, facts_of
from tests.support.link import linked, soon

CUSTOMER = "cus_1"  # of `tests.support.deciding`
KEYS = Keys(1)
HASH_KEY = b"a key for tests"
FILES = {
    "bundle": "{name: outcomes, owner: growth, currency: USD}",
    "consent": "purposes: [marketing]\nregions: {default: {contact: opt_in, personalisation: opt_in}}",
    "placements": """placements:
  - {id: once, channel: email, purpose: marketing, default: only, explore: {method: thompson}}
  - {id: open, channel: push, purpose: marketing, default: any, budget_ms: 40}
  - {id: receipt, channel: email, class: transactional, default: thanks}""",
    "messages": """messages:
  - {id: only, version: 4, placements: [once], category: red, campaign: spring, variants: [{id: a}]}
  - {id: any, placements: [open], category: blue}
  - {id: thanks, placements: [receipt]}""",
    "limits": """limits: [{id: one, match: {placement: once}, at_most: 1, window: {rolling: 7d}}]
cooldowns:
  - {id: after_click, after: clicked, match: {placement: once}, for: 1d}
  - {id: after_purchase, after: converted, for: 3d}""",
}


def compiled(files: Mapping[str, str]) -> Bundle:
    """The bundle of files, by their names without ending."""
    with TemporaryDirectory() as folder:
        for name, text in files.items():
            (Path(folder) / f"{name}.yaml").write_text(text)
        return load(Path(folder))


@cache
def bundle() -> Bundle:
    return compiled(FILES)


class Recorded(NamedTuple):
    """An acknowledged outcome. `duplicate`: it was known, and nothing was changed."""

    at_ms: int
    duplicate: bool
    effects: tuple[str, ...]


class Desk:
    """Decides, commits and tells outcomes about one customer, under the bundle of this file or another one."""

    def __init__(
        self, client: Any, decisions: DecisionStore, fields: FieldRegistry, under: Bundle | None = None
    ) -> None:
        self.bundle = bundle() if under is None else under
        self.client = client
        self.decisions = decisions
        self.fields = fields
        self.link = decisions._link
        self.store = OutcomeStore(decisions._link, KEYS, fields, self.bundle, 10**6)
        self.store.hash_key = HASH_KEY
        bundles = BundleArchive(client, self.bundle)
        self.taker = outcome_taker(self.store, self.bundle, client, KEYS, fields, bundles)
        self.keys = KEYS.of(CUSTOMER)
        self._seeds = iter(range(1, 1_000_000))

    async def now_ms(self) -> int:
        seconds, micros = await self.client.time()
        return int(seconds) * 1000 + int(micros) // 1000

    async def facts(self) -> Facts:
        """As the next decision reads them."""
        reading = await self.decisions.read(CUSTOMER, None, soon())
        assert isinstance(reading, Reading), reading
        return reading.facts

    async def contacts(self) -> tuple[Contact, ...]:
        return (await self.facts()).contacts

    def intent(self, placement: str, now_ms: int, facts: Facts | None = None) -> tuple[Intent, DecisionId]:
        """What a decision commits; with `facts`, only if they have not moved. It must be a `send`."""
        known = facts_of(now_ms=now_ms) if facts is None else facts
        made = decide(self.bundle, known, [placement], seed=next(self._seeds))
        base = base_of_record(made.record)
        new = new_contact(made.first, base, 0, self.decisions.kind_of)
        contacts: tuple[NewContact, ...] = () if new is None else (new,)
        general, ledger = (None, None) if facts is None else (facts.general_version, facts.ledger_version)
        intent = Intent(CUSTOMER, base, general, ledger, 2**50, made.record, contacts, None, b"", None)
        found = parse_id(id_at(base, 0))
        assert found is not None
        return intent, found

    async def commit(self, intent: Intent) -> Outcome:
        return await self.decisions.commit(intent, soon())

    async def send(self, placement: str = "once", ago_ms: int = 60_000) -> DecisionId:
        """A `send` that was decided and committed a minute ago."""
        intent, decision = self.intent(placement, await self.now_ms() - ago_ms)
        assert intent.contacts
        assert isinstance(await self.commit(intent), Committed)
        return decision

    async def take_back(self, intent: Intent) -> bytes:
        """As is done with a commit of unknown fate whose answer was `suppress`, once `commit_by` has passed."""
        done = await self.decisions.release(intent, soon())
        while isinstance(done, int):
            await asyncio.sleep(done / 1000)
            done = await self.decisions.release(intent, soon())
        assert isinstance(done, bytes)
        return done

    async def suppressions(self) -> dict[str, str]:
        """Scope → reason."""
        return {each.scope: each.reason.value for each in (await self.facts()).suppressions}

    async def history(self) -> list[str]:
        """Its changes, oldest first, without their times."""
        entries = await self.client.lrange(KEYS.history(CUSTOMER), 0, -1)
        return [re.sub(r"\d{13}", "…", entry.decode().split(" ", 2)[2]) for entry in entries]

    async def tell(self, decision: DecisionId, what: str, at_ms: int | None = None, **more: Any) -> Recorded:
        """As a caller does. Raises Problem for what is rejected."""
        return await tell(self.taker, decision, Happened(OutcomeType(what), at_ms, **more))

    async def profile(self) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = await self.client.hgetall(self.keys.profile)
        return found

    async def earned(self) -> dict[str, int]:
        """The counters of variants that are not 0."""
        counted = await self.client.hgetall(KEYS.variants(0))
        return {name.decode(): int(number) for name, number in counted.items() if int(number)}

    async def member(self, decision: DecisionId) -> tuple[bytes, int] | None:
        """What the ledger holds of a decision, behind its id, and its time."""
        entries = await self.client.zrange(self.keys.ledger, 0, -1, withscores=True)
        packed = pack_id(str(decision))
        found = [(member[14:], int(score)) for member, score in entries if member.startswith(packed)]
        assert len(found) < 2
        return found[0] if found else None

    async def forget(self) -> None:
        """Everything about customers, as if nothing had happened yet."""
        names = [name async for name in self.client.scan_iter(b"{s*", count=1000)]
        if names:
            await self.client.delete(*names)


async def tell(taker: OutcomeTaker, decision: DecisionId, outcome: Happened) -> Recorded:
    """Tell one outcome of a decision. Raises Problem for what is rejected."""
    (taken,) = await taker.take([Heard(outcome, decision)], Told("outcome", "esp"))
    if taken.status is Take.REJECTED:
        raise Problem(taken.code, taken.detail)
    return Recorded(taken.at_ms, taken.status is Take.DUPLICATE, taken.effects)


@asynccontextmanager
async def desk_on(url: str) -> AsyncIterator[Desk]:
    async with open_client(url) as client, linked(url) as link:
        fields = FieldRegistry(client)
        await fields.ensure([*names_of(bundle()), *kind_names(bundle()), "s:outcome", "w:esp"])
        yield Desk(client, DecisionStore(link, KEYS, fields, bundle(), 10**6, strict=False), fields)
