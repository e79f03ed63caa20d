"""The composition root: what a server process is made of, how it starts, and how it ends.

Nothing is opened at import. Everything is opened in the lifespan and closed in reverse. The store need not be there:
the server starts, reports not ready, and recovers by itself when the link connects.
"""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.types import ASGIApp, Receive, Scope, Send

from app.ground import RUNTIME_DIR
from app.http import (
    api_document,
    batch,
    customers,
    decide,
    decisions,
    deliverability,
    erasure,
    events,
    export,
    health,
    identities,
    metrics,
    outcomes,
    problems,
    segment,
    suppressions,
    switches,
    unsubscribe,
)
from app.http import bundle as bundle_route
from app.http import webhooks as webhooks_route
from app.http.auth import Authenticator, AuthMiddleware
from app.http.drain import Drain
from app.rate_limits import open_cells
from app.settings import Settings
from app.telemetry import log as logs
from app.telemetry import series
from app.version import product_version
from app.wiring import open_services

#: One of several workers does not listen before its link to the store is up; it starts without a store all the same.
STORE_WITHIN_S = 2.0


def create_app() -> FastAPI:
    """The application of one worker process; `nextbest serve` hands this factory to the HTTP server."""
    settings = Settings()
    logs.configure()
    app = FastAPIOffline(
        redoc_url=None,
        static_url="/docs/static",
        title="nextbest",
        version=product_version(),
        summary="The next best message for a customer, inside a latency budget, always with the reason.",
        lifespan=lifespan,
        # A redirect would repeat the caller's `Host`, and Segment's Node client takes a 3xx for delivered.
        redirect_slashes=False,
    )
    app.state.settings = settings
    app.state.drain = Drain()
    problems.install(app, partial(count_problem, app))
    routes = (
        decide, batch, decisions, outcomes, events, segment, customers, erasure, export, identities, suppressions,
        bundle_route, switches, unsubscribe, webhooks_route, deliverability, metrics, health,
    )  # fmt: skip
    for module in routes:
        app.include_router(module.router)
    api_document.complete(app)
    cells = open_cells(os.environ.get(RUNTIME_DIR), settings.workers)
    authenticator = app.state.authenticator = Authenticator(settings.keys_file, cells)
    app.add_middleware(AuthMiddleware, authenticator=authenticator, on_problem=partial(count_problem, app))
    return Application(app)  # type: ignore[return-value]  # an ASGI application, as the server wants it


def count_problem(app: FastAPI, code: str) -> None:
    """Counts a problem that leaves, by its code."""
    app.state.services.metrics.count(series.PROBLEMS, code)


class Application:
    """The application as the server calls it: decisions go straight to their endpoint, the rest through FastAPI."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    @property
    def drain(self) -> Drain:
        """Whether this process is on its way out."""
        drain: Drain = self._app.state.drain
        return drain

    @property
    def decide_endpoint(self) -> decide.DecideEndpoint | None:
        """Who decides, once everything is open."""
        endpoint: decide.DecideEndpoint | None = getattr(self._app.state, "decide_endpoint", None)
        return endpoint

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http" and scope["path"] == decide.PATH:
            endpoint: ASGIApp = self._app.state.decide_endpoint
            return endpoint(scope, receive, send)
        if scope["type"] == "http" and scope["method"] == "HEAD":
            # What can be read can be looked at (RFC 9110, 9.1): balancers probe so. The server leaves the body out.
            scope = {**scope, "method": "GET"}
        return self._app(scope, receive, send)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open everything, serve, and close it in reverse."""
    settings: Settings = app.state.settings
    async with AsyncExitStack() as stack:
        services = await open_services(settings, app.state.authenticator, stack)
        app.state.services = services
        app.state.decide_endpoint = decide.DecideEndpoint(services)
        stack.enter_context(app.state.drain.on_signals(settings.drain_s))
        if settings.workers > 1:  # what it is sent from its first moment on, no balancer's probe could hold back
            await services.link.wait_connected(STORE_WITHIN_S)
        gc.collect()
        gc.freeze()  # what lives as long as the process need not be walked again
        # A decision makes some hundred objects and no cycles: at the usual 700 the collector would run every third one.
        gc.set_threshold(20_000, 20, 50)
        yield
