"""The callers: a storm (`tests.support.storm`) that goes on whatever it is answered, and keeps all that it saw.

Callers who get no answer to a write say it again until it is taken, as a careful client does; what was said first may
have been in force since. Callers who get no answer to a question do not know what was decided: `unanswered`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from redis.exceptions import RedisError

from app.errors import Problem
from tests.chaos.bundle import RANKED, WELL
from tests.chaos.seen import NO_ANSWER, TROUBLE, Seen
from tests.support.everything import EXPIRING, TRANSACTIONAL
from tests.support.history import Asked, Merge, Off, Said, Span, Told
from tests.support.lateness import on_the_servers_clock_ms
from tests.support.server import Answer, Client
from tests.support.storm import PLACEMENTS, SAID, Storm

#: In every request where a text can be, and nowhere in what is written afterwards (G7).
CANARY = "zoe.quill@example.com"
#: Longer than any server takes for anything, also where it is not let run. Whoever gave up sooner could not say when
#: their write was done: perhaps after they, or somebody else, had said the contrary.
PATIENCE_S = 60.0
#: Half of the load that the callers could make: who waits for a turn of the machine measures the machine.
PAUSE_S = 0.02
MIX = (*PLACEMENTS, RANKED, RANKED, TRANSACTIONAL)
#: The first is that of requests with an idempotency key.
BUDGETS = (200, 100, 100, 40)
#: What customers are asked for who are pressed.
PRESSED = ("once", "twice", "open")
#: So many answers in a row, and for so long, say that all is well.
WELL_ANSWERS, WELL_S = 20, 0.3


class Lost(Exception):
    """No answer came: the connection ended, or nothing was said for too long."""


class Forgotten(Exception):
    """The store does not know a decision any more."""


class Caller(Client):
    """A client that says somebody's address wherever it can, and tells an answer that never came from one that did."""

    __slots__ = ()

    async def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        told = {"user-agent": CANARY, "x-forwarded-for": CANARY} | dict(headers or {})
        if "idempotency-key" in told:
            told["idempotency-key"] = f"{CANARY}-{told['idempotency-key']}"
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await super().ask(method, path, body, told)
        except (OSError, EOFError, TimeoutError) as error:
            raise Lost(type(error).__name__) from error


