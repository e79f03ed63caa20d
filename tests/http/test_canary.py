"""G7 to the end: a person's e-mail address, telephone number, name, street and IP address, and a key of the API, are
put into every place of every surface that takes a text. Then all that server, worker, archiver and commands wrote is
searched for them. `tests/guarantees/test_g7_identifiers.py` says what is kept on purpose, and where.
"""

from __future__ import annotations

import re

import pytest

from app.core.webhooks.registry import NAMES
from tests.support.life import Written

#: Where it is kept, numbers left out: the profile, the log of decisions, the stream of events and what was put aside of
#: it, the feature that counts by it; the archive of these; the unmasked export, which needs `admin`,
#: and the commands of operators.
KEPT: dict[str, set[str]] = {
    "answers": {"GET /v#/customers/cus_#/export"},
    "log": set(),
    "spans": set(),
    "metrics": set(),
    "files": set(),
    "store": {"{s#}:p:cus_#", "{s#}:decisions", "{s#}:events", "{s#}:dead", "{s#}:f:cus_#"},
    "archive": {"events/day=#-#-#/hour=#/group=#/part-#.parquet", "decisions/day=#-#-#/hour=#/group=#/part-#.parquet"},
    "commands": {"deadletters list --json", "export.json", "records", "vectors.ndjson"},
}


def test_every_route_was_asked(written: Written) -> None:
    patterns = {(method, path): re.compile(re.sub(r"\{\w+\}", "[^/]+", path)) for method, path in written.routes}
    unasked = [
        route
        for route, pattern in patterns.items()
        if not any(method == route[0] and pattern.fullmatch(path) for method, path in written.asked)
    ]
    assert unasked == []


def test_every_provider_s_webhook_was_taken_with_a_canary_in_it(written: Written) -> None:
    taken = {name for name in NAMES if 200 in written.statuses[f"/v1/webhooks/{name}"]}
    assert set(NAMES) - taken == set()


def test_nothing_broke(written: Written) -> None:
    assert {path: seen for path, seen in written.statuses.items() if max(seen) >= 500} == {}


@pytest.mark.parametrize("what", ["answers", "log", "spans", "metrics", "files", "store", "archive", "commands"])
def test_no_canary_is_anywhere_in(written: Written, what: str) -> None:
    found: dict[str, bytes] = getattr(written, what)
    assert found != {}
    assert written.search.leaks(found) == {}


def test_declared_free_text_is_where_it_was_declared_and_nowhere_else(written: Written) -> None:
    """A profile's own text, the text of an event's property, and the context that a decision was asked with."""
    places = {
        what: {re.sub(r"\d+", "#", place.partition("?")[0]) for place in written.free.leaks(getattr(written, what))}
        for what in ("answers", "log", "spans", "metrics", "files", "store", "archive", "commands")
    }
    places["store"].add("{s#}:events")  # of which is trimmed what is archived
    assert places == KEPT
