"""The door with nothing behind it: the real route and the real flow, a taker that remembers, and no store."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import httpx
from fastapi import FastAPI

from app.core.heard import Heard, Take, Taken
from app.core.webhooks.provider import Ticket, Trust
from app.core.webhooks.puzzles import Puzzle
from app.core.webhooks.registry import NAMES
from app.errors import Problem
from app.flows.room import Room
from app.flows.take_webhooks import WebhookTaker
from app.http import problems, webhooks
from app.http.auth import Authenticator
from app.store.outcomes import Told
from tests.support.webhooks import Sample, secret_of

LIMIT_BYTES = 256 * 1024


class Remembers:
    """Takes everything once."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.down = False
        self._known: set[tuple[Any, ...]] = set()

    async def take(self, heard: Sequence[Heard], told: Told) -> list[Taken]:
        assert told.source.startswith("webhook:")
        if self.down:
            raise Problem("store_unavailable", "the store failed", retry_after_s=1)
        self.heard += heard
        return [self._taken(each) for each in heard]

    def _taken(self, heard: Heard) -> Taken:
        known = (heard.outcome.fingerprint(), heard.recipient)
        status = Take.DUPLICATE if known in self._known else Take.ACCEPTED
        self._known.add(known)
        return Taken(status, at_ms=heard.outcome.at_ms or 0, machine=heard.outcome.machine)


class Kept:
    """What the door itself keeps."""

    def __init__(self) -> None:
        self.puzzles: list[Puzzle] = []
        self._tickets: dict[str, bytes] = {}

    async def first_use(self, provider: str, ticket: Ticket) -> bool:
        return self._tickets.setdefault(f"{provider}:{ticket.token}", ticket.said) == ticket.said

    async def keep(self, provider: str, puzzles: Sequence[Puzzle]) -> None:
        self.puzzles += puzzles


class Door:
    """Speak to it as providers do."""

    def __init__(self, trusted: Mapping[str, Trust] | None = None, authenticator: Authenticator | None = None) -> None:
        """`trusted`: instead of what the samples are signed with."""
        self.taker, self.store, self.has_room = Remembers(), Kept(), True
        self.counts: Counter[tuple[str, str]] = Counter()
        self.problems: Counter[str] = Counter()
        self.happened: dict[str, list[int]] = {}  # when what was taken happened, by provider
        self.certificate: bytes = b""
        samples = {name: sample_of(name) for name in NAMES}
        taker = WebhookTaker(
            {name: sample.trust for name, sample in samples.items()} | dict(trusted or {}),
            self.taker,
            self.store,
            SimpleNamespace(of=self._certificate, visit=self._visited),
            Room(lambda _: self.has_room, lambda: 0),
            lambda address: "gmail" if address.endswith("@gmail.com") else "other",
            lambda provider: Told(f"webhook:{provider}", "webhook"),
            lambda provider, result, n: self.counts.update({(provider, result): n}),
            lambda provider, times_ms: self.happened.setdefault(provider, []).extend(times_ms),
        )
        self._services = SimpleNamespace(
            webhooks=taker,
            webhook_urls={name: sample.url for name, sample in samples.items()},
            hash_key=b"k" * 32,
            settings=SimpleNamespace(webhook_body_limit_bytes=LIMIT_BYTES),
            authenticator=authenticator or Authenticator(None),
            metrics=SimpleNamespace(count=lambda *what: self.problems.update([what[-1]])),
        )
        self._app = _application()
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(self._app), base_url="http://testserver")
        self.visited: list[str] = []

    async def _certificate(self, url: str) -> bytes:
        return self.certificate

    async def _visited(self, url: str) -> None:
        self.visited.append(url)

    async def post(
        self, provider: str, body: bytes, headers: Mapping[str, str] | None = None, query: str = ""
    ) -> httpx.Response:
        """As it is: nothing is signed."""
        self._app.state.services = self._services
        raw = [(name.encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
        self.certificate = sample_of(provider).certificate or b""
        return await self._client.post(f"/v1/webhooks/{provider}{query}", content=body, headers=raw)

    async def send(
        self,
        provider: str,
        body: bytes | None = None,
        secret: str | None = None,
        now_s: float | None = None,
        query: str = "",
        changed: Callable[[bytes], bytes] = lambda body: body,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """As the provider does, with the sample's body and secret where nothing else is said; `changed` comes after
        signing."""
        sample, now_s = sample_of(provider), time.time() if now_s is None else now_s
        secret = secret_of(sample) if secret is None else secret
        body, proof = proven(provider, sample.body if body is None else body, secret, now_s)
        return await self.post(provider, changed(body), proof | dict(headers or {}), query)

    async def ask(self, method: str, path: str) -> httpx.Response:
        self._app.state.services = self._services
        return await self._client.request(method, path)


@cache
def _application() -> FastAPI:
    """One for all doors: each puts its own services behind it before it asks."""
    app = FastAPI()
    problems.install(app, lambda _: None)
    app.include_router(webhooks.router)
    return app


def proven(provider: str, body: bytes, secret: str, now_s: float) -> tuple[bytes, dict[str, str]]:
    """A body and the headers that prove it, as the provider makes them."""
    support = _support(provider)
    if hasattr(support, "signed_body"):
        body = support.signed_body(body, secret, now_s)
    return body, support.signed(body, secret, now_s)


def sample_of(provider: str) -> Sample:
    sample: Sample = _support(provider).SAMPLE
    return sample


def _support(provider: str) -> Any:
    return import_module(f"tests.support.webhooks.{provider}")
