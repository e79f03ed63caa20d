"""A checked customer write as the argument of `write_customer.lua`: names become field ids, all becomes MessagePack.

One packed argument instead of sixty: both sides handle it in C.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import ormsgpack

from app.core.customers import ConsentChange, CustomerWrite
from app.core.keeping import Keeping
from app.store.fields import FieldRegistry
from app.store.profile import AS_OF_MARK, LANGUAGE, PREFERENCE_MARK, REGION, TIMEZONE

#: In the scripts' arguments: the store's own clock says when; and, of the end of a consent, never.
NOW = NEVER = -1
PLACE_FIELDS = {"region": REGION.decode(), "timezone": TIMEZONE.decode(), "language": LANGUAGE.decode()}

#: A field and its value; None deletes. Text, since the store's MessagePack knows no binary type.
Pair = tuple[str, str | None]


def names_needed(writes: Iterable[CustomerWrite], keeping: Keeping, who: str) -> set[str]:
    """The names that must have field ids before these writes can be packed."""
    names = {"w:" + who}
    for deadline in keeping.attributes.values():
        names.update(("a:" + deadline.attribute, "o:" + deadline.owner))
    for write in writes:
        names.update(["a:" + name for name, _ in write.attributes])
        names.update(["o:" + owner for owner in write.owners])
        for change in write.consents:
            names.update(("p:" + change.purpose, "c:" + change.channel, "s:" + change.source, "b:" + change.basis))
    return names


def pack_write(
    write: CustomerWrite, fields: FieldRegistry, keeping: Keeping, who: str, identity_keys: Sequence[bytes]
) -> bytes:
    """The script's only argument; its parts are described in the script. KeyError when a name has no id yet."""
    texts = fields.texts
    plain: list[Pair] = [(texts["a:" + name], value) for name, value in write.attributes]
    as_of = [AS_OF_MARK + texts["o:" + owner] for owner in write.owners]
    aging: list[str | int] = []
    if keeping.attributes:
        aging = _aging(write, keeping, texts)
        for name, value in write.attributes:
            if name in keeping.attributes:
                own = AS_OF_MARK + texts["a:" + name]
                if value is None:
                    plain.append((own, None))
                else:
                    as_of.append(own)
    deciding: list[Pair] = [(PREFERENCE_MARK + name, value) for name, value in write.preferences]
    for place, value in write.places:
        (plain if place == "language" else deciding).append((PLACE_FIELDS[place], value))
    return ormsgpack.packb(
        (
            keeping.profile_s * 1000,
            _to_set(plain),
            _to_delete(plain),
            _to_set(deciding),
            _to_delete(deciding),
            as_of,
            [part for change in write.consents for part in _consent(change, texts)],
            [key.decode() for key in identity_keys],
            aging,
            texts["w:" + who],
            write.why or "",
        )
    )


def _to_set(pairs: Sequence[Pair]) -> list[str | None]:
    return list(chain.from_iterable(pair for pair in pairs if pair[1] is not None))


def _to_delete(pairs: Sequence[Pair]) -> list[str]:
    return [field for field, value in pairs if value is None]


def _aging(write: CustomerWrite, keeping: Keeping, texts: Mapping[str, str]) -> list[str | int]:
    """Attributes with a deadline of their own that a write does not name."""
    named = {name for name, _ in write.attributes}
    parts: list[str | int] = []
    for name, deadline in keeping.attributes.items():
        if name not in named:
            field = texts["a:" + name]
            parts += (field, AS_OF_MARK + field, AS_OF_MARK + texts["o:" + deadline.owner], deadline.keep_ms)
    return parts


def _consent(change: ConsentChange, texts: Mapping[str, str]) -> tuple[str, str, int, int]:
    field = texts["p:" + change.purpose] + "." + texts["c:" + change.channel]
    head = change.state[0] + texts["b:" + change.basis] + "," + texts["s:" + change.source]
    at_ms = NOW if change.at_ms is None else change.at_ms
    return field, head, at_ms, NEVER if change.expires_ms is None else change.expires_ms
