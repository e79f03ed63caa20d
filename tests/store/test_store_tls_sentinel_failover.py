"""Sentinels replace a primary, over TLS: what tests/faults says of it without, with the same times."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.test_failover_sentinel import (
    client,
    server_on_it,
    test_a_primary_that_is_replaced_while_it_is_well_is_left_for_the_new_one,
    test_what_was_answered_before_the_replica_fell_behind_survives_the_failover,
)
from tests.support.certificates import Certificates, servers_with_tls
from tests.support.sentinel import Watched

__all__ = [
    "client", "server_on_it",
    "test_a_primary_that_is_replaced_while_it_is_well_is_left_for_the_new_one",
    "test_what_was_answered_before_the_replica_fell_behind_survives_the_failover",
]  # fmt: skip
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Servers and sentinels speak nothing but TLS, and ask for our certificate."""
    certificates = Certificates(tmp_path_factory.mktemp("certificates"))
    with servers_with_tls():
        watched = Watched("--appendfsync", "everysec", tls=certificates)
        watched.start()
    yield watched
    watched.remove()
