"""TLS to the store: what an address may ask for, and what an operator is told when a certificate is refused.

The options are redis-py's own, behind the address, so that one setting names a store for servers, workers and commands:

    rediss://user:password@store.example.com:6379/0
        ?ssl_ca_certs=/etc/nextbest/ca.pem          who may have signed the store's certificate; else the system's
        &ssl_certfile=…&ssl_keyfile=…               our own certificate and its key, where the store asks for one

Fails closed: certificate and host name are always verified. An address that asks for less is refused, since a password
would go to whoever answers.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import parse_qsl

#: What may be named: files of PEM, a folder, and the password of a key.
FILES = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_ca_path"})
OPTIONS = FILES | {"ssl_password", "ssl_ciphers"}


def check_tls(url: str) -> None:
    """Raises ValueError for an address whose TLS cannot be what its operator means, without repeating a secret."""
    scheme, _, rest = url.partition("://")
    given = {name: value for name, value in parse_qsl(rest.partition("?")[2]) if name.startswith("ssl")}
    if given and not scheme.lower().startswith("rediss"):
        raise ValueError("the store's address has TLS options and no TLS: write `rediss://`")
    for name, value in given.items():
        if name not in OPTIONS:
            raise ValueError(
                f"`{name}` is not an option of the store's address: its certificate and host name are always "
                "verified; name who signed it with `ssl_ca_certs`"
                if name in {"ssl_cert_reqs", "ssl_check_hostname"}
                else f"there is no option `{name}` of the store's address: use {', '.join(sorted(OPTIONS))}"
            )
        if name in FILES and not Path(value).exists():
            raise ValueError(f"`{name}` of the store's address names a file that does not exist")
    if ("ssl_certfile" in given) != ("ssl_keyfile" in given):
        raise ValueError("a certificate needs its key: `ssl_certfile` and `ssl_keyfile` go together")


#: Alerts by which a server says what it thinks of our certificate (RFC 8446, 6.2), as OpenSSL names them.
_ALERTS = ("CERTIFICATE_REQUIRED", "ALERT_BAD_CERTIFICATE", "ALERT_UNKNOWN_CA", "ALERT_HANDSHAKE_FAILURE")
_WANTED = "name one that it trusts with `?ssl_certfile=/path/own.pem&ssl_keyfile=/path/own.key`"


def in_words(error: BaseException, *, over_tls: bool = False) -> str:
    """What went wrong with a connection, for an operator. `over_tls`: it was to be one over TLS."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _of_certificate(cause)
        if isinstance(cause, ssl.SSLError) and (cause.reason or "").endswith(_ALERTS):
            return f"the store wants a certificate of ours ({_reason(cause)}): {_WANTED}"
        if isinstance(cause, ssl.SSLError):
            return f"TLS with the store failed ({_reason(cause)}): does it speak TLS, and does it want a certificate?"
        if over_tls and isinstance(cause, ConnectionResetError | ConnectionAbortedError | EOFError):
            # What a server that refuses a client's certificate looks like where its alert is lost with the connection.
            return f"the store ended the connection before it answered: does it want a certificate of ours? {_WANTED}"
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__


def _of_certificate(error: ssl.SSLCertVerificationError) -> str:
    said = error.verify_message.rstrip(".")
    if error.verify_code in {62, 64}:  # X509_V_ERR_HOSTNAME_MISMATCH, …_IP_ADDRESS_MISMATCH
        return f"the store's certificate is for another host ({said}): write the host that it names in the address"
    if error.verify_code in {9, 10}:  # not yet valid, expired
        return f"the store's certificate is not valid now ({said}): renew it, or look at the clocks"
    return f"the store's certificate is not trusted ({said}): name who signed it with `?ssl_ca_certs=/path/ca.pem`"


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "no reason given").lower().replace("_", " ")
