"""Everything that can happen to a few customers, at once: many callers ask several servers, tell them what became of
messages, withdraw and grant again, switch things off and on, while commits are held up and lost. What was asked and
answered is kept as a `History`.

The choices follow from a seed. The interleaving does not: that is the machine's.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

from app.store.decisions import COMMIT
from tests.support.everything import (
    DEFERRED,
    EXPIRING,
    HELD,
    LIMITS,
    PAUSED,
    REGION,
    RIVALS,
    SCARCE,
    TRANSACTIONAL,
    TRIED,
    WAVE_S,
    WORDED,
    ZONE,
)
from tests.support.history import FOREVER, Asked, History, Merge, Off, Said, Span, Stop, Told
from tests.support.scripted import ProxyBeside, ScriptedProxy
from tests.support.server import CONSENTS, Answer, Client

#: What is asked for, the limited ones more often.
PLACEMENTS = (*LIMITS, *LIMITS, SCARCE, WORDED, TRIED, DEFERRED, TRANSACTIONAL)
SWITCHED = (("placement", "open"), ("message", "twice_a"), ("placement", "thrice"), ("message", "red_offer"))
#: What is told of a message in the end, and how often; `late`: long after, when a reservation may have expired.
STORIES: tuple[tuple[tuple[str, ...], float], ...] = (
    ((), 40),
    (("not_sent",), 16),
    (("dropped",), 6),
    (("sent",), 10),
    (("sent", "dropped"), 5),
    (("sent", "delivered", "clicked"), 4),
    (("not_sent", "sent"), 3),
    (("late", "sent"), 4),
    (("complained",), 1.5),
    (("unsubscribed",), 1.5),
)
STOPPING = ("complained", "unsubscribed")
SAID = {"source": "preference_centre", "basis": "consent"}
EVERY_SCOPE = ("email", "all")
BUDGET_MS = 1000
#: Some callers are in a hurry: their answer is given before a commit that waits in the network comes to the store.
BUDGETS_MS = (1000, 1000, 1000, 40)


@dataclass
class Storm:
    """The callers, and what they know."""

    clients: list[Client]
    customers: list[str]
    rng: random.Random
    proxy: ProxyBeside | None = None  # of the last server
    merge: Callable[[str, str], Awaitable[Any]] | None = None
    history: History = field(default_factory=History)
    bodies: dict[str, bytes] = field(default_factory=dict)  # decision → the answer that it came in
    repeats: dict[tuple[str, str], set[bytes]] = field(default_factory=dict)  # of each idempotency key
    lost: int = 0  # replies that never came
    switched: tuple[tuple[str, str], ...] = SWITCHED
    placements: tuple[str, ...] = PLACEMENTS
    budgets_ms: tuple[int, ...] = BUDGETS_MS
    _keys: dict[str, list[tuple[str, dict[str, Any], float]]] = field(default_factory=dict)
    _turns: dict[str, asyncio.Lock] = field(default_factory=dict)
    _until_s: float = 0.0

    # Single steps

    async def welcome(self) -> None:
        """All customers are known, and allow everything. What is named for the first time here is learnt by all
        servers within a moment, in which they suppress."""
        for customer in self.customers:
            body = {
                "attributes": {"visits": self.rng.randint(0, 9)}, "region": REGION, "timezone": ZONE,
                "consent": [*CONSENTS, {**CONSENTS[0], "channel": "sms"}],
            }  # fmt: skip
            begun = time.time()
            await self._write("PUT", f"/v1/customers/{customer}", body)
            self.history.said.append(Said(customer, True, Span(begun, time.time())))

    async def ask(self, customer: str, placements: tuple[str, ...], server: int, **more: Any) -> list[dict[str, Any]]:
        """Ask once; nothing where the server was too busy."""
        body = {"customer": customer, "placements": list(placements), "explain": True, "budget_ms": BUDGET_MS}
        return await self._ask(body | more, server, None, time.time())

    async def _ask(
        self, body: dict[str, Any], server: int, key: str | None, first_asked_s: float
    ) -> list[dict[str, Any]]:
        headers = {} if key is None else {"idempotency-key": key}
        answer = await self.clients[server].ask("POST", "/v1/decide", body, headers)
        return self._answered(answer, body, server, key, first_asked_s)

    def _answered(
        self, answer: Answer, body: dict[str, Any], server: int, key: str | None, first_asked_s: float
    ) -> list[dict[str, Any]]:
        ended = time.time()
        if answer.status == 503:
            return []
        assert answer.status == 200, answer.body
        decisions = answer.json()["decisions"]
        at = Span(first_asked_s, ended)
        asked = Asked(body["customer"], tuple(body["placements"]), server, at, tuple(decisions), key)
        self.history.asked.append(asked)
        self.bodies.update((each["decision_id"], answer.body) for each in decisions)
        if key is not None and _is_kept(decisions):
            self.repeats.setdefault((body["customer"], key), set()).add(answer.body)
        return list(decisions)

    async def tell(self, decision_id: str, what: str, event_id: str | None = None) -> None:
        begun = time.time()
        body = {"type": what} | ({} if event_id is None else {"event_id": event_id})
        answer = await self._write("POST", f"/v1/decisions/{decision_id}/outcomes", body)
        happened_s = datetime.fromisoformat(answer.json()["at"]).timestamp()
        self.history.told.append(Told(decision_id, what, Span(begun, time.time()), happened_s))

    async def say(self, customer: str, granted: bool, for_s: float | None = None) -> None:
        """Until it is in force: what was said within the same millisecond as a refusal is not."""
        path, body = f"/v1/customers/{customer}/consent/marketing/email", {"state": "granted" if granted else "denied"}
        while True:
            begun, expires_s = time.time(), FOREVER
            if for_s is not None:
                expires_s = round(begun + for_s, 3)
                body["expires_at"] = datetime.fromtimestamp(expires_s, UTC).isoformat()
            answer = await self._any.ask("PUT", path, body | SAID)
            if answer.status == 200 and answer.json()["applied"]:
                self.history.said.append(Said(customer, granted, Span(begun, time.time()), expires_s))
                return
            # A merge is in the way; or it took so long that the grant would have ended already.
            assert answer.status in (200, 503) or (answer.status == 422 and time.time() > expires_s), answer.body
            await asyncio.sleep(0.01)

    async def stop(self, customer: str) -> None:
        begun = time.time()
        await self._write("PUT", f"/v1/customers/{customer}/suppressions/email", {"reason": "manual", "source": "desk"})
        self.history.stops.append(Stop(customer, Span(begun, time.time())))

    async def lift(self, customer: str) -> None:
        begun = time.time()
        for scope in EVERY_SCOPE:
            await self._write("DELETE", f"/v1/customers/{customer}/suppressions/{scope}")
        whose = self.history.winner_of(customer)
        for stop in self.history.stops:
            if self.history.winner_of(stop.customer) == whose and stop.lifted_at.end == FOREVER:
                stop.lifted_at = Span(begun, time.time())

    async def off(self, kind: str, name: str) -> Off:
        server = self.rng.randrange(len(self.clients))
        begun, body = time.time(), {"state": "off", "by": "crm_oncall", "why": "a drill"}
        answer = await self.clients[server].ask("PUT", f"/v1/switches/{kind}/{name}", body)
        assert answer.status == 200, answer.body
        off = Off(kind, name, server, Span(begun, time.time()))
        self.history.switches.append(off)
        return off

    async def on(self, off: Off) -> None:
        begun = time.time()
        await self._write(
            "PUT", f"/v1/switches/{off.kind}/{off.name}", {"state": "on", "by": "crm_oncall", "why": "over"}
        )
        off.on_at = Span(begun, time.time())

    async def join(self, loser: str, winner: str) -> None:
        assert self.merge is not None
        begun = time.time()
        await self.merge(loser, winner)
        self.history.merges.append(Merge(loser, winner, Span(begun, time.time())))

    @property
    def _any(self) -> Client:
        """What is said is said to a server whose way to the store is never disturbed."""
        return self.rng.choice(self.clients[: len(self.clients) if self.proxy is None else -1])

    async def _write(self, method: str, path: str, body: Any = None) -> Answer:
        """Say something; again where a merge is in the way."""
        while True:
            answer = await self._any.ask(method, path, body)
            if answer.status == 200:
                return answer
            assert answer.status == 503, answer.body
            await asyncio.sleep(0.02)

    # All of it at once

    async def rage(self, seconds: float, askers: int) -> None:
        """Everything at once, for a while."""
        self._until_s = time.time() + seconds
        async with asyncio.timeout(seconds + 60), asyncio.TaskGroup() as group:
            for _ in range(askers):
                group.create_task(self._keep_asking(group, self._own_chance()))
            for customer in self.customers:
                group.create_task(self._change_mind(customer, self._own_chance()))
            group.create_task(self._switch(self._own_chance()))
            group.create_task(self._rush(self._own_chance()))
            if self.proxy is not None:
                group.create_task(self._disturb(self.proxy, self._own_chance()))
            if self.merge is not None:
                group.create_task(self._merge(self._own_chance()))
        if self.proxy is not None:
            self.proxy.heal()

    def _own_chance(self) -> random.Random:
        return random.Random(self.rng.getrandbits(64))

    @property
    def _going(self) -> bool:
        return time.time() < self._until_s

    async def rest(self, seconds: float) -> None:
        """Between two things that are said."""
        await asyncio.sleep(seconds)

    async def _keep_asking(self, group: asyncio.TaskGroup, rng: random.Random) -> None:
        while self._going:
            decisions = await self._ask_something(rng)
            if not decisions:
                await asyncio.sleep(rng.uniform(0, 0.02))
            for each in decisions:
                # A receipt that was sent without the store is logged when it is back: nothing can be told of it before.
                if each["action"] == "send" and "facts_unavailable" not in each["degraded"]:
                    group.create_task(self._tell_story(each, rng))

    async def _ask_something(self, rng: random.Random) -> list[dict[str, Any]]:
        server, customer = rng.randrange(len(self.clients)), rng.choice(self.customers)
        used = self._keys.setdefault(customer, [])
        if used and rng.random() < 0.15:
            key, body, first_s = rng.choice(used[-4:])
            return await self._ask(body, server, key, first_s)
        placements = tuple(dict.fromkeys(rng.choices(self.placements, k=rng.randint(1, 3))))
        if rng.random() > 0.3:
            more = {"context": {"trigger": rng.choice(["none", "browse"])}, "budget_ms": rng.choice(self.budgets_ms)}
            return await self.ask(customer, placements, server, **more)
        body = {"customer": customer, "placements": list(placements), "explain": True}
        body["budget_ms"] = self.budgets_ms[0]
        used.append((f"key-{rng.getrandbits(40):x}", body, time.time()))
        return await self._ask(body, server, used[-1][0], used[-1][2])

    async def _tell_story(self, decision: dict[str, Any], rng: random.Random) -> None:
        decision_id, placement = decision["decision_id"], decision["placement"]
        stories, weights = zip(*STORIES, strict=True)
        (story,) = rng.choices(stories, weights)
        if placement == PAUSED and rng.random() < 0.3:
            story = ("sent", "converted")
        if not self._first_to_tell(decision_id):
            return
        for what in story:
            if what == "late":
                await asyncio.sleep(rng.uniform(0, 2 * WAVE_S) if placement == EXPIRING else 0)
                continue
            await asyncio.sleep(rng.choice([0, 0, rng.uniform(0, 0.3)]))
            event_id = f"evt-{rng.getrandbits(40):x}" if rng.random() < 0.2 else None
            for _ in range(1 if event_id is None else 2):
                await self._tell(decision_id, what, event_id)

    def _first_to_tell(self, decision_id: str) -> bool:
        """Of the callers that got the same answer under one key, one tells."""
        same = (each for asked in self.history.asked for each in asked.decisions if each["decision_id"] == decision_id)
        return len(list(same)) == 1

    async def _tell(self, decision_id: str, what: str, event_id: str | None) -> None:
        if what not in STOPPING:
            await self.tell(decision_id, what, event_id)
            return
        customer = next(a.customer for a in self.history.asked for d in a.decisions if d["decision_id"] == decision_id)
        async with self._turn(customer):
            await self.tell(decision_id, what, event_id)
            if not any(told.decision_id == decision_id and told.what == what for told in self.history.told[:-1]):
                self.history.stops.append(Stop(customer, self.history.told[-1].at))

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Who becomes whom, where customers are merged: half of them are left alone."""
        return list(zip(self.customers[::4], self.customers[1::4], strict=False))

    def _turn(self, customer: str) -> asyncio.Lock:
        """What is said about a customer, and about who becomes it, is said one after the other."""
        whose = next((winner for loser, winner in self.pairs if loser == customer), customer)
        return self._turns.setdefault(whose, asyncio.Lock())

    async def _rush(self, rng: random.Random) -> None:
        """What is there for few is wanted by all at once."""
        while self._going:
            await self.rest(rng.uniform(0.2, 0.8))
            wanted = [(customer, server) for customer in self.customers for server in range(len(self.clients))]
            await asyncio.gather(*(self.ask(customer, (SCARCE,), server) for customer, server in wanted))

    async def _change_mind(self, customer: str, rng: random.Random) -> None:
        while self._going:
            await self.rest(rng.uniform(0.1, 0.8))
            async with self._turn(customer):
                what = rng.random()
                if what < 0.35:
                    await self.say(customer, granted=False)
                elif what < 0.55:
                    await self.say(customer, granted=True, for_s=rng.uniform(0.05, 0.3))
                elif what < 0.9:
                    await self.stop(customer)
            await self.rest(rng.uniform(0, 0.5))
            async with self._turn(customer):
                await self.say(customer, granted=True)
                await self.lift(customer)

    async def _switch(self, rng: random.Random) -> None:
        while self._going:
            off = await self.off(*rng.choice(self.switched))
            await self.rest(rng.uniform(0.9, 1.8))
            await self.on(off)
            await self.rest(rng.uniform(0, 1.0))

    async def _disturb(self, proxy: ProxyBeside, rng: random.Random) -> None:
        """A commit waits in the network, and again, so that much can happen between a decision and its commit; now and
        then its reply is lost with the connection."""
        for number in count():
            await asyncio.sleep(rng.uniform(0.02, 0.1))
            if not self._going:
                return
            if number % 8 == 0:
                proxy.do(lambda faulty: faulty.when(COMMIT.sha, lambda: self._lose(faulty)))
            elif rng.random() < 0.5:
                await self._say_no_meanwhile(proxy, rng)
            else:
                hold = proxy.hold(COMMIT.sha)
                await asyncio.sleep(rng.uniform(0.02, 0.1))
                hold.release()

    async def _say_no_meanwhile(self, proxy: ProxyBeside, rng: random.Random) -> None:
        """A customer says no while a decision about them is made, and whatever is decided waits for its commit."""
        customer, by_stopping = rng.choice(self.customers), rng.random() < 0.5
        async with self._turn(customer):
            await self.say(customer, granted=True)
            await self.lift(customer)
            asking = asyncio.create_task(self.ask(customer, (WORDED, rng.choice(tuple(LIMITS))), len(self.clients) - 1))
            await asyncio.sleep(rng.uniform(0, 0.003))
            hold = proxy.hold(COMMIT.sha)
            await asyncio.sleep(0.01)
            await (self.stop(customer) if by_stopping else self.say(customer, granted=False))
            await asyncio.sleep(0.002)
            hold.release()
            await asking

    def _lose(self, faulty: ScriptedProxy) -> None:
        self.lost += 1
        faulty.cut_after(0)

    async def _merge(self, rng: random.Random) -> None:
        """One pair after the other becomes one."""
        pairs = [pair for pair in self.pairs if self.history.winner_of(pair[0]) == pair[0]]
        wait_s = (self._until_s - time.time()) / (len(pairs) + 1)
        for loser, winner in pairs:
            await asyncio.sleep(rng.uniform(0.5, 1.0) * wait_s)
            async with self._turn(winner):
                await self.join(loser, winner)

    # Quiet again

    async def calm(self) -> None:
        """Everything is allowed and on again."""
        for off in self.history.switches:
            if off.on_at.end == FOREVER:
                await self.on(off)
        for customer in self.customers:
            await self.say(customer, granted=True)
            await self.lift(customer)

    async def use_up(self, within_s: float = 25.0) -> list[str]:
        """Ask until nothing is left, and again while reservations expire and lost commits are taken back. Gives the
        limits that could not be used up."""
        give_up_at = time.time() + within_s
        while True:
            for customer in self.customers:
                await self._ask_for_all(customer)
            short = self.short()
            if not short or time.time() > give_up_at:
                return short
            await asyncio.sleep(0.1)

    async def _ask_for_all(self, customer: str) -> None:
        left = list(LIMITS)
        while left:
            wanted = tuple(left[:4])
            decisions = await self.ask(customer, wanted, self.rng.randrange(len(self.clients)))
            for each in decisions:
                if each["action"] != "send" and not each["retryable"]:
                    left.remove(each["placement"])

    def short(self) -> list[str]:
        """Limits of which a customer surely has less than they allow, though all was asked for."""
        now_s, have = time.time(), Counter[tuple[str, str]]()
        for each in self.history.contacts():
            if each.surely_at(now_s):
                owner = self.history.winner_of(each.customer)
                have[owner, each.placement] += 1
        held_out = {a.customer for a in self.history.asked for d in a.decisions if d["reason"] == "holdout"}
        missing = []
        for owner in sorted({self.history.winner_of(each) for each in self.customers}):
            for placement, most in LIMITS.items():
                got = have[owner, placement]
                rival = placement in RIVALS and any(have[owner, each] for each in RIVALS if each != placement)
                if got < most and not rival and not (placement == HELD and owner in held_out):
                    missing.append(f"{owner} has {got} of {most} in `{placement}`")
        return missing


def _is_kept(decisions: list[dict[str, Any]]) -> bool:
    """Whether a repeat of the idempotency key must get the same bytes: not where asking again may help, nor where a
    receipt was sent without the store (docs/adr/0004)."""
    if any("facts_unavailable" in each["degraded"] for each in decisions):
        return False
    return any(each["action"] == "send" for each in decisions) or not any(each["retryable"] for each in decisions)
