"""Stores that speak TLS, with certificates of an authority of their own, from a server binary that is built with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
import trustme

from app.store.embedded import find_server

#: As both projects call them; the embedded server is built without TLS, that of Debian with it.
BINARIES = ("valkey-server", "redis-server")


class Certificates:
    """Who is trusted, the servers' certificate, and one of ours, which the servers ask for."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self._folder = folder
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        for name, issued in (("server", authority.issue_cert("127.0.0.1")), ("own", authority.issue_cert("app"))):
            issued.private_key_pem.write_to_path(str(folder / f"{name}.key"))
            issued.cert_chain_pems[0].write_to_path(str(folder / f"{name}.pem"))

    @property
    def settings(self) -> dict[str, str]:
        """Of a server, or of a sentinel; between servers, too. https://valkey.io/topics/encryption/"""
        named = {"tls-cert-file": "server.pem", "tls-key-file": "server.key", "tls-ca-cert-file": "ca.pem"}
        return {name: str(self._folder / file) for name, file in named.items()} | {"tls-replication": "yes"}

    @property
    def arguments(self) -> tuple[str, ...]:
        return tuple(word for name, value in self.settings.items() for word in (f"--{name}", value))

    @property
    def trust(self) -> str:
        """An option of the store's address."""
        return f"ssl_ca_certs={self._folder / 'ca.pem'}"

    @property
    def options(self) -> str:
        """The address's options of who is trusted, and who we are."""
        return f"{self.trust}&ssl_certfile={self._folder / 'own.pem'}&ssl_keyfile={self._folder / 'own.key'}"

    def keywords(self) -> dict[str, Any]:
        """The same for a redis-py client of the tests'."""
        return {"ssl": True} | dict(parse_qsl(self.options))


@contextmanager
def servers_with_tls() -> Iterator[None]:
    """Stores that are started meanwhile speak TLS. Skips where no server here does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEXTBEST_TEST_STORE", _binary_with_tls())
        yield


@cache
def _binary_with_tls() -> str:
    places = [Path(folder) / name for name in BINARIES for folder in os.environ["PATH"].split(":")]
    for place in (find_server(), *places):
        # Whoever links OpenSSL was built with TLS: without it the server does not start on a `tls-port`.
        if place is not None and place.is_file() and b"libssl.so" in place.read_bytes():
            return str(place)
    pytest.skip("no store server here is built with TLS")
