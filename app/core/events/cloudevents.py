"""CloudEvents 1.0 over HTTP: binary, structured and batched.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
`type` names the event (declare it under `aliases`), `subject` is the user id, or the customer key as `customer` in an
extension attribute; `time` is when it happened; `data` are its properties. `source` and `id` together are its identity.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias
from urllib.parse import unquote_to_bytes

import orjson

from app.core.events.event import Arrived, Misfit, Misfits

Mode: TypeAlias = Literal["binary", "structured", "batched"]

BATCHED, STRUCTURED = "application/cloudevents-batch", "application/cloudevents"
REQUIRED = (b"ce-specversion", b"ce-id", b"ce-source", b"ce-type")
#: Attribute → kind of identity: extension attributes have names of small letters and digits only.
IDENTITIES = (("customer", "customer"), ("subject", "user_id"), ("userid", "user_id"), ("anonymousid", "anonymous_id"))


_VERSIONED = re.compile(r"[/:@]v?(\d{1,9})$")


class UnknownFormat(ValueError):
    """A format of CloudEvents that is not JSON."""


def mode(content_type: str, header_names: Iterable[bytes]) -> Mode | None:
    """How an event, or a batch of them, lies in a request; None of what is no CloudEvent. Raises UnknownFormat."""
    kind = content_type.partition(";")[0].strip().lower()
    for prefix, found in ((BATCHED, "batched"), (STRUCTURED, "structured")):  # the second begins the first
        if kind.startswith(prefix):
            if kind not in (prefix, f"{prefix}+json"):
                raise UnknownFormat(kind)
            return "batched" if found == "batched" else "structured"
    return "binary" if set(REQUIRED) <= set(header_names) else None


def binary(headers: Iterable[tuple[bytes, bytes]], data: Any) -> Arrived | Misfit:
    """An event whose attributes are headers."""
    attributes: dict[str, Any] = {}
    for name, value in headers:
        if name.startswith(b"ce-"):
            try:
                attributes[name[3:].decode("ascii")] = _header_text(value)
            except UnicodeDecodeError:
                return Misfit(Misfits.BAD_TEXT, "a `ce-` header is no UTF-8")
    return _event(attributes, data)


def structured(said: Any) -> Arrived | Misfit:
    """An event that is an object."""
    if not isinstance(said, dict):
        return said if isinstance(said, Misfit) else Misfit(Misfits.MALFORMED, "an event is an object")
    data = said.get("data")
    if data is None and (encoded := said.get("data_base64")) is not None:
        try:
            data = orjson.loads(base64.b64decode(encoded, validate=True))
        except (ValueError, TypeError, binascii.Error):
            return Misfit(Misfits.MALFORMED, "`data_base64` is no JSON in base64")
    return _event(said, data)


def _event(attributes: Mapping[str, Any], data: Any) -> Arrived | Misfit:
    if attributes.get("specversion") != "1.0":
        return Misfit(Misfits.MALFORMED, "its `specversion` is not 1.0")
    kind, source, own_id = (attributes.get(name) for name in ("type", "source", "id"))
    if not (isinstance(kind, str) and kind and isinstance(source, str) and source and isinstance(own_id, str)):
        return Misfit(Misfits.MALFORMED, "it needs `id`, `source` and `type`")
    if not own_id:
        return Misfit(Misfits.MALFORMED, "its `id` is empty")
    if not (data is None or isinstance(data, dict)):
        return Misfit(Misfits.MALFORMED, "its data is no JSON object")
    who = tuple((identity, attributes.get(name)) for name, identity in IDENTITIES)
    return Arrived(
        "track",
        kind,
        tuple(each for each in who if each[1] is not None),
        data or {},
        attributes.get("time"),
        None,
        f"{source}\0{own_id}",
        source,
        version=_version(attributes.get("dataschema")),
    )


def _version(schema: Any) -> str | None:
    """The version at the end of a schema's URI (`https://schemas.example.com/product_viewed/2`), where it has one."""
    found = _VERSIONED.search(schema) if isinstance(schema, str) else None
    return found[1] if found else None


def _header_text(value: bytes) -> str:
    """One layer of quotes off, then percent-decoded once. Raises UnicodeDecodeError."""
    text = value.strip()
    if len(text) > 1 and text.startswith(b'"') and text.endswith(b'"'):
        text = text[1:-1].replace(b'\\"', b'"').replace(b"\\\\", b"\\")
    return unquote_to_bytes(text).decode()