@dataclass
class Crowd(Storm):
    """Servers from `struck_from` on are those that a fault may strike alone; what is said is said to the first."""

    placements: tuple[str, ...] = MIX
    budgets_ms: tuple[int, ...] = BUDGETS
    struck_from: int = 1
    expiring: bool = True  # whether reservations that expire are waited for in the end
    seen: list[Seen] = field(default_factory=list)
    unanswered: list[Asked] = field(default_factory=list)
    #: From the last write that surely was on disk to the store's end, for each time that it crashed.
    losses: list[Span] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    #: Commits of unknown fate may stay: what a server had to take back was lost with its process, or must wait.
    never_settled: bool = False
    #: Grants may have to wait until the store's clock is again where it was.
    clock_set_back: bool = False
    #: Has the first become the second, and who that is to be while the fault lasts.
    alias: Callable[[str, str], Awaitable[object]] | None = None
    couples: list[tuple[str, str]] = field(default_factory=list)
    _over: asyncio.Event = field(default_factory=asyncio.Event)

    async def welcome(self) -> None:
        await super().welcome()
        for customer in self.customers:
            await self.feel(customer, WELL)

    async def feel(self, customer: str, mood: int) -> None:
        """What the model does when it ranks for this customer."""
        await self._write("PUT", f"/v1/customers/{customer}", {"attributes": {"mood": mood}})

    # As in a storm, whatever happens

    async def _ask(
        self, body: dict[str, Any], server: int, key: str | None, first_asked_s: float
    ) -> list[dict[str, Any]]:
        headers = {} if key is None else {"idempotency-key": key}
        begun = time.time()
        try:
            answer = await self.clients[server].ask("POST", "/v1/decide", body, headers)
        except Lost:
            self._saw(begun, server, body, None)
            at = Span(first_asked_s, time.time())
            self.unanswered.append(Asked(body["customer"], tuple(body["placements"]), server, at, (), key))
            return []
        self._saw(begun, server, body, answer)
        return self._answered(answer, body, server, key, first_asked_s)

    def _saw(self, begun: float, server: int, body: dict[str, Any], answer: Answer | None) -> None:
        caller_ms, budget_ms = (time.time() - begun) * 1000, float(body["budget_ms"])
        if answer is None:
            self.seen.append(Seen(begun, server, NO_ANSWER, "", (), frozenset(), budget_ms, caller_ms, None))
            return
        server_ms = on_the_servers_clock_ms(answer) if "server-timing" in answer.headers else None
        said: tuple[str, ...] = ()
        degraded, code = frozenset[str](), ""
        content = answer.json()
        if answer.status == 200:
            decisions = content["decisions"]
            said = tuple(f"{each['action']} `{each['reason']}` ({each['rung']})" for each in decisions)
            degraded = frozenset(what for each in decisions for what in each["degraded"])
        else:
            code = content["code"]
        took_ms = answer.seconds * 1000
        self.seen.append(Seen(begun, server, answer.status, code, said, degraded, budget_ms, took_ms, server_ms))

    async def _write(self, method: str, path: str, body: Any = None) -> Answer:
        """Say something until it is taken; or until it is known that nobody knows what it is about."""
        while True:
            with contextlib.suppress(Lost):
                answer = await self._any.ask(method, path, body)
                if answer.status in (200, 404):
                    return answer
                assert answer.status in (429, 503), answer.body
            await asyncio.sleep(0.02)

    @property
    def _any(self) -> Client:
        return self.clients[0]

    async def say(self, customer: str, granted: bool, for_s: float | None = None) -> None:
        """As in a storm, but for good: when a grant ends that may have been given twice, nobody could say."""
        begun = time.time()
        body = {"state": "granted" if granted else "denied"} | SAID
        path = f"/v1/customers/{customer}/consent/marketing/email"
        while not (answer := await self._write("PUT", path, body)).json()["applied"]:
            if granted and self.clock_set_back:
                return
            assert time.time() < begun + PATIENCE_S, f"what was said is not taken: {answer.body!r}"
            await asyncio.sleep(0.01)  # what was said within the same millisecond as a refusal is not
        self.history.said.append(Said(customer, granted, Span(begun, time.time())))

    async def tell(self, decision_id: str, what: str, event_id: str | None = None) -> None:
        begun = time.time()
        body = {"type": what} | ({} if event_id is None else {"event_id": event_id})
        answer = await self._write("POST", f"/v1/decisions/{decision_id}/outcomes", body)
        if answer.status == 404:
            self.forgotten.append(decision_id)
            raise Forgotten(decision_id)
        happened_s = datetime.fromisoformat(answer.json()["at"]).timestamp()
        self.history.told.append(Told(decision_id, what, Span(begun, time.time()), happened_s))

    async def _tell_story(self, decision: dict[str, Any], rng: random.Random) -> None:
        with contextlib.suppress(Forgotten):
            await super()._tell_story(decision, rng)

    async def off(self, kind: str, name: str) -> Off:
        begun = time.time()
        body = {"state": "off", "by": "crm_oncall", "why": "a drill"}
        await self._write("PUT", f"/v1/switches/{kind}/{name}", body)
        off = Off(kind, name, 0, Span(begun, time.time()))
        self.history.switches.append(off)
        return off

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return self.couples

    async def join(self, loser: str, winner: str) -> None:
        """Whoever dies in the middle of it begins anew: every step is harmless to repeat."""
        assert self.alias is not None
        begun = time.time()
        while True:
            with contextlib.suppress(Problem, RedisError, OSError):
                await self.alias(loser, winner)
                break
            await asyncio.sleep(0.05)
        self.history.merges.append(Merge(loser, winner, Span(begun, time.time())))

    async def become_one(self, seconds: float) -> None:
        """One pair after the other, over so many seconds."""
        for loser, winner in self.couples:
            async with self._turn(winner):
                await self.join(loser, winner)
            await asyncio.sleep(seconds / len(self.couples))

    async def _ask_something(self, rng: random.Random) -> list[dict[str, Any]]:
        await asyncio.sleep(rng.uniform(0, 2 * PAUSE_S))
        return await super()._ask_something(rng)

    # All at once

    async def press(self, customers: list[str]) -> None:
        """Customers of whom nobody asked so far. Some are asked for at both servers at once; others say no while they
        are asked for: whatever slows a server down, this is what falls between its reading and its commit."""
        self.customers.extend(customers)
        await asyncio.gather(
            *(self._at_once(each) for each in customers[1::2]), *(self._meanwhile(each) for each in customers[::2])
        )

    async def _at_once(self, customer: str) -> None:
        await asyncio.gather(*(self.ask(customer, PRESSED, server, budget_ms=BUDGETS[0]) for server in (0, 1, 0, 1)))

    async def _meanwhile(self, customer: str) -> None:
        asking = self.ask(customer, PRESSED, self.struck_from, budget_ms=BUDGETS[0])
        await asyncio.gather(asking, self._say_no_soon(customer))
        await self.say(customer, granted=True)

    async def _say_no_soon(self, customer: str) -> None:
        await asyncio.sleep(self.rng.uniform(0, 0.005))
        await self.say(customer, granted=False)

    # Going on, and stopping

    def over(self) -> None:
        """No more questions; what has begun is finished."""
        self._until_s = time.time()
        self._over.set()

    async def rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()

    async def answered(self, requests: int, within_s: float = 20.0) -> None:
        """Wait for so many answers more."""
        enough, give_up_at = len(self.seen) + requests, time.monotonic() + within_s
        while len(self.seen) < enough:
            assert time.monotonic() < give_up_at, "nobody is answered any more"
            await asyncio.sleep(0.01)

    async def well_since(self, ended_s: float, symptoms: frozenset[str] = TROUBLE, within_s: float = 30.0) -> float:
        """Wait until all is well again. How long that took after the fault's end, in s."""
        give_up_at = time.monotonic() + within_s
        while True:
            bad_s = max((each.asked_s for each in self.seen if each.troubled(symptoms)), default=0.0)
            since = [each for each in self.seen if each.asked_s > max(bad_s, ended_s)]
            if len(since) >= WELL_ANSWERS and time.time() > max(bad_s, ended_s) + WELL_S:
                return max(0.0, bad_s - ended_s)
            assert time.monotonic() < give_up_at, f"it was not well again within {within_s:g} s"
            await asyncio.sleep(0.01)

    def short(self) -> list[str]:
        missing = super().short()
        return missing if self.expiring else [each for each in missing if f"`{EXPIRING}`" not in each]

    async def calm(self) -> None:
        """Everything is allowed and on again, also what the store forgot."""
        if self.losses:
            for off in self.history.switches:
                before = off.on_at
                await self.on(off)
                off.on_at = off.on_at._replace(start=min(off.on_at.start, before.start))
        await super().calm()
