"""A store over TLS: whom we believe, whom we do not, and what an operator is told."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest
import trustme
from pydantic import ValidationError
from redis.exceptions import ConnectionError

from app.settings import Settings
from app.store.clients import open_client
from app.store.link import pack
from app.store.tls import OPTIONS, check_tls, in_words
from tests.support.link import linked, linking, soon, until
from tests.support.proxy import FaultProxy
from tests.support.valkey import Store


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca(authority: trustme.CA, tmp_path: Path) -> Path:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return tmp_path / "ca.pem"


def serving(
    authority: trustme.CA, name: str = "localhost", not_after: datetime.datetime | None = None
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, not_after=not_after).configure_cert(context)
    return context


async def refusal(url: str) -> str:
    """Why the link stays down."""
    async with linking(url) as link:
        await until(lambda: "reached yet" not in str(link.last_error))
        assert not link.connected
        return str(link.last_error)


async def test_a_certificate_of_a_stranger_is_refused_over_tls(
    store_url: str, store_server: Store, authority: trustme.CA, ca: Path
) -> None:
    async with FaultProxy(store_server.socket_path, tls=serving(trustme.CA())) as proxy:
        said = await refusal(f"{proxy.url}?ssl_ca_certs={ca}")
    assert said.startswith("the store's certificate is not trusted (")
    assert said.endswith("name who signed it with `?ssl_ca_certs=/path/ca.pem`")


async def test_a_certificate_for_another_host_is_refused_over_tls(
    store_url: str, store_server: Store, authority: trustme.CA, ca: Path
) -> None:
    async with FaultProxy(store_server.socket_path, tls=serving(authority, "other.example.com")) as proxy:
        said = await refusal(f"{proxy.url}?ssl_ca_certs={ca}")
    assert said.startswith("the store's certificate is for another host (")


async def test_a_certificate_that_has_run_out_is_refused_over_tls(
    store_url: str, store_server: Store, authority: trustme.CA, ca: Path
) -> None:
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    async with FaultProxy(store_server.socket_path, tls=serving(authority, not_after=past)) as proxy:
        said = await refusal(f"{proxy.url}?ssl_ca_certs={ca}")
    assert said.startswith("the store's certificate is not valid now (")


async def test_a_store_that_asks_for_our_certificate_gets_it_over_tls(
    store_url: str, store_server: Store, authority: trustme.CA, ca: Path, tmp_path: Path
) -> None:
    context = serving(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    ours = authority.issue_cert("nextbest.example.com")
    ours.private_key_pem.write_to_path(str(tmp_path / "own.key"))
    ours.cert_chain_pems[0].write_to_path(str(tmp_path / "own.pem"))
    async with FaultProxy(store_server.socket_path, tls=context) as proxy:
        trusting = f"{proxy.url}?ssl_ca_certs={ca}"
        with_ours = f"{trusting}&ssl_certfile={tmp_path / 'own.pem'}&ssl_keyfile={tmp_path / 'own.key'}"
        async with linked(with_ours) as link:
            assert await link.call(pack("PING"), 1, soon()) == [b"PONG"]
        async with open_client(with_ours) as client:
            assert await client.ping()
        async with linking(trusting) as link:
            assert not await link.wait_connected(0.3)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("shown", ["none", "of a stranger"])
async def test_a_store_that_wants_another_certificate_of_ours_is_told_as_that_over_tls(
    store_url: str,
    store_server: Store,
    authority: trustme.CA,
    ca: Path,
    tmp_path: Path,
    version: ssl.TLSVersion,
    shown: str,
) -> None:
    context = serving(authority)
    context.verify_mode, context.minimum_version, context.maximum_version = ssl.CERT_REQUIRED, version, version
    authority.configure_trust(context)
    theirs = trustme.CA().issue_cert("nextbest.example.com")
    theirs.private_key_pem.write_to_path(str(tmp_path / "own.key"))
    theirs.cert_chain_pems[0].write_to_path(str(tmp_path / "own.pem"))
    ours = "" if shown == "none" else f"&ssl_certfile={tmp_path / 'own.pem'}&ssl_keyfile={tmp_path / 'own.key'}"
    async with FaultProxy(store_server.socket_path, tls=context) as proxy:
        said = await refusal(f"{proxy.url}?ssl_ca_certs={ca}{ours}")
    assert "a certificate of ours" in said
    assert "name one that it trusts with `?ssl_certfile=" in said


def refused_by_alert(alert: str) -> ssl.SSLError:
    error = ssl.SSLError()
    error.reason = alert
    return error


@pytest.mark.parametrize(
    "alert", ["TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_BAD_CERTIFICATE", "TLSV1_ALERT_UNKNOWN_CA"]
)
def test_a_store_that_says_by_an_alert_that_it_wants_a_certificate_is_repeated(alert: str) -> None:
    said = in_words(ConnectionError(), over_tls=True), in_words(refused_by_alert(alert), over_tls=True)
    assert said[1].startswith(f"the store wants a certificate of ours ({alert.lower().replace('_', ' ')})")
    assert "certificate" not in said[0]


async def test_ordinary_clients_are_as_strict_over_tls(
    store_url: str, store_server: Store, authority: trustme.CA, ca: Path
) -> None:
    async with FaultProxy(store_server.socket_path, tls=serving(trustme.CA())) as proxy:
        client = open_client(f"{proxy.url}?ssl_ca_certs={ca}")
        with pytest.raises(ConnectionError, match="certificate verify failed"):
            await client.ping()
        await client.aclose()


@pytest.mark.parametrize(
    ("tail", "said"),
    [
        ("?ssl_cert_reqs=none", "always verified"),
        ("?ssl_check_hostname=false", "always verified"),
        ("?ssl_ca_cert=/etc/ssl", "there is no option `ssl_ca_cert`"),
        ("?ssl_ca_certs=/nowhere/s3cret.pem", "does not exist"),
        ("?ssl_certfile=/etc/hostname", "needs its key"),
    ],
)
@pytest.mark.parametrize("scheme", ["rediss", "rediss+cluster", "rediss+sentinel"])
def test_an_address_that_asks_for_less_is_refused_and_not_repeated(scheme: str, tail: str, said: str) -> None:
    url = f"{scheme}://user:hunter2@store.example.com:6379/{'main' if scheme.endswith('sentinel') else ''}{tail}"
    with pytest.raises(ValueError, match=said) as refused:
        open_client(url)
    assert "hunter2" not in str(refused.value)
    assert "s3cret" not in str(refused.value)
    with pytest.raises(ValidationError, match=said):
        Settings(redis_url=url)


def test_options_of_tls_without_tls_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="write `rediss://`"):
        check_tls("redis://store.example.com?ssl_ca_certs=/etc/ssl")


def test_every_option_that_is_taken_is_one_of_redis_py_s() -> None:
    from inspect import signature

    from redis.asyncio.connection import SSLConnection

    assert set(signature(SSLConnection.__init__).parameters) >= OPTIONS
