"""The headers of RFC 8058 that a decision to send marketing carries, put into an answer on its way out.

They are outside the bytes that are kept for repeats of an idempotency key, and a link is sealed deterministically, so
that a repeat carries the same ones for as long as keys and address are the same. Requests that want none pay for one
comparison.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import orjson

from app.core.decision.ids import pack_id
from app.core.decision.request import DecideRequest
from app.core.unsubscribe import Link, keyring
from app.errors import Problem
from policy.bundle import Placement
from policy.codes import Action

if TYPE_CHECKING:
    from app.services import Services

PATH = "/v1/unsubscribe/"
#: The value of RFC 8058, section 3.1; the mailbox provider posts it back. https://www.rfc-editor.org/rfc/rfc8058
ONE_CLICK = "List-Unsubscribe=One-Click"
#: This machine. Any other host that a request names could be anybody's, and a link would take recipients there.
_HOST = re.compile(rb"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?\Z")
log = logging.getLogger("nextbest.unsubscribe")


class UnsubscribeLinks:
    """Puts links into answers. One a process."""

    def __init__(self, services: Services) -> None:
        settings = services.settings
        self._services = services
        self._public = settings.public_url
        self._is_local = settings.listens_on_loopback()
        keys = settings.unsubscribe_keys
        self._secrets = None if keys is None else keys.get_secret_value()
        #: Whether answers may carry links without being asked to.
        self.by_default = bool(self._offering()) and (self._public is not None or self._is_local)

    def warn(self) -> None:
        """Say once a process where links are authored that cannot be made."""
        if not self.by_default and (offering := self._offering()):
            names = ", ".join(f"`{name}`" for name in offering)
            log.warning("%s: no unsubscribe link goes with answers: set NEXTBEST_PUBLIC_URL", names)

    def _offering(self) -> list[str]:
        return [placement.id for placement in self._services.bundle.placements.values() if placement.unsubscribe]

    def check(self, host: bytes | None) -> None:
        """Of a caller that asks for links: raises Problem `not_configured` where they would be missing from the answer.
        Before anything is decided: mail must not go out without the link that its sender counts on."""
        if self._public is None and not (self._is_local and _address(host)):
            raise Problem("not_configured", "links need the address that recipients reach: set NEXTBEST_PUBLIC_URL")

    def of(self, host: bytes) -> LinksOfHost:
        """The same for all answers to one host."""
        return LinksOfHost(self, host)

    def added(self, body: bytes, request: DecideRequest, host: bytes | None) -> bytes:
        """An answer, with the headers in each decision that wants them. `host`: of the request, for servers without a
        public address. All else stays to the byte: what orjson wrote it writes again."""
        base = self._public or _address(host)
        keys = keyring(self._secrets, self._services.hash_key)
        wanting = {each.id: each for each in request.placements if _wants(each, request.unsubscribe)}
        if base is None or keys is None or not wanting:
            return body
        answer = orjson.loads(body)
        for decision in answer["decisions"]:
            placement = wanting.get(decision["placement"])
            if placement is not None and decision["action"] == Action.SEND:
                packed = pack_id(decision["decision_id"])
                token = keys.seal(Link(placement.purpose, placement.channel, answer["customer"], packed))
                decision["list_unsubscribe"] = {
                    "List-Unsubscribe": f"<{base}{PATH}{token}>",
                    "List-Unsubscribe-Post": ONE_CLICK,
                }
        return orjson.dumps(answer)


class LinksOfHost:
    """Puts links into the answers of one batch, which has one `Host`."""

    def __init__(self, links: UnsubscribeLinks, host: bytes) -> None:
        self._links = links
        self._host = host
        self.by_default = links.by_default

    def check(self) -> None:
        """See `UnsubscribeLinks.check`."""
        self._links.check(self._host)

    def added(self, body: bytes, request: DecideRequest) -> bytes:
        return self._links.added(body, request, self._host)


def _wants(placement: Placement, asked: bool | None) -> bool:
    """What the caller says holds for all placements of marketing; where it says nothing, what the bundle says."""
    return placement.marketing and (placement.unsubscribe if asked is None else asked)


def _address(host: bytes | None) -> str | None:
    """Where the caller found this server."""
    return f"http://{host.decode()}" if host is not None and _HOST.match(host) else None
