"""One server process for all tests that ask it things, on a real store, serving the contract bundle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis

from app.settings import DEMO_BUNDLE
from tests.support.contract import Caller, served_folder
from tests.support.keyed import Keyed, keyed_server
from tests.support.life import Written, whole_life
from tests.support.long import pytest_collection_modifyitems, pytest_configure
from tests.support.serving import Server
from tests.support.webhooks import generic, mailgun, sendgrid

__all__ = ["pytest_collection_modifyitems", "pytest_configure"]

#: Providers whose deliveries the shared server takes, with the secrets of their samples.
WEBHOOKS = {
    "NEXTBEST_WEBHOOK_GENERIC_SECRETS": generic.SAMPLE.trust.secrets[0],
    "NEXTBEST_WEBHOOK_SENDGRID_SECRETS": sendgrid.SAMPLE.trust.secrets[0],
    "NEXTBEST_WEBHOOK_MAILGUN_SECRETS": mailgun.SAMPLE.trust.secrets[0],
}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Shared: tests use customers of their own, and leave the process, its settings and the store's data alone."""
    folder: Path = served_folder(tmp_path_factory.mktemp("contract"))
    with Server(folder, **WEBHOOKS) as running:
        yield running


@pytest.fixture(scope="session")
def caller(server: Server) -> Iterator[Caller]:
    with httpx.Client(base_url=server.url, timeout=60) as http:
        yield Caller(http)


@pytest.fixture(scope="session")
def store(server: Server) -> Iterator[Redis]:
    """The server's store, seen from outside."""
    client = Redis(unix_socket_path=str(server.store.socket_path))
    yield client
    client.close()


@pytest.fixture(scope="session")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    """A server of two workers that asks for keys. Tests use a key each, and put the keys file back."""
    with keyed_server(tmp_path_factory.mktemp("keyed")) as running:
        yield running


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    """What a whole deployment left that was asked everything, with canaries in it."""
    with whole_life(tmp_path_factory.mktemp("life")) as found:
        yield found


@pytest.fixture(scope="session")
def demo() -> Iterator[httpx.Client]:
    """A client of a second server, which serves the packaged demo."""
    with Server(DEMO_BUNDLE) as running, httpx.Client(base_url=running.url, timeout=60) as http:
        yield http
