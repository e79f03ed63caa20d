"""`nextbest serve`: from a command to a server that answers, and back.

The order is what matters here. The port is taken first (a taken one is the commonest mistake, and should cost nothing);
the embedded store starts while the heavy libraries are imported; the server drains before the store stops.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from app.children import Child, renew, running
from app.keys_file import KeysFileError, read
from app.settings import Durability, Settings

FACTORY = "app.main:create_app"
GRACE_S = 10  # the longest a request may still run after a stop was asked for: a batch stream is cut here

#: Seconds that an idle connection is kept. Whoever keeps connections open must close them first, or a request meets a
#: closing one: nginx keeps them for 60 s (`keepalive_timeout` of upstreams), and so does AWS's load balancer.
KEEP_ALIVE_S = 75


class CannotServe(Exception):
    """Why the server does not start, in words for the operator, with the remedy."""


#: How far what runs beside the server steps back where processors are short: decisions come first.
WORKER_NICENESS, ARCHIVE_NICENESS = 10, 15


def serve(settings: Settings, demo: bool = False) -> None:
    """Runs until SIGINT or SIGTERM. Raises `CannotServe`, with nothing left running."""
    _refuse_to_be_open(settings)
    _refuse_misspelt_webhooks(settings)
    with (
        _listening(settings) as (listener, url),
        tempfile.TemporaryDirectory(prefix="nextbest-") as runtime_dir,  # where the workers' metrics meet
        _store(settings) as store_url,
    ):
        _refuse_mistakes(settings.bundle)
        os.environ.update(settings.as_environment())
        if store_url is not None:
            os.environ["NEXTBEST_REDIS_URL"] = store_url
        os.environ["NEXTBEST_RUNTIME_DIR"] = runtime_dir
        if demo:
            from app.welcome import welcome

            threading.Thread(target=welcome, args=(url, settings.bundle), daemon=True).start()
        children = list(_children(settings))
        with running(*children):
            _run(settings, listener, children)


def _children(settings: Settings) -> Iterator[Child]:
    """What runs beside the server."""
    if settings.event_worker:
        yield Child("app.worker", WORKER_NICENESS)
    if settings.archive_address() is not None:
        yield Child("app.archive", ARCHIVE_NICENESS)


def _refuse_to_be_open(settings: Settings) -> None:
    """Fails closed: without keys, only this machine may talk to the server."""
    try:
        configured = settings.keys_file is not None and bool(read(settings.keys_file))
    except KeysFileError as error:
        raise CannotServe(str(error)) from error
    if not configured and not settings.listens_on_loopback():
        raise CannotServe(
            f"no keys are configured, and `{settings.host}` can be reached from other machines: make a key with "
            "`nextbest keys add --scope decide --file keys.jsonl`, set NEXTBEST_KEYS_FILE=keys.jsonl and start again, "
            "or listen on 127.0.0.1"
        )


def _refuse_misspelt_webhooks(settings: Settings) -> None:
    """A worker would only log it, and the provider's webhooks would be refused with nobody knowing why."""
    from app.sns_certificates import certificates_of
    from app.webhook_settings import read_webhook_settings

    try:
        read_webhook_settings(os.environ)
        certificates_of(os.environ, settings.listens_on_loopback())
    except ValueError as error:
        raise CannotServe(str(error)) from error


def _refuse_mistakes(bundle: Path) -> None:
    """All of a bundle's mistakes at once, for people: a worker would log the first thing that went wrong."""
    from policy.lint import lint
    from policy.reports import BundleError

    mistakes = lint(bundle).mistakes
    if mistakes:
        raise CannotServe(f"{bundle}: {BundleError(mistakes)}")


@contextmanager
def _listening(settings: Settings) -> Iterator[tuple[socket.socket, str]]:
    """The bound socket, shared by all workers, and the address people use. It accepts only when a server runs."""
    try:
        listener = _bound(settings.host, settings.port)
    except OSError as error:
        raise CannotServe(
            f"cannot listen on {settings.host} port {settings.port} ({error.strerror}): stop what uses it, or take "
            f"another with `--port {settings.port + 1}`"
        ) from error
    with listener:
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        yield listener, f"http://{host}:{listener.getsockname()[1]}"


def _bound(host: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


@contextmanager
def _store(settings: Settings) -> Iterator[str | None]:
    """Starts the embedded store where no other is named, and yields its address; stops it last, data kept."""
    if settings.redis_url is not None:
        yield None
        return
    from app.store.embedded import EmbeddedStore, EmbeddedStoreError

    if settings.workers == 1:  # several workers import for themselves
        # The imports take several times as long as the store's start, which mostly waits.
        threading.Thread(target=_import_the_heavy, daemon=True).start()
    store = EmbeddedStore(settings.data, strict=settings.durability is Durability.STRICT)
    try:
        url = store.start()
    except EmbeddedStoreError as error:
        raise CannotServe(str(error)) from error
    try:
        yield url
    finally:
        store.stop()


def _import_the_heavy() -> None:
    import app.main  # noqa: F401  (imported for its cost, which is then paid)


def _run(settings: Settings, listener: socket.socket, children: Sequence[Child]) -> None:
    import uvicorn

    from app.http.protocol import Limits, ServerConfig

    config = ServerConfig(
        FACTORY,
        factory=True,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        http="app.http.protocol:DecisionProtocol",
        ws="none",
        lifespan="on",
        interface="asgi3",
        workers=settings.workers,
        # Healthy requests are not logged; the metrics count them. Our own logging is set up by the application.
        access_log=False,
        log_config=None,
        log_level="warning",
        proxy_headers=False,  # no decision depends on a client's address, which is a direct identifier
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    config.limits = Limits(body_bytes=settings.body_limit_bytes, request_timeout_s=settings.request_timeout_s)
    with _sigterm_unwinds():
        if settings.workers > 1:
            from app.supervisor import Supervisor

            Supervisor(config, [listener], lambda: renew(children)).run()
        else:
            uvicorn.Server(config).run([listener])


@contextmanager
def _sigterm_unwinds() -> Iterator[None]:
    """uvicorn repeats the signal that stopped it: the default handler would end us before the store is stopped."""

    def unwind(_: int, __: FrameType | None) -> NoReturn:
        raise SystemExit(0)

    before = signal.signal(signal.SIGTERM, unwind)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
