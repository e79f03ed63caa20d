"""A checked customer write as the argument of `write_customer.lua`: names become field ids, all becomes MessagePack.

One packed argument instead of sixty: both sides handle it in C.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import ormsgpack

from app.core.customers import ConsentChange, CustomerWrite
from app.store.fields import FieldRegistry
from app.store.profile import AS_OF_MARK, LANGUAGE, PREFERENCE_MARK, REGION, TIMEZONE

#: In the scripts' arguments: the store's own clock says when.
NOW = -1
PLACE_FIELDS = {"region": REGION.decode(), "timezone": TIMEZONE.decode(), "language": LANGUAGE.decode()}

#: A field and its value; None deletes. Text, since the store's MessagePack knows no binary type.
Pair = tuple[str, str | None]


def names_needed(writes: Iterable[CustomerWrite]) -> set[str]:
    """The names that must have field ids before these writes can be packed."""
    names = set()
    for write in writes:
        names.update(["a:" + name for name, _ in write.attributes])
        names.update(["o:" + owner for owner in write.owners])
        for change in write.consents:
            names.update(("p:" + change.purpose, "c:" + change.channel, "s:" + change.source, "b:" + change.basis))
    return names


def pack_write(write: CustomerWrite, fields: FieldRegistry, ttl_ms: int, identity_keys: Sequence[bytes]) -> bytes:
    """The script's only argument; its parts are described in the script. KeyError when a name has no id yet."""
    texts = fields.texts
    plain: list[Pair] = [(texts["a:" + name], value) for name, value in write.attributes]
    deciding: list[Pair] = [(PREFERENCE_MARK + name, value) for name, value in write.preferences]
    for place, value in write.places:
        (plain if place == "language" else deciding).append((PLACE_FIELDS[place], value))
    return ormsgpack.packb(
        (
            ttl_ms,
            _to_set(plain),
            _to_delete(plain),
            _to_set(deciding),
            _to_delete(deciding),
            [AS_OF_MARK + texts["o:" + owner] for owner in write.owners],
            [part for change in write.consents for part in _consent(change, texts)],
            [key.decode() for key in identity_keys],
        )
    )


def _to_set(pairs: Sequence[Pair]) -> list[str | None]:
    return list(chain.from_iterable(pair for pair in pairs if pair[1] is not None))


def _to_delete(pairs: Sequence[Pair]) -> list[str]:
    return [field for field, value in pairs if value is None]


def _consent(change: ConsentChange, texts: Mapping[str, str]) -> tuple[str, str, int]:
    field = texts["p:" + change.purpose] + "." + texts["c:" + change.channel]
    head = change.state[0] + texts["b:" + change.basis] + "," + texts["s:" + change.source]
    return field, head, NOW if change.at_ms is None else change.at_ms
