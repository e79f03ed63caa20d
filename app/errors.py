"""Problems: what a caller is told when a request cannot be honoured (RFC 9457 `application/problem+json`).

Code, status and title stand once, in this table; raise `Problem("unknown_placement", "…")` anywhere in the shell and
one handler renders it. A `detail` says what, where and the remedy, in product words, with input in backticks, and
never repeats a value that may identify a person.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

PROBLEM_JSON = "application/problem+json"

#: code → (HTTP status, title). Stable: clients branch on the code.
PROBLEMS: dict[str, tuple[int, str]] = {
    "malformed_http": (400, "this is not HTTP/1.1"),
    "malformed_json": (400, "the body is not JSON"),
    "malformed_body": (400, "the body cannot be unpacked"),
    "invalid_request": (422, "the request does not fit the contract"),
    "unknown_placement": (422, "the bundle has no such placement"),
    "unknown_context": (422, "the bundle declares no such context attribute"),
    "unknown_attribute": (422, "the bundle declares no such attribute"),
    "unknown_purpose": (422, "the bundle declares no such purpose"),
    "direct_identifier": (422, "a direct identifier has no place here"),
    "invalid_budget": (422, "the budget is outside 5 to 2000 ms"),
    "invalid_idempotency_key": (422, "an idempotency key is 1 to 255 visible ASCII characters"),
    "idempotency_key_reused": (422, "this idempotency key was used with another body"),
    "future_time": (422, "a time lies in the future"),
    "unreadable_webhook": (400, "the body is none of the provider's formats"),
    "unproven_webhook": (401, "the delivery is not proven to be the provider's"),
    "unauthenticated": (401, "a key is needed"),
    "forbidden": (403, "the key lacks the scope"),
    "not_found": (404, "there is no such thing"),
    "invalid_link": (404, "the link is damaged, or was not made here"),
    "decision_expired": (404, "the decision is no longer in the log"),
    "unknown_customer": (404, "nothing is known of this customer"),
    "method_not_allowed": (405, "the resource does not know this method"),
    "request_timeout": (408, "the request did not arrive in time"),
    "merge_under_way": (409, "the customer is being merged with another one"),
    "identity_conflict": (409, "this identity belongs to another customer"),
    "nothing_sent": (409, "the decision sent nothing"),
    "erased": (410, "the customer was erased"),
    "record_unreadable": (410, "the decision's record is damaged"),
    "bundle_unreadable": (410, "the bundle that it was decided under cannot be read"),
    "payload_too_large": (413, "the body is over the limit"),
    "unsupported_media_type": (415, "this content type is not understood"),
    "rate_limited": (429, "too many requests"),
    "headers_too_large": (431, "the request's headers are over the limit"),
    "internal": (500, "an error on our side"),
    "not_configured": (501, "this server is not set up for that"),
    "overloaded": (503, "more requests than can be answered in time"),
    "batch_interrupted": (503, "the batch ended before its last line"),
    "store_unavailable": (503, "the store cannot be reached"),
    "durability_unmet": (503, "the store could not promise durability"),
}


@dataclass(slots=True)
class Problem(Exception):
    """A refusal on its way to the caller. `code` is a key of `PROBLEMS`; `errors` lists places, if many."""

    code: str
    detail: str
    errors: list[dict[str, Any]] | None = None
    retry_after_s: int | None = None

    @property
    def status(self) -> int:
        return PROBLEMS[self.code][0]

    def body(self) -> dict[str, Any]:
        status, title = PROBLEMS[self.code]
        body: dict[str, Any] = {
            "type": f"urn:nextbest:problem:{self.code}",
            "title": title,
            "status": status,
            "code": self.code,
            "detail": self.detail,
        }
        if self.errors:
            body["errors"] = self.errors
        return body

    def render(self) -> bytes:
        return orjson.dumps(self.body())

    def headers(self) -> list[tuple[bytes, bytes]]:
        headers = [(b"content-type", PROBLEM_JSON.encode())]
        if self.retry_after_s is not None:
            headers.append((b"retry-after", str(self.retry_after_s).encode()))
        if self.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        return headers
