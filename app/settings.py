"""Every setting of a deployment: declared once, typed, with its unit and advice, read once at the root.

Each is the variable `NEXTBEST_<NAME>`; the command line's options of the same name win over it. `serve` writes what it
resolved back to the environment (`as_environment`), so that every worker process reads the same settings.
Webhook secrets (`NEXTBEST_WEBHOOK_<PROVIDER>_…`) have names that depend on the provider and are read beside its code.
"""

from __future__ import annotations

import ipaddress
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.core.unsubscribe_keys import parse_secrets
from app.store.addresses import parse as parse_address

PREFIX = "NEXTBEST_"
DEMO_BUNDLE = Path(__file__).resolve().parent.parent / "policy" / "bundles" / "retail_demo"
GIB = 1024**3
#: What may stand in a header between angle brackets.
_URL = re.compile(r"[A-Za-z0-9:/.\[\]_~%-]+\Z")


class Durability(StrEnum):
    """What an acknowledged write survives: a crash of the store may lose a second, or nothing."""

    EVERYSEC = "everysec"
    STRICT = "strict"


class TraceExporter(StrEnum):
    """Where kept traces go."""

    OTLP = "otlp"  # to `OTEL_EXPORTER_OTLP_ENDPOINT`; nowhere while that is not set
    NONE = "none"  # no span is made
    NOOP = "noop"  # spans are made and dropped: measures what they cost


