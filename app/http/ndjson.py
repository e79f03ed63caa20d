"""Bodies that are newline-delimited JSON: what may be one, for every route that reads one line by line."""

from __future__ import annotations

from starlette.datastructures import Headers

from app.errors import Problem

NDJSON = "application/x-ndjson"
#: What cannot be lines of JSON. Everything else may be: tools send `text/plain`, or what they send by default.
NOT_LINES = ("multipart/", "image/", "audio/", "video/", "text/html", "text/xml", "text/csv", "application/xml")


def check_content(headers: Headers) -> None:
    """Raises Problem (`unsupported_media_type`) for what cannot be lines of JSON: else each line would be refused by
    itself, under an answer of 200, and a whole list would be lost without a status that says so."""
    kind = headers.get("content-type", "").strip().lower()
    if kind.startswith(NOT_LINES):
        raise Problem("unsupported_media_type", f"send newline-delimited JSON, as `{NDJSON}`")
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Problem("unsupported_media_type", "send the body without a content encoding")