class Settings(BaseSettings):
    """The settings of one deployment. Immutable; a change needs a restart, except where a field says otherwise."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    # What is decided
    bundle: Path = Field(DEMO_BUNDLE, description="Folder of the bundle to serve; the packaged demo when absent.")
    models: Path | None = Field(
        None, description="A further folder of models (`<name>/<version>/model.onnx`), searched after the bundle's own."
    )

    # The store
    redis_url: SecretStr | None = Field(
        None,
        description="Address of a Redis ≥ 7.0 or Valkey ≥ 7.2: `redis://`, `rediss://` (TLS) or `unix://`, "
        "`redis+sentinel://`, `redis+cluster://`; user, password and certificates are part of it (docs/security.md). "
        "When absent, `serve` starts an embedded store. A secret, since it may hold a password.",
    )
    data: Path = Field(
        Path("data"), description="Folder of the embedded store's files. Back it up; it survives restarts."
    )
    durability: Durability = Field(
        Durability.EVERYSEC,
        description="`everysec`: a crash of the store may lose a second. `strict`: nothing acknowledged is lost, at "
        "the price of one disk sync a commit, and 503 when it cannot be met.",
    )
    shards: Annotated[int, Field(ge=1, le=16384)] = Field(
        256,
        description="Shards that customers are spread over. Fixed for the life of a deployment: the server refuses to "
        "start on a store that was filled with another number. Raise it only for hundreds of nodes.",
    )
    decision_log_bytes: Annotated[int, Field(ge=1024**2)] = Field(
        GIB,
        description="Bytes of store memory for the decision log of the whole deployment; older decisions are trimmed. "
        "About 1 KiB a decision: 1 GiB holds a million.",
    )
    event_stream_bytes: Annotated[int, Field(ge=1024**2)] = Field(
        GIB // 2,
        description="Bytes of store memory for collected events that no worker has worked off yet, of the whole "
        "deployment; beyond, events are refused with 429. About 200 bytes an event: 512 MiB hold a burst of 40,000 "
        "events a second for a minute. While no worker runs, the oldest events are trimmed instead.",
    )

    outcome_stream_bytes: Annotated[int, Field(ge=1024**2)] = Field(
        GIB // 4,
        description="Bytes of store memory for outcomes and rewards of the whole deployment; older ones are trimmed, "
        "where an archiver exists only what it has archived. About 200 bytes each: 256 MiB hold over a million.",
    )

    event_worker: bool = Field(
        True,
        description="Whether `serve` starts a process that works events off. Turn it off where `nextbest worker` runs "
        "on machines of its own.",
    )

    # The archive of events
    archive: str | None = Field(
        None,
        description="Where everything that was collected is kept as Parquet: a folder, or `s3://bucket/folder`, "
        "`gs://…`. When absent: `archive` in the data folder, and nowhere where `redis_url` names another machine. "
        "`off`: nowhere, and new features cannot be filled from history.",
    )
    archive_flush_s: Annotated[float, Field(gt=0, le=3600)] = Field(
        30.0,
        description="Seconds after which an event is in the archive. Until then its stream keeps it. Shorter means "
        "more and smaller files until their hour is over.",
    )
    archive_rows: Annotated[int, Field(ge=1_000, le=1_000_000)] = Field(
        100_000, description="Events that the archiver writes in one go, and holds in memory: about 1 KB each."
    )

    # The server
    host: str = Field("127.0.0.1", description="Address to listen on. Any but loopback needs `keys_file`.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8000, description="Port to listen on; 0 takes a free one.")
    workers: Annotated[int, Field(ge=1, le=64)] = Field(
        1, description="Server processes. One a core, less one for a store on the same machine."
    )
    max_in_flight: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="Decisions in flight a worker before more are shed with 503 `overloaded`. When absent, the server "
        "sheds by how long decisions take against their budgets.",
    )
    body_limit_bytes: Annotated[int, Field(ge=1024)] = Field(
        262_144,
        description="Largest body of a request, in bytes (413 above). Streamed bodies (`/v1/decide/batch`, "
        "`/v1/customers/bulk`, `/v1/suppressions/bulk`) have no limit: their lines do.",
    )
    events_body_limit_bytes: Annotated[int, Field(ge=32_768, le=64 * 1024**2)] = Field(
        5 * 1024**2,
        description="Largest body of a request with events, in bytes, unpacked (413 above: clients then drop the "
        "events). RudderStack's clients send up to 4 MB.",
    )
    webhook_body_limit_bytes: Annotated[int, Field(ge=32_768, le=64 * 1024**2)] = Field(
        5 * 1024**2,
        description="Largest body of a webhook, in bytes (413 above). A thousand events of Mandrill with all their "
        "clicks take some 4 MB.",
    )
    request_timeout_s: Annotated[float, Field(gt=0, le=600)] = Field(
        10.0,
        description="Seconds from a request's first byte to its last (408 above), or between two pieces of a streamed "
        "body. Raise it for callers on slow lines.",
    )
    drain_s: Annotated[float, Field(ge=0, le=300)] = Field(
        0.0,
        description="Seconds between SIGTERM, when `/health/ready` turns 503, and the moment connections are refused. "
        "Set it to what a load balancer needs to notice (its check interval × failures).",
    )

    # Access and privacy
    keys_file: Path | None = Field(
        None, description="File of hashed keys (`nextbest keys add`). Read again within a second of a change."
    )
    hash_key: SecretStr | None = Field(
        None,
        description="Secret that aliases (user ids, e-mail hashes) are hashed with before they are stored, 32 "
        "characters or more. When absent, one is made and kept in the store. Changing it orphans every alias.",
    )

    # Links in mails
    public_url: str | None = Field(
        None,
        description="Address under which recipients reach this deployment, such as `https://mail.example.com`: it is "
        "in unsubscribe links. When absent, links name the address that decisions are asked of, on loopback only.",
    )
    unsubscribe_keys: SecretStr | None = Field(
        None,
        description="Secrets that unsubscribe links are sealed with, `id:secret,…`, 32 characters or more each; the "
        "first one signs, all of them open. When absent, one is derived from the hash key. Keep a key for as long as "
        "its links shall work: 60 days at least.",
    )

    # Telemetry
    trace_ratio: Annotated[float, Field(ge=0, le=1)] = Field(
        0.05, description="Share of healthy decisions whose trace is kept, beside all degraded, slow and failed ones."
    )
    trace_exporter: TraceExporter = Field(TraceExporter.OTLP, description="`otlp`, `none`, or `noop` for measurements.")
    record_explanation: bool = Field(
        True, description="For measurements only: false leaves the reasons for every candidate out of the record."
    )

    @field_validator("redis_url")
    @classmethod
    def _is_a_store(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parse_address(value.get_secret_value())
        return value

    @field_validator("hash_key")
    @classmethod
    def _is_long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 32:
            raise ValueError("`hash_key` needs 32 characters or more: a short one could be guessed")
        return value

    @field_validator("public_url")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        return None if value is None else public_address(value)

    @field_validator("unsubscribe_keys")
    @classmethod
    def _are_secrets(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parse_secrets(value.get_secret_value())
        return value

    def archive_address(self) -> str | None:
        """Where the archive is; None: there is none."""
        if self.archive is None:
            # A store on another machine may have servers on several: their folders would hold a part each.
            shared = self.redis_url is not None and not self.redis_url.get_secret_value().startswith("unix:")
            return None if shared else str(self.data.absolute() / "archive")
        return None if self.archive == "off" else self.archive

    def listens_on_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    def as_environment(self) -> dict[str, str]:
        """The variables from which a worker process reads the same settings. Holds secrets: for `os.environ` only."""
        given = {name: getattr(self, name) for name in sorted(self.model_fields_set)}
        return {PREFIX + name.upper(): _as_text(value) for name, value in given.items() if value is not None}


def is_loopback(host: str) -> bool:
    """Whether a host is this machine. A name may resolve to anything: treated as another."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def public_address(text: str) -> str:
    """An address to which paths are added. Raises ValueError for what cannot be one."""
    parts = urlsplit(text)
    https = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
    if not https or not parts.hostname or parts.query or parts.fragment or "@" in parts.netloc or not _URL.match(text):
        raise ValueError("`public_url` is `https://` and a host, with a path where a proxy adds one")
    return text.rstrip("/")


def _as_text(value: Any) -> str:
    return str(value.get_secret_value() if isinstance(value, SecretStr) else value)
